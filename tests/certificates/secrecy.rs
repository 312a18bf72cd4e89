//! Private keys are in Secrets and nowhere else.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::common::{Authority, Path, Stage, wait_condition, wait_for_object};

#[test]
fn no_private_key_in_logs_status_or_events() {
    let ca = Authority::new("CA");
    let stage = Stage::with_ca("secrecy", &ca);
    let (at, _) = stage.issued("mail", "ca", json!({}));
    stage.renew(&at, "1");
    // Defects, with keys at hand: in the wrong place, swapped, and of a CA that does not fit.
    let mut keys = stage.private_keys();
    let other = Authority::new("other");
    keys.extend([ca.key_pem.clone(), other.key_pem.clone()]);
    let secret = Path::secret(&stage.ns, "mail-tls");
    let swapped = json!({"stringData": {"tls.crt": other.key_pem, "tls.key": other.key_pem}});
    stage.kube.patch(&secret, &swapped).unwrap();
    wait_for_object(&stage.kube, &at, "to be repaired", |o| o["status"]["repairs"]["count"] == 1);
    let mismatch =
        json!({"stringData": {"tls.crt": format!("{}{}", ca.key_pem, ca.cert_pem), "tls.key": other.key_pem}});
    stage.kube.patch(&Path::secret(&stage.ns, "ca-key-pair"), &mismatch).unwrap();
    wait_condition(&stage.kube, &Path::issuer(&stage.ns, "ca"), "Ready", "False", "SecretInvalid");

    let mut seen = stage.operator.log();
    assert!(seen.contains("\"acting\""), "the log is at debug");
    for kind in ["mailissuers", "mailcertificates"] {
        seen.extend(stage.kube.list_in(kind, &stage.ns).iter().map(ToString::to_string));
    }
    let told = stage.kube.list(&format!("/apis/events.k8s.io/v1/namespaces/{}/events", stage.ns));
    assert!(!told.is_empty());
    seen.extend(told.iter().map(ToString::to_string));
    assert!(keys.len() >= 5, "{}", keys.len());
    for key in keys {
        assert!(!seen.contains("PRIVATE KEY"));
        let body: Vec<&str> = key.lines().filter(|l| !l.starts_with('-')).collect();
        assert!(body.iter().all(|line| !seen.contains(line)), "a line of a key was seen");
        // As a Secret's data carries it, whatever comes before it.
        let encoded = BASE64_STANDARD.encode(&key);
        assert!(!seen.contains(&encoded[..60]) && !seen.contains(&encoded[encoded.len() - 60..]));
    }
}
