//! What is asked before a certificate is put to use, and who is told after: a command in a pod, and Jobs.

use crate::ground::{Ground, MAIL, text};
use serde_json::{Value, json};

const EMPTY: &str = "postqueue -p | grep -q '^Mail queue is empty'";

fn apply(ground: &Ground, object: &Value) {
    ground.cluster.kubectl_with(&["apply", "-n", MAIL, "-f", "-"], &object.to_string()).unwrap();
}

fn certificate(ground: &Ground) -> Value {
    ground.get(MAIL, &["mailcertificate/queue"])
}

fn activation(ground: &Ground, activation: &Value) {
    let patch = json!({"spec": {"activation": activation}}).to_string();
    ground.kubectl(&["patch", "-n", MAIL, "mailcertificate/queue", "--type=merge", "-p", &patch]);
}

fn renew(ground: &Ground, value: &str) {
    let annotation = format!("mailcert.dev/renew={value}");
    ground.kubectl(&["annotate", "-n", MAIL, "--overwrite", "mailcertificate/queue", &annotation]);
}

/// Waits until the gate says so, while the first revision stays active.
fn wait_gate(ground: &Ground, active: i64, words: &str) {
    let said = ground.wait(&format!("the gate to say: {words}"), || {
        let certificate = certificate(ground);
        text(&certificate, "/status/gates/0/message").contains(words).then_some(certificate)
    });
    assert_eq!(
        (text(&said, "/status/gates/0/type").as_str(), &said["status"]["active"]["revision"]),
        ("Drained", &json!(active))
    );
}

fn wait_active(ground: &Ground, revision: i64) -> String {
    let active = ground.wait(&format!("revision {revision} to be active"), || {
        let certificate = certificate(ground);
        (certificate["status"]["active"]["revision"] == revision).then_some(certificate)
    });
    text(&active, "/status/active/fingerprintSHA256")
}

/// A Job of the mail image.
fn job(script: &str) -> Value {
    let container = json!({"name": "one", "image": "localhost/mail:1", "imagePullPolicy": "Never",
        "command": ["sh", "-c", script]});
    json!({"job": {"template": {"spec": {"backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}}})
}

fn drained(mut by: Value) -> Value {
    by["interval"] = json!("5s");
    json!({"drained": by})
}

/// Mail that lies in the queue keeps the old certificate in use, and so does a Job that fails; a Job tells others of it.
pub fn a_queue_is_asked_by_a_command_and_by_a_job_and_a_job_tells_others(ground: &Ground) {
    let own = |kind: &str, name: &str, spec: Value| {
        let version = "mailcert.dev/v1alpha1";
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
    };
    apply(ground, &own("MailIssuer", "self", json!({"selfSigned": {}})));
    let mail =
        |script: &str| ground.kubectl(&["exec", "-n", MAIL, "deploy/mail", "-c", "postfix", "--", "sh", "-c", script]);
    let asked = json!({"exec": {"selector": {"matchLabels": {"app": "mail"}}, "container": "postfix",
        "command": ["sh", "-c", EMPTY]}});
    let spec = json!({"issuerRef": {"name": "self"}, "secretName": "queue-tls", "dnsNames": ["mail.example.com"],
        "activation": drained(asked)});
    apply(ground, &own("MailCertificate", "queue", spec));
    wait_active(ground, 1);

    // TEST-NET-1: nobody answers there, so it stays.
    mail("printf 'Subject: one\\n\\nbody\\n' | sendmail -f sender@example.com 'user@[192.0.2.1]'");
    ground.wait("the mail to be queued", || mail("postqueue -p").contains("user@[192.0.2.1]").then_some(()));
    renew(ground, "1");
    wait_gate(ground, 1, "sh failed in container postfix (exit code 1)");
    mail("postsuper -d ALL");
    wait_active(ground, 2);

    let tell =
        "test -z \"$MAILCERT_KEY\" && printf %s \"$MAILCERT_CERTIFICATE\" | openssl x509 -noout -fingerprint -sha256";
    let mut failing = drained(job("exit 3"));
    failing["drained"]["exec"] = Value::Null;
    failing["publish"] = job(tell);
    activation(ground, &failing);
    renew(ground, "2");
    wait_gate(ground, 2, "failed: ");
    activation(ground, &drained(job("sleep 1")));
    let fingerprint = wait_active(ground, 3);
    ground.wait("the Job that tells others to end", || {
        let activation = certificate(ground)["status"]["activation"].clone();
        (activation["revision"] == 3 && !activation["published"]["doneAt"].is_null()).then_some(())
    });
    let jobs = ground.get(MAIL, &["jobs"]);
    let names = jobs["items"].as_array().unwrap().iter().map(|one| text(one, "/metadata/name"));
    let telling = names.filter(|name| name.starts_with("queue-publish-r3-")).collect::<Vec<_>>();
    let said = ground.kubectl(&["logs", "-n", MAIL, &format!("job/{}", telling[0])]).replace(':', "").to_lowercase();
    assert!(said.contains(&fingerprint), "{said}, {fingerprint}");
    ground.kubectl(&["delete", "-n", MAIL, "mailcertificate/queue", "mailissuer/self"]);
}
