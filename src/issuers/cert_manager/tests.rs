use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::pki::{KeyAlgorithm, KeySpec, PrivateKey, SubjectSpec, Usage, csr};

fn request(status: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest", "metadata": {"name": "mail-r1-0"},
        "spec": {"issuerRef": {"name": "ca"}, "request": ""}, "status": status,
    }))
    .unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message})
}

fn seen(conditions: &[Value], more: Value) -> RequestView {
    let mut status = json!({"conditions": conditions});
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    view(&request(status))
}

#[test]
fn a_request_is_as_the_crd_wants_it() {
    let key = PrivateKey::generate(&KeySpec::ecdsa(256)).unwrap();
    let subject = SubjectSpec { dns_names: vec!["mail.example.com".to_owned()], ..SubjectSpec::default() };
    let csr = csr(&key, &subject, &[Usage::ServerAuth]).unwrap();
    let draft = Draft {
        name: "mail-r1-0",
        owner: "mail",
        owner_reference: None,
        issuer: IssuerRef { name: "ca".to_owned(), kind: "Issuer".to_owned(), group: "cert-manager.io".to_owned() },
        csr: &csr,
        duration: Some(duration(SignedDuration::from_secs(90_061))),
        usages: usages(KeyAlgorithm::Ecdsa, &[Usage::ServerAuth]),
    };
    let made = object(&draft);
    assert!(is_ours(&made, &draft) && made_for(&made, "mail") && !made_for(&made, "other"));
    let value = serde_json::to_value(&made).unwrap();
    let pem: k8s_openapi::ByteString = serde_json::from_value(value["spec"]["request"].clone()).unwrap();
    assert!(pem.0.starts_with(b"-----BEGIN CERTIFICATE REQUEST-----"));
    assert_eq!(value["apiVersion"], "cert-manager.io/v1");
    assert_eq!(value["kind"], "CertificateRequest");
    assert_eq!(value["spec"]["issuerRef"], json!({"name": "ca", "kind": "Issuer", "group": "cert-manager.io"}));
    assert_eq!(value["spec"]["duration"], "25h1m1s");
    assert_eq!(value["spec"]["usages"], json!(["digital signature", "server auth"]));
    assert_eq!(usages(KeyAlgorithm::Rsa, &[]), ["digital signature", "key encipherment"]);
}

#[test]
fn each_state_is_told_apart() {
    let pending = condition("Ready", "False", "Pending", "waiting for the\nCA");
    for (conditions, more, expected) in [
        (vec![], json!({}), RequestView::default()),
        (
            vec![pending.clone()],
            json!({}),
            RequestView { pending: Some("waiting for the CA".to_owned()), ..Default::default() },
        ),
        (
            vec![condition("Approved", "True", "x", "y"), pending.clone()],
            json!({}),
            RequestView { approved: true, pending: Some("waiting for the CA".to_owned()), ..Default::default() },
        ),
        (
            vec![condition("Denied", "True", "policy", "not by this policy")],
            json!({}),
            RequestView { denied: Some("not by this policy".to_owned()), ..Default::default() },
        ),
        (
            vec![condition("Denied", "True", "NoPolicy", ""), condition("Ready", "False", "Denied", "was denied")],
            json!({"failureTime": "2030-01-01T00:00:00Z"}),
            RequestView {
                denied: Some("NoPolicy".to_owned()),
                failed: Some("was denied".to_owned()),
                pending: Some("was denied".to_owned()),
                ..Default::default()
            },
        ),
        (
            vec![condition("InvalidRequest", "True", "BadCSR", "no SAN")],
            json!({}),
            RequestView { invalid: Some("no SAN".to_owned()), ..Default::default() },
        ),
        (
            vec![condition("Ready", "True", "Issued", "done")],
            json!({"certificate": "UEVN", "ca": "Q0E="}),
            RequestView { certificate: Some(b"PEM".to_vec()), ca: Some(b"CA".to_vec()), ..Default::default() },
        ),
        (
            vec![condition("Ready", "True", "Issued", "done")],
            json!({"certificate": ""}),
            RequestView { failed: Some("it is ready, and has no certificate".to_owned()), ..Default::default() },
        ),
        (
            // A certificate that is not declared ready is not taken.
            vec![],
            json!({"certificate": "UEVN"}),
            RequestView::default(),
        ),
        (
            vec![],
            json!({"failureTime": "2030-01-01T00:00:00Z"}),
            RequestView { failed: Some("no reason was given".to_owned()), ..Default::default() },
        ),
    ] {
        assert_eq!(seen(&conditions, more.clone()), expected, "{conditions:?} {more}");
    }
    let failed = seen(&[condition("Ready", "False", "Failed", &"long ".repeat(1000))], json!({}));
    assert!(failed.failed.is_some_and(|w| w.chars().count() <= 500));
}

#[test]
fn a_status_of_another_shape_is_a_failure() {
    for status in [json!("x"), json!({"conditions": {}}), json!({"certificate": "%"}), json!({"conditions": [{}]})] {
        let seen = view(&request(status.clone()));
        assert!(seen.failed.is_some_and(|w| w.starts_with("its status cannot be read: ")), "{status}");
    }
    assert_eq!(view(&request(Value::Null)), RequestView::default());
}

#[test]
fn failures_say_what_to_do() {
    let error = |code: u16, reason: &str, message: &str| {
        let status: kube::core::Status =
            serde_json::from_value(json!({"status": "Failure", "code": code, "reason": reason, "message": message}))
                .unwrap();
        classify(kube::Error::Api(Box::new(status)), "create", "mail").to_string()
    };
    assert_eq!(
        error(404, "Failed to parse error data", "404 page not found"),
        "this cluster does not know cert-manager's CertificateRequests (certificaterequests.cert-manager.io): install \
         cert-manager, or use another issuer"
    );
    assert_eq!(
        error(
            403,
            "Forbidden",
            "certificaterequests.cert-manager.io is forbidden: User \"x\" cannot create resource …"
        ),
        "the operator may not create CertificateRequests in namespace mail: set the chart's value certManager.enabled to \
         true"
    );
    assert_eq!(
        error(403, "Forbidden", "admission webhook \"webhook.cert-manager.io\" denied the request: bad CSR"),
        "the CertificateRequest was refused: admission webhook \"webhook.cert-manager.io\" denied the request: bad CSR"
    );
}
