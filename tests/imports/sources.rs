//! A source over its life: watched, replaced, spoilt, deleted. And what is never told of it.

use serde_json::json;

use super::openssl::Ca;
use super::scene::{import, put, put_pem, wait_active};
use crate::common::{Path, Stage, condition, events, version, wait_condition, wait_for, wait_for_object, wait_ready};

/// As cert-manager makes it.
fn by_cert_manager(stage: &Stage, ca: &Ca) -> super::openssl::Made {
    let made = ca.issue("mail.example.com", 90);
    let name = "mail-source";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": stage.ns,
            "annotations": {"cert-manager.io/certificate-name": "mail", "cert-manager.io/issuer-name": "ca"},
            "labels": {"controller.cert-manager.io/fao": "true"}},
        "stringData": {"tls.crt": made.certificate, "tls.key": made.key, "ca.crt": ca.root()}});
    stage.kube.create(&secret).unwrap();
    made
}

#[test]
fn a_source_is_watched_and_never_written() {
    let (ca, mut stage) = (Ca::new(), Stage::new("source"));
    let at = import(&stage, "mail", &ca, json!({}));
    wait_condition(&stage.kube, &at, "Ready", "False", "ImportInvalid");
    let first = by_cert_manager(&stage, &ca);
    let object = wait_active(&stage, &at, &first, &ca);
    assert_eq!(object["status"]["active"]["revision"], 1);

    // Renewed there, it is renewed here.
    let second = ca.issue("mail.example.com", 90);
    put_pem(&stage, "mail-source", &second, &ca);
    let object = wait_active(&stage, &at, &second, &ca);
    assert_eq!(
        (&object["status"]["active"]["revision"], &object["status"]["previous"][0]["revision"]),
        (&json!(2), &json!(1))
    );

    // Spoilt, it changes nothing.
    let other = ca.issue("mail.example.com", 90);
    put(&stage, "mail-source", &[("tls.crt", other.certificate.as_bytes()), ("tls.key", second.key.as_bytes())]);
    let object = wait_condition(&stage.kube, &at, "Stalled", "True", "ImportInvalid");
    assert_eq!(condition(&object, "Ready").unwrap().0, "True");
    assert_eq!(object["status"]["active"]["revision"], 2);
    let found: Vec<&str> =
        object["status"]["findings"].as_array().unwrap().iter().map(|f| f["reason"].as_str().unwrap()).collect();
    assert!(found.contains(&"KeyMismatch"), "{found:?}");
    wait_for("the Event", || {
        let told = events(&stage.kube, &stage.ns, "mail");
        told.into_iter().find(|(type_, reason, _)| type_ == "Warning" && reason == "KeyMismatch")
    });

    // The first one put back is a revision, too.
    let source = put_pem(&stage, "mail-source", &first, &ca);
    let object = wait_active(&stage, &at, &first, &ca);
    assert_eq!(object["status"]["active"]["revision"], 3);
    assert_eq!(condition(&object, "Stalled"), None);
    let now = stage.kube.get(&Path::secret(&stage.ns, "mail-source")).unwrap();
    assert_eq!(version(&now), version(&source), "nobody else writes the source");

    rests(&mut stage, &at);

    // Deleted, it leaves what works.
    stage.kube.delete(&Path::secret(&stage.ns, "mail-source"));
    let object = wait_condition(&stage.kube, &at, "Stalled", "True", "ImportInvalid");
    assert_eq!(condition(&object, "Ready").unwrap().0, "True");
    assert_eq!(object["status"]["findings"][0]["reason"], "SourceNotFound");
}

/// At rest nothing is read and nothing is written, after a restart neither.
fn rests(stage: &mut Stage, at: &Path) {
    let mut passed = stage.passed("MailCertificate", 0.0);
    stage.kube.annotate(at, "example.com/touched", "0");
    passed = stage.passed("MailCertificate", passed);
    let requests = |stage: &Stage| {
        (stage.operator.writes(), stage.operator.metric("mailcert_api_requests_total", &["verb=\"get\""]))
    };
    let before = requests(stage);
    for value in ["1", "2"] {
        stage.kube.annotate(at, "example.com/touched", value);
        passed = stage.passed("MailCertificate", passed);
    }
    assert_eq!(requests(stage), before, "{}", stage.operator.metrics());
    let resting = stage.versions();
    stage.operator.stop();
    stage.operator.restart();
    stage.passed("MailCertificate", 0.0);
    assert_eq!(stage.operator.writes(), 0.0, "{}", stage.operator.metrics());
    assert_eq!(stage.versions(), resting);
}

