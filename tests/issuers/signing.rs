//! What self-signed and ca issuers issue.

use serde_json::json;
use time::Duration;

use crate::common::{Authority, Path, Stage, data, leaf, signed_by, spki_of_key, wait_condition, wait_ready};

#[test]
fn a_self_signed_certificate_is_complete() {
    let stage = Stage::self_signed("self");
    let more = json!({"dnsNames": ["mail.example.com", "müller.example"], "commonName": "mail.example.com"});
    let (at, secret) = stage.issued("mail", "self", more);
    assert_eq!(secret["type"], "kubernetes.io/tls");
    let labels = json!({"app.kubernetes.io/managed-by": "mailcert", "mailcert.dev/certificate-name": "mail"});
    assert_eq!(secret["metadata"]["labels"], labels);
    assert!(secret["metadata"]["ownerReferences"].is_null(), "Retain leaves it behind");
    let files = data(&secret);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["ca.crt", "tls-combined.pem", "tls.crt", "tls.key"]);
    let issued = leaf(&files["tls.crt"]);
    assert_eq!(issued.dns_names, ["mail.example.com", "xn--mller-kva.example"]);
    assert_eq!(issued.common_name.as_deref(), Some("mail.example.com"));
    assert_eq!(issued.spki_der, spki_of_key(&files["tls.key"]));
    assert_eq!(files["ca.crt"], files["tls.crt"]);
    assert!(files["tls.key"].starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS#8");
    assert_eq!(files["tls-combined.pem"], files["tls.key"].clone() + &files["tls.crt"]);

    let status = stage.kube.get(&at).unwrap()["status"].clone();
    assert_eq!(status["active"]["revision"], 1);
    assert_eq!(status["active"]["issuerRef"], json!({"name": "self", "namespace": stage.ns}));
    assert_eq!(status["active"]["secretResourceVersion"], secret["metadata"]["resourceVersion"]);
    assert_eq!(status["active"]["dnsNames"], json!(["mail.example.com", "xn--mller-kva.example"]));
}

#[test]
fn a_ca_signs_and_its_leaf_never_outlives_it() {
    let ca = Authority::with("short CA", true, Duration::hours(-1), Duration::days(20));
    let stage = Stage::with_ca("ca", &ca);
    let (_, secret) = stage.issued("mail", "ca", json!({}));
    let files = data(&secret);
    assert!(signed_by(&files["tls.crt"], &ca.cert_pem));
    assert_eq!(leaf(&files["tls.crt"]).not_after, leaf(&ca.cert_pem).not_after);
    assert_eq!(leaf(&files["ca.crt"]).der, leaf(&ca.cert_pem).der);
    assert_eq!(pem::parse_many(&files["tls.crt"]).unwrap().len(), 1, "clients have the root");
    let issuer = stage.kube.get(&Path::issuer(&stage.ns, "ca")).unwrap();
    assert_eq!(issuer["status"]["ca"]["subject"], "CN=short CA");
}

#[test]
fn a_new_ca_key_pair_re_issues_and_keeps_what_was() {
    let stage = Stage::with_ca("ca-change", &Authority::new("first CA"));
    let (at, before) = stage.issued("mail", "ca", json!({}));
    let second = Authority::new("second CA");
    stage.tls_secret("ca-key-pair", &second.cert_pem, &second.key_pem);
    let object = crate::common::wait_for_object(&stage.kube, &at, "to be at revision 2", |object| {
        object["status"]["active"]["revision"] == 2
    });
    let (before, after) = (data(&before), data(&stage.secret("mail-tls")));
    assert!(signed_by(&after["tls.crt"], &second.cert_pem));
    assert_ne!(after["tls.key"], before["tls.key"]);
    let previous = &object["status"]["previous"];
    assert_eq!(previous.as_array().unwrap().len(), 1, "{previous:#}");
    assert_eq!(previous[0]["revision"], 1);
    let kept = data(&stage.secret(previous[0]["secretName"].as_str().unwrap()));
    assert_eq!((&kept["tls.key"], &kept["tls.crt"]), (&before["tls.key"], &before["tls.crt"]));
}

#[test]
fn an_issuer_that_comes_later_or_changes_is_followed() {
    let stage = Stage::self_signed("later");
    let at = stage.certificate("mail", "ca", json!({}));
    let waiting = wait_condition(&stage.kube, &at, "Ready", "False", "IssuerNotFound");
    let said = crate::common::condition(&waiting, "Stalled").unwrap().2;
    assert_eq!(said, format!("MailIssuer {}/ca does not exist: create it, or correct issuerRef", stage.ns));
    let ca = Authority::new("late CA");
    stage.create("MailIssuer", "ca", &json!({"ca": {"secretRef": {"name": "ca-key-pair"}}}));
    wait_condition(&stage.kube, &at, "Ready", "False", "IssuerNotReady");
    stage.tls_secret("ca-key-pair", &ca.cert_pem, &ca.key_pem);
    wait_ready(&stage.kube, &at);

    stage.kube.patch(&at, &json!({"spec": {"issuerRef": {"name": "self"}}})).unwrap();
    let changed = wait_ready(&stage.kube, &at);
    assert_eq!(changed["status"]["active"]["issuerRef"]["name"], "self");
    assert_eq!(changed["status"]["active"]["revision"], 2);
}
