//! Certificates that nobody renews, as they come to their end.

use serde_json::json;

use super::openssl::Ca;
use super::scene::{import, put_pem, wait_active};
use crate::common::{Stage, condition, events, wait_for, wait_for_object};

#[test]
fn an_end_that_comes_near_is_told_once_and_shown_in_metrics() {
    let (ca, mut stage) = (Ca::new(), Stage::new("expiry"));
    let made = ca.issue("mail.example.com", 13);
    put_pem(&stage, "mail-source", &made, &ca);
    let at = import(&stage, "mail", &ca, json!({}));
    stage.kube.patch(&at, &json!({"spec": {"expiryWarnings": ["336h", "10%"]}})).unwrap();
    wait_active(&stage, &at, &made, &ca);
    let object = wait_for_object(&stage.kube, &at, "to warn", |o| condition(o, "RenewalOverdue").is_some());
    let (status, reason, message) = condition(&object, "RenewalOverdue").unwrap();
    assert_eq!((status, reason), ("True", "ExpiresSoon"));
    assert!(message.contains("less than 14 days from now"), "{message}");
    assert_eq!(condition(&object, "Ready").unwrap().0, "True");
    let told = |stage: &Stage| {
        let all = events(&stage.kube, &stage.ns, "mail").into_iter();
        all.filter(|(type_, reason, _)| type_ == "Warning" && reason == "ExpiresSoon").count()
    };
    wait_for("the Event", || (told(&stage) == 1).then_some(()));
    let end = object["status"]["active"]["notAfter"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let shown =
        |kind: &str| stage.operator.metric("mailcert_certificate_expiry_timestamp_seconds", &["name=\"mail\"", kind]);
    assert_eq!(shown("kind=\"imported\""), end.as_second() as f64);
    assert!(shown("kind=\"anchor\"") > end.as_second() as f64, "{}", stage.operator.metrics());
    assert_eq!(stage.operator.metric("mailcert_certificate_renewal_overdue", &["name=\"mail\""]), 1.0);

    stage.operator.restart();
    stage.passed("MailCertificate", 0.0);
    assert_eq!((stage.operator.writes(), told(&stage)), (0.0, 1), "a restart tells nothing again");
}
