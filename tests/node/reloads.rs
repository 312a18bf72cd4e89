//! Reloads in place: Postfix and Dovecot in one pod, which never ends.

use crate::ground::{Ground, MAIL, condition, text};
use crate::scenes::{PORTS, all_ports_serve};
use serde_json::{Value, json};

/// Merges into the MailDomain's spec.
fn set(ground: &Ground, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    ground.kubectl(&["patch", "-n", MAIL, "maildomain/mail", "--type=merge", "-p", &patch]);
}

/// The workload `mail`, once for each way to reload it.
fn workloads(reloads: &[Value]) -> Value {
    let one = |reload: &Value| json!({"kind": "Deployment", "name": "mail", "reload": reload});
    json!({"workloads": reloads.iter().map(one).collect::<Vec<_>>()})
}

fn presets() -> Value {
    workloads(&[json!({"preset": "postfix"}), json!({"preset": "dovecot"})])
}

/// With the command for Dovecot that cuts off no login.
fn gentle() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/reload-dovecot/domain.yaml");
    let example: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    json!({"workloads": example["spec"]["workloads"]})
}

/// Asks for a renewal, and waits until it is active.
fn renew(ground: &Ground, name: &str) -> String {
    let before = ground.fingerprint();
    ground.kubectl(&[
        "annotate",
        "-n",
        MAIL,
        "--overwrite",
        "mailcertificate/mail",
        &format!("mailcert.dev/renew={name}"),
    ]);
    ground.wait("another certificate", || Some(ground.fingerprint()).filter(|f| *f != before))
}

/// Name, UID and restarts of the mail pods.
fn pods(ground: &Ground) -> Vec<(String, String, i64)> {
    let pods = ground.get(MAIL, &["pods", "-l", "app=mail"]);
    let alive = pods["items"].as_array().unwrap().iter().filter(|p| p["metadata"]["deletionTimestamp"].is_null());
    let restarts = |p: &Value| {
        let containers = p["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        containers.iter().filter_map(|c| c["restartCount"].as_i64()).sum()
    };
    alive.map(|p| (text(p, "/metadata/name"), text(p, "/metadata/uid"), restarts(p))).collect()
}

/// The workload's entry in the status.
fn entry(ground: &Ground) -> Value {
    ground.domain()["status"]["workloads"][0].clone()
}

/// Waits until the rollout is said to have failed in these words.
fn wait_failed(ground: &Ground, words: &str) {
    ground.wait(&format!("the reload to fail: {words}"), || {
        let domain = ground.domain();
        let (status, reason, message) = condition(&domain, "RolledOut");
        (status == "False" && reason == "RolloutFailed" && message.contains(words)).then_some(())
    });
}

/// Every port, with and without SNI, through the Service and in the pod, serves the new certificate from the same pod.
pub fn postfix_and_dovecot_load_a_certificate_without_a_restart(ground: &Ground) {
    set(ground, &json!({"probe": {"perPod": true, "withoutSNI": true}}));
    let before = pods(ground);
    for (name, workloads) in [("in-place", presets()), ("in-place-gently", gentle())] {
        set(ground, &workloads);
        let fingerprint = renew(ground, name);
        let domain = ground.wait_served(&fingerprint);
        all_ports_serve(ground, &fingerprint);
        let endpoints = domain["status"]["endpoints"].as_array().unwrap();
        assert_eq!(endpoints.len(), 4 * PORTS.len(), "{endpoints:#?}");
        let named = |end: &str| endpoints.iter().filter(|e| text(e, "/endpoint").ends_with(end)).count();
        assert_eq!(named(&format!(" in pod {} without SNI", before[0].0)), PORTS.len());
        for one in endpoints {
            assert_eq!((text(one, "/verdict").as_str(), &text(one, "/servedFingerprint")), ("Served", &fingerprint));
        }
        let entry = entry(ground);
        assert_eq!((text(&entry, "/state").as_str(), &text(&entry, "/pods/0/uid")), ("RolledOut", &before[0].1));
        assert_eq!(text(&entry, "/pods/0/state"), "Reloaded");
    }
    assert_eq!(pods(ground), before, "a pod was replaced, or a container restarted");
}

/// A command that fails, one that hangs, and one that ends its server.
pub fn what_goes_wrong_is_said_and_tried_again(ground: &Ground) {
    // What is tried again here is the same certificate.
    let stay = r#"{"spec":{"certificate":{"template":{"activation":{"rollbackOnFailure":false}}}}}"#;
    ground.kubectl(&["patch", "-n", MAIL, "maildomain/mail", "--type=merge", "-p", stay]);
    let exec =
        |command: &[&str]| workloads(&[json!({"exec": {"container": "postfix", "command": command, "timeout": "2s"}})]);
    set(ground, &exec(&["sh", "-c", "echo no such daemon >&2; exit 3"]));
    let before = pods(ground);
    let fingerprint = renew(ground, "fails");
    wait_failed(ground, "sh failed in container postfix (exit code 3): no such daemon");
    set(ground, &exec(&["sleep", "60"]));
    wait_failed(ground, "sleep did not end within 2 s in container postfix");
    set(ground, &exec(&["no-such-program"]));
    wait_failed(ground, "no-such-program could not be started in container postfix");
    assert_eq!(pods(ground), before);
    // The backoff is over before long; then it works, and what is proven says so.
    set(ground, &presets());
    ground.wait_served(&fingerprint);
    assert_eq!(pods(ground), before);

    let reload = json!({"exec": {"container": "postfix", "command": ["sh", "-c", "kill -TERM 1; sleep 20"]}});
    set(ground, &workloads(&[reload, json!({"preset": "dovecot"})]));
    renew(ground, "kills");
    let entry = ground.wait("the server to come back", || {
        let entry = entry(ground);
        (text(&entry, "/state") == "RolledOut" && text(&entry, "/message").contains("ended its container"))
            .then_some(entry)
    });
    let after = pods(ground);
    assert_eq!((&after[0].1, after[0].2), (&before[0].1, before[0].2 + 1), "one restart, and no more: {entry:#}");
    let findings = ground.domain()["status"]["findings"].clone();
    assert_eq!(text(&findings, "/0/reason"), "ReloadEndedServer", "{findings:#}");
}

/// The pod is deleted while its certificate is being replaced: the next one serves it.
pub fn a_pod_that_goes_half_way_is_followed_by_its_successor(ground: &Ground) {
    set(ground, &presets());
    let before = pods(ground);
    let fingerprint = renew(ground, "half-way");
    ground.kubectl(&["delete", "-n", MAIL, "pod", &before[0].0, "--wait=false"]);
    ground.wait_served(&fingerprint);
    all_ports_serve(ground, &fingerprint);
    assert_ne!(pods(ground)[0].1, before[0].1);
}
