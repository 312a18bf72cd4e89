//! A relay that verifies its smarthost through a trust bundle, and the system certificate in a mount that is never empty.

use crate::ground::{Ground, MAIL, condition, text};
use crate::scenes::all_ports_serve;
use serde_json::{Value, json};
use std::path::Path;

fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/trust-bundle").join(name)).unwrap()
}

fn apply(ground: &Ground, manifest: &str) {
    ground.cluster.kubectl_with(&["apply", "-n", MAIL, "-f", "-"], manifest).unwrap();
}

fn relay(ground: &Ground, script: &str) -> String {
    ground.kubectl(&["exec", "-n", MAIL, "deploy/relay", "--", "sh", "-c", script])
}

fn relay_log(ground: &Ground) -> String {
    ground.kubectl(&["logs", "-n", MAIL, "deploy/relay"])
}

/// The kubelet looks at a pod that was changed at once, and brings in what has changed in its volumes.
fn nudge(ground: &Ground, pods: &str, value: &str) {
    ground.kubectl(&["annotate", "-n", MAIL, "pods", "-l", pods, "--overwrite", &format!("nudge={value}")]);
}

/// Without the CA in the bundle mail waits, since the smarthost is not trusted; with it, it is delivered over verified TLS.
pub fn a_relay_verifies_its_smarthost_through_the_bundle(ground: &Ground) {
    let whole: Value = serde_yaml::from_str(&example("bundle.yaml")).unwrap();
    let mut mozilla_only = whole.clone();
    mozilla_only["spec"]["sources"] = json!([{"mozilla": true}]);
    apply(ground, &mozilla_only.to_string());
    apply(ground, &example("relay.yaml"));
    ground.kubectl(&["rollout", "status", "-n", MAIL, "deployment/relay", "--timeout=120s"]);
    let mail = "printf 'Subject: one\\n\\nbody\\n' | sendmail -f sender@relay.example.com user@example.com";
    ground.wait("Postfix to take mail", || {
        ground.cluster.kubectl(&["exec", "-n", MAIL, "deploy/relay", "--", "sh", "-c", mail]).ok()
    });
    ground.wait("the mail to be deferred", || {
        relay_log(ground).contains("status=deferred (Server certificate not verified").then_some(())
    });
    let log = relay_log(ground);
    assert!(log.contains("certificate verification failed") && log.contains("untrusted issuer"), "{log}");
    assert!(!log.contains("status=sent"), "{log}");

    let source = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corporate-ca"},
        "data": {"ca.crt": ground.root_pem}});
    apply(ground, &source.to_string());
    apply(ground, &whole.to_string());
    ground.wait("the second version of the bundle", || {
        let bundle = ground.get(MAIL, &["mailtrustbundle/mail-trust"]);
        (bundle["status"]["version"] == 2 && condition(&bundle, "Ready").0 == "True").then_some(())
    });
    let anchors = |text: &str| text.matches("BEGIN CERTIFICATE").count();
    let written = text(&ground.get(MAIL, &["configmap/mail-trust"]), "/data/ca.crt");
    nudge(ground, "app=relay", "bundle");
    ground.wait("the bundle to arrive in the pod", || {
        (anchors(&relay(ground, "cat /etc/mail-trust/ca.crt")) == anchors(&written)).then_some(())
    });
    // The process that was refused has the old file in memory for a while.
    relay(ground, "postfix reload && postqueue -f");
    ground.wait("the mail to be sent", || {
        let log = relay_log(ground);
        (log.contains("Verified TLS connection established to mail.example.com") && log.contains("status=sent"))
            .then_some(())
    });
    ground.kubectl(&["delete", "-n", MAIL, "deployment/relay", "--wait=false"]);
}

/// Says which certificate the mount holds whenever that changes, and when something in it is missing.
const WATCH: &str = "last=; while :; do \
    for f in tls.crt tls.key tls-combined.pem; do [ -s /etc/mail-tls/$f ] || echo EMPTY $f; done; \
    now=$(openssl x509 -in /etc/mail-tls/tls.crt -noout -fingerprint -sha256 | sed 's/.*=//' | tr -d : | tr A-F a-f); \
    [ \"$now\" = \"$last\" ] || echo \"$now\"; last=$now; sleep 0.1; done";

fn watcher(ground: &Ground) -> String {
    ground.kubectl(&["logs", "-n", MAIL, "watcher"])
}

fn wait_mounted(ground: &Ground, fingerprint: &str) {
    nudge(ground, "app=watcher", &fingerprint[..16]);
    ground.wait("the certificate to arrive in the mount", || watcher(ground).contains(fingerprint).then_some(()));
}

/// The Secret that pods mount changes to the system certificate and back, and never lacks anything.
pub fn a_disabled_certificate_goes_and_comes_back_in_the_mount(ground: &Ground) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "watcher", "labels": {"app": "watcher"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "watch", "image": "localhost/mail:1", "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "-c", WATCH], "volumeMounts": [{"name": "tls", "mountPath": "/etc/mail-tls"}]}],
        "volumes": [{"name": "tls", "secret": {"secretName": "mail-tls"}}],
    }});
    apply(ground, &pod.to_string());
    let system = json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate", "metadata": {"name": "system"},
        "spec": {"system": true, "issuerRef": {"name": "letsencrypt"}, "secretName": "system-tls",
            "dnsNames": ["mail.example.com"]}});
    apply(ground, &system.to_string());
    let own = ground.fingerprint();
    ground.kubectl(&["wait", "-n", MAIL, "--for=condition=Ready", "pod/watcher", "--timeout=120s"]);
    ground.wait("the first certificate in the mount", || watcher(ground).contains(&own).then_some(()));
    let of_system = || text(&ground.get(MAIL, &["mailcertificate/system"]), "/status/active/fingerprintSHA256");
    let fallback = ground.wait("the system certificate", || Some(of_system()).filter(|f| !f.is_empty()));

    let template = ground.domain()["spec"]["certificate"]["template"].clone();
    let set = |certificate: Value| {
        let patch = json!({"spec": {"certificate": certificate}}).to_string();
        ground.kubectl(&["patch", "-n", MAIL, "maildomain/mail", "--type=merge", "-p", &patch]);
    };
    set(json!({"template": null, "disabled": true}));
    let domain = ground.wait_served(&fallback);
    assert_eq!(text(&domain, "/status/certificate/name"), "system");
    all_ports_serve(ground, &fallback);
    wait_mounted(ground, &fallback);
    let left = ground.get(MAIL, &["mailcertificates"]);
    let names: Vec<String> = left["items"].as_array().unwrap().iter().map(|c| text(c, "/metadata/name")).collect();
    assert_eq!(names, ["system"]);

    set(json!({"template": template, "disabled": null}));
    let again = ground.wait("a certificate of its own", || {
        let found = ground.cluster.kubectl(&["get", "-n", MAIL, "mailcertificate/mail", "-o", "json"]).ok()?;
        let found: Value = serde_json::from_str(&found).ok()?;
        Some(text(&found, "/status/active/fingerprintSHA256")).filter(|f| !f.is_empty())
    });
    ground.wait_served(&again);
    all_ports_serve(ground, &again);
    wait_mounted(ground, &again);
    let log = watcher(ground);
    let seen: Vec<&str> = log.lines().collect();
    assert_eq!(seen, [own.as_str(), &fallback, &again], "what the mount held, one after the other");
    ground.kubectl(&["delete", "-n", MAIL, "pod", "watcher", "--wait=false"]);
}