#[test]
fn passwords_are_asked_for_told_apart_and_never_told() {
    const PASSWORD: &str = "correct-horse-battery";
    const WRONG: &str = "wrong-horse-battery";
    let (ca, stage) = (Ca::new(), Stage::new("password"));
    let made = ca.issue("mail.example.com", 365);
    let out = format!("pass:{PASSWORD}");
    let files = ["pkcs12", "-export", "-inkey", "leaf.key", "-in", "leaf.pem", "-certfile", "ca.pem"];
    let pkcs12 = ca.run(&[&files[..], &["-passout", &out]].concat());
    put(&stage, "mail-source", &[("mail.p12", &pkcs12)]);
    let at = import(&stage, "mail", &ca, json!({}));
    let says = |reason: &str| {
        wait_for_object(&stage.kube, &at, &format!("to say {reason}"), |o| {
            let findings = o["status"]["findings"].as_array();
            findings.is_some_and(|all| all.iter().any(|f| f["reason"] == reason))
                && condition(o, "Ready").is_some_and(|(status, why, _)| status == "False" && why == "ImportInvalid")
        })
    };
    says("PasswordMissing");
    let reference = json!({"spec": {"import": {"passwordSecretRef": {"name": "pin", "key": "pin"}}}});
    stage.kube.patch(&at, &reference).unwrap();
    says("PasswordNotFound");
    put(&stage, "pin", &[("other", b"0")]);
    let object = says("PasswordNotFound");
    assert!(object["status"]["active"].is_null());
    put(&stage, "pin", &[("pin", WRONG.as_bytes())]);
    says("PasswordWrong");
    put(&stage, "pin", &[("pin", PASSWORD.as_bytes())]);
    wait_active(&stage, &at, &made, &ca);

    let mut seen = stage.operator.log();
    assert!(seen.contains("\"acting\""), "the log is at debug");
    seen.extend(stage.kube.list_in("mailcertificates", &stage.ns).iter().map(ToString::to_string));
    let told = stage.kube.list(&format!("/apis/events.k8s.io/v1/namespaces/{}/events", stage.ns));
    assert!(!told.is_empty());
    seen.extend(told.iter().map(ToString::to_string));
    assert!(!seen.contains(PASSWORD) && !seen.contains(WRONG) && !seen.contains("PRIVATE KEY"));
    let key: Vec<&str> = made.key.lines().filter(|l| !l.starts_with('-')).collect();
    assert!(key.len() >= 3 && key.iter().all(|line| !seen.contains(line)), "a line of the key was seen");
}

#[test]
fn a_secret_that_others_change_is_put_right_from_the_source() {
    let (ca, stage) = (Ca::new(), Stage::new("rights"));
    let made = ca.issue("mail.example.com", 365);
    put_pem(&stage, "mail-source", &made, &ca);
    let at = import(&stage, "mail", &ca, json!({}));
    wait_active(&stage, &at, &made, &ca);
    stage.kube.delete(&Path::secret(&stage.ns, "mail-tls"));
    wait_for_object(&stage.kube, &at, "to count the repair", |o| o["status"]["repairs"]["count"] == 1);
    let object = wait_active(&stage, &at, &made, &ca);
    assert_eq!(object["status"]["active"]["revision"], 1);

    stage.kube.annotate(&at, "mailcert.dev/renew", "1");
    let object = wait_for_object(&stage.kube, &at, "to answer the annotation", |o| {
        o["status"]["findings"][0]["reason"] == "NotRenewable"
    });
    assert_eq!(condition(&object, "Ready").unwrap().0, "True");
    wait_ready(&stage.kube, &at);
}
