//! Expiry needs no event: it is noticed when it happens.

use serde_json::json;
use time::Duration;

use crate::common::{Authority, Path, Stage, condition, version, wait_condition};

#[test]
fn ready_turns_false_at_expiry_when_nothing_can_renew() {
    let ca = Authority::with("ending CA", true, Duration::ZERO, Duration::seconds(25));
    let stage = Stage::with_ca("expiry", &ca);
    let (at, _) = stage.issued("mail", "ca", json!({}));
    stage.kube.delete(&Path::secret(&stage.ns, "ca-key-pair"));
    // Half of its life is over first: it is due, says what it waits for, and is still good.
    let due = crate::common::wait_for_object(&stage.kube, &at, "to be due", |o| {
        condition(o, "Reconciling").is_some_and(|(_, reason, _)| reason == "IssuerNotReady")
    });
    assert_eq!(condition(&due, "Ready").unwrap().0, "True");
    let working = stage.secret("mail-tls");
    let expired = wait_condition(&stage.kube, &at, "Ready", "False", "Expired");
    let (_, _, said) = condition(&expired, "Ready").unwrap();
    let not_after = expired["status"]["active"]["notAfter"].as_str().unwrap();
    assert!(said.starts_with(&format!("the certificate expired at {not_after}: MailIssuer ")), "{said}");
    assert!(said.contains("the Secret ca-key-pair does not exist"), "{said}");
    assert_eq!(version(&stage.secret("mail-tls")), version(&working), "what expired is not taken away");
}
