//! A certManager issuer on a cluster that has no cert-manager.

use serde_json::json;

use crate::common::{Path, Stage, wait_for_object, wait_ready};

#[test]
fn it_says_what_to_install() {
    let stage = Stage::new("no-cm");
    stage.create("MailIssuer", "vault", &json!({"certManager": {"issuerRef": {"name": "vault"}}}));
    let issuer = wait_ready(&stage.kube, &Path::issuer(&stage.ns, "vault"));
    let (_, _, said) = crate::common::condition(&issuer, "Ready").unwrap();
    assert!(said.contains("cert-manager's Issuer vault of cert-manager.io is asked"), "{said}");
    let at = stage.certificate("mail", "vault", json!({}));
    let words = "this cluster does not know cert-manager's CertificateRequests (certificaterequests.cert-manager.io): install \
                 cert-manager, or use another issuer";
    let object = wait_for_object(&stage.kube, &at, "to say so", |o| {
        o["status"]["attempt"]["lastFailure"]["message"].as_str().is_some_and(|m| m == words)
    });
    assert_eq!(object["status"]["attempt"]["lastFailure"]["reason"], "IssuerNotReady");
}
