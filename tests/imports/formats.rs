//! Every format that a source can have, once through the operator.

use serde_json::{Value, json};

use super::openssl::Ca;
use super::scene::{import, put, wait_active};
use crate::common::Stage;

/// The keys of a source Secret, and what is in them.
type Files<'a> = Vec<(&'a str, &'a [u8])>;

#[test]
fn every_format_becomes_active() {
    let ca = Ca::new();
    let made = ca.issue("mail.example.com", 365);
    let (certificate, key, root) = (made.certificate.as_bytes(), made.key.as_bytes(), ca.root());
    let with_text = ca.run(&["x509", "-in", "leaf.pem", "-text"]);
    let sec1 = ca.run(&["ec", "-in", "leaf.key"]);
    let encrypted = ca.run(&["pkcs8", "-topk8", "-in", "leaf.key", "-passout", "pass:sesame"]);
    let der = ca.run(&["x509", "-in", "leaf.pem", "-outform", "DER"]);
    let pkcs12 = |more: &[&str]| {
        let files =
            ["pkcs12", "-export", "-inkey", "leaf.key", "-in", "leaf.pem", "-certfile", "ca.pem", "-name", "mail"];
        ca.run(&[&files[..], more].concat())
    };
    let modern = pkcs12(&["-passout", "pass:sesame"]);
    let old_ciphers = ["-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"];
    let old = pkcs12(&[&["-passout", "pass:sesame"][..], &old_ciphers].concat());
    // As Windows and Java of before 2018 make them.
    let oldest_ciphers = ["-legacy", "-certpbe", "PBE-SHA1-RC2-40", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"];
    let oldest = pkcs12(&[&["-passout", "pass:sesame"][..], &oldest_ciphers].concat());
    let open = pkcs12(&["-passout", "pass:"]);
    // As people put files together: the root first, the key last.
    let one_file = [root.as_bytes(), &with_text, &sec1].concat();
    let password = json!({"passwordSecretRef": {"name": "pin"}});
    let named = json!({"keys": {"certificate": "here.txt", "key": "there.txt", "ca": "above.txt"}});
    let sources: [(&str, Files<'_>, Value); 10] = [
        ("pem", vec![("tls.crt", certificate), ("tls.key", key), ("ca.crt", root.as_bytes())], json!({})),
        ("one-file", vec![("bluemind.pem", &one_file)], json!({})),
        ("sec1", vec![("cert.pem", certificate), ("key.pem", &sec1), ("ca.pem", root.as_bytes())], json!({})),
        ("der", vec![("tls.crt", &der), ("tls.key", key), ("ca.crt", root.as_bytes())], json!({})),
        (
            "encrypted",
            vec![("tls.crt", certificate), ("tls.key", &encrypted), ("ca.crt", root.as_bytes())],
            password.clone(),
        ),
        ("pkcs12", vec![("mail.p12", &modern)], password.clone()),
        ("old-pkcs12", vec![("mail.pfx", &old)], password.clone()),
        ("oldest-pkcs12", vec![("mail.pfx", &oldest)], password),
        ("open-pkcs12", vec![("mail.p12", &open)], json!({"format": "PKCS12"})),
        ("named", vec![("here.txt", certificate), ("there.txt", key), ("above.txt", root.as_bytes())], named),
    ];
    let stage = Stage::new("formats");
    put(&stage, "pin", &[("password", b"sesame\n")]);
    let mut objects = Vec::new();
    for (name, files, more) in &sources {
        put(&stage, &format!("{name}-source"), files);
        objects.push(import(&stage, name, &ca, more.clone()));
    }
    for at in &objects {
        let object = wait_active(&stage, at, &made, &ca);
        assert_eq!(object["status"]["active"]["revision"], 1, "{at}");
        assert!(object["status"]["active"]["issuerRef"].is_null(), "{at}");
    }
}
