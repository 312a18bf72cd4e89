//! Renewals on request: once for each value, the key stored before it is used, and history kept to its length.

use serde_json::{Value, json};

use crate::common::{Stage, data, events, leaf, version, wait_for, wait_for_object, wait_ready};

fn number(version: &Value) -> u64 {
    version.as_str().unwrap().parse().unwrap()
}

#[test]
fn each_new_value_renews_once() {
    let stage = Stage::self_signed("renew");
    let (at, first) = stage.issued("mail", "self", json!({}));
    assert!(stage.revisions("mail").is_empty(), "the first issuance costs no second Secret");
    let renewed = stage.renew(&at, "today");
    assert_eq!(renewed["status"]["active"]["revision"], 2);
    let second = stage.secret("mail-tls");
    assert_ne!(data(&second)["tls.key"], data(&first)["tls.key"]);

    let revisions = stage.revisions("mail");
    assert_eq!(revisions.keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(data(&revisions[&1])["tls.key"], data(&first)["tls.key"]);
    assert_eq!(data(&revisions[&2])["tls.key"], data(&second)["tls.key"]);
    for (number_, secret) in &revisions {
        let stored = number(&secret["metadata"]["resourceVersion"]);
        assert!(stored < version(&second).parse().unwrap(), "revision {number_} was stored before it became active");
        assert_eq!(secret["metadata"]["ownerReferences"][0]["kind"], "MailCertificate");
    }

    // The same value again, and a restart, renew nothing.
    stage.kube.annotate(&at, "mailcert.dev/renew", "today");
    let passed = stage.passed("MailCertificate", 0.0);
    stage.kube.annotate(&at, "example.com/touched", "1");
    stage.passed("MailCertificate", passed);
    let mut stage = stage;
    stage.operator.restart();
    stage.passed("MailCertificate", 0.0);
    assert_eq!(wait_ready(&stage.kube, &at)["status"]["active"]["revision"], 2);
    assert_eq!(version(&stage.secret("mail-tls")), version(&second));

    let again = stage.renew(&at, "tomorrow");
    assert_eq!(again["status"]["active"]["revision"], 3);
    let previous: Vec<i64> =
        again["status"]["previous"].as_array().unwrap().iter().map(|r| r["revision"].as_i64().unwrap()).collect();
    assert_eq!(previous, [2, 1]);
    let issued = wait_for("three Events", || {
        let issued: Vec<_> = events(&stage.kube, &stage.ns, "mail").into_iter().filter(|e| e.1 == "Issued").collect();
        (issued.len() == 3).then_some(issued)
    });
    assert!(issued.iter().any(|(type_, _, note)| type_ == "Normal"
        && note.starts_with("revision 3 is active: mail.example.com, valid until ")));
}

#[test]
fn a_kept_key_stays_and_history_is_pruned() {
    let stage = Stage::self_signed("history");
    let more = json!({"privateKey": {"rotation": {"policy": "Never"}}, "history": {"revisions": 1}});
    let (at, first) = stage.issued("mail", "self", more);
    for (value, revision) in [("a", 2), ("b", 3), ("c", 4)] {
        let renewed = stage.renew(&at, value);
        assert_eq!(renewed["status"]["active"]["revision"], revision);
    }
    let (before, after) = (data(&first), data(&stage.secret("mail-tls")));
    assert_eq!(leaf(&after["tls.crt"]).spki_der, leaf(&before["tls.crt"]).spki_der);
    assert_eq!(after["tls.key"], before["tls.key"]);
    assert_ne!(after["tls.crt"], before["tls.crt"]);
    wait_for("history of one", || {
        let kept: Vec<i64> = stage.revisions("mail").into_keys().collect();
        (kept == [3, 4]).then_some(())
    });
    let object = stage.kube.get(&at).unwrap();
    assert_eq!(object["status"]["previous"].as_array().unwrap().len(), 1);

    // Another kind of key is a new one even so.
    stage.kube.patch(&at, &json!({"spec": {"privateKey": {"algorithm": "RSA"}}})).unwrap();
    let changed = wait_ready(&stage.kube, &at);
    assert_eq!(changed["status"]["active"]["key"], "RSA 2048");
    stage.kube.patch(&at, &json!({"spec": {"history": {"revisions": 0}}})).unwrap();
    wait_for_object(&stage.kube, &at, "to forget the past", |o| o["status"]["previous"].is_null());
    wait_for("no former revision", || {
        let kept: Vec<i64> = stage.revisions("mail").into_keys().collect();
        (kept.iter().all(|n| *n >= 5)).then_some(())
    });
}
