//! What is told about a certificate.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::MailCertificate;
use crate::decide::certificate::world::Told;
use crate::pki::Certificate;

/// Replaces `{namespace}`, `{name}`, `{revision}`, `{serial}` and `{fingerprint}`.
pub fn fill(text: &str, object: &MailCertificate, told: &Told) -> String {
    let values = [
        ("{namespace}", object.namespace().unwrap_or_default()),
        ("{name}", object.name_any()),
        ("{revision}", told.revision.revision.to_string()),
        ("{serial}", told.revision.serial.clone()),
        ("{fingerprint}", told.revision.fingerprint_sha256.clone()),
    ];
    values.into_iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, &value))
}

/// Everything, as JSON.
pub fn json(object: &MailCertificate, told: &Told) -> Value {
    let revision = &told.revision;
    json!({
        "namespace": object.namespace(),
        "name": object.name_any(),
        "revision": revision.revision,
        "serial": revision.serial,
        "fingerprintSHA256": revision.fingerprint_sha256,
        "spkiSHA256": revision.spki_sha256,
        "dnsNames": revision.dns_names,
        "notBefore": revision.not_before,
        "notAfter": revision.not_after,
        "certificate": told.chain.to_pem(),
        "ca": told.ca.iter().map(Certificate::to_pem).collect::<String>(),
    })
}

/// Everything, as a container's environment.
pub fn environment(object: &MailCertificate, told: &Told) -> Vec<Value> {
    let values = [
        ("MAILCERT_NAMESPACE", object.namespace().unwrap_or_default()),
        ("MAILCERT_NAME", object.name_any()),
        ("MAILCERT_REVISION", told.revision.revision.to_string()),
        ("MAILCERT_SERIAL", told.revision.serial.clone()),
        ("MAILCERT_FINGERPRINT", told.revision.fingerprint_sha256.clone()),
        ("MAILCERT_CERTIFICATE", told.chain.to_pem()),
    ];
    values.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}
