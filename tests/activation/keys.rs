//! Keys that are made ahead, and revision Secrets that somebody deletes.

use std::collections::BTreeMap;
use std::process::Command;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::common::{Path, Stage, data, events, leaf, spki_of_key, wait_for, wait_for_object, wait_ready};

fn next_key(object: &Value) -> Option<(String, String)> {
    let next = &object["status"]["nextKey"];
    Some((next["spkiSHA256"].as_str()?.to_owned(), next["secretName"].as_str()?.to_owned()))
}

#[test]
fn the_next_key_is_made_ahead_kept_by_renewals_and_used_when_its_time_comes() {
    let stage = Stage::self_signed("nextkey");
    let rotation = json!({"policy": "After", "after": "8760h", "prepareNext": true});
    let (at, first) = stage.issued("mail", "self", json!({"privateKey": {"rotation": rotation}}));
    let object = wait_for_object(&stage.kube, &at, "to have a next key", |o| next_key(o).is_some());
    let (spki, name) = next_key(&object).unwrap();
    let stored = data(&stage.secret(&name));
    assert_ne!(spki_of_key(&stored["tls.key"]), spki_of_key(&data(&first)["tls.key"]));
    let renewed = stage.renew(&at, "1");
    assert_eq!(renewed["status"]["active"]["spkiSHA256"], object["status"]["active"]["spkiSHA256"]);
    assert_eq!(next_key(&renewed).unwrap().0, spki, "a renewal touches neither");

    stage.kube.annotate(&at, "mailcert.dev/rotate-key", "now");
    let rotated = wait_for_object(&stage.kube, &at, "to use the next key", |o| {
        o["status"]["active"]["spkiSHA256"] == spki && next_key(o).is_some_and(|n| n.0 != spki)
    });
    assert_eq!(rotated["status"]["active"]["reason"], "KeyRotationRequested");
    assert_eq!(data(&stage.secret("mail-tls"))["tls.key"], stored["tls.key"]);

    // Deleted by hand, it is told and made again.
    let (lost, name) = next_key(&rotated).unwrap();
    stage.kube.delete(&Path::secret(&stage.ns, &name));
    wait_for_object(&stage.kube, &at, "to have another next key", |o| next_key(o).is_some_and(|n| n.0 != lost));
    wait_for("the Event", || events(&stage.kube, &stage.ns, "mail").into_iter().find(|e| e.1 == "NextKeyLost"));
    wait_ready(&stage.kube, &at);
}

#[test]
fn a_revision_that_somebody_deletes_is_told_of() {
    let stage = Stage::self_signed("lostrevision");
    let (at, _) = stage.issued("mail", "self", json!({}));
    stage.renew(&at, "1");
    let name = |n: i64| stage.revisions("mail")[&n]["metadata"]["name"].as_str().unwrap().to_owned();
    let (first, second) = (name(1), name(2));
    stage.kube.delete(&Path::secret(&stage.ns, &first));
    wait_for_object(&stage.kube, &at, "to list it no longer", |o| o["status"]["previous"].is_null());
    wait_for("the Event", || {
        let told = events(&stage.kube, &stage.ns, "mail");
        told.into_iter().find(|e| e.1 == "RevisionLost" && e.2.contains(&first))
    });
    stage.kube.delete(&Path::secret(&stage.ns, &second));
    wait_for("the active one to be kept again", || stage.revisions("mail").contains_key(&2).then_some(()));
    let kept = data(&stage.revisions("mail")[&2]);
    assert_eq!(kept["tls.key"], data(&stage.secret("mail-tls"))["tls.key"]);

    // One that waits cannot become active any more; what is active stays, and another one can be had.
    let before = data(&stage.secret("mail-tls"));
    stage.kube.patch(&at, &json!({"spec": {"activation": {"mode": "Manual"}}})).unwrap();
    stage.kube.annotate(&at, "mailcert.dev/renew", "2");
    wait_for_object(&stage.kube, &at, "to be staged", |o| o["status"]["staged"][0]["revision"] == 3);
    let third = name(3);
    stage.kube.delete(&Path::secret(&stage.ns, &third));
    wait_for_object(&stage.kube, &at, "to stage it no longer", |o| o["status"]["staged"].is_null());
    wait_for("the Event", || {
        let told = events(&stage.kube, &stage.ns, "mail");
        told.into_iter().find(|e| e.1 == "RevisionLost" && e.2.contains(&third) && e.2.contains("cannot become active"))
    });
    assert_eq!(data(&stage.secret("mail-tls")), before);
    stage.kube.annotate(&at, "mailcert.dev/renew", "3");
    wait_for_object(&stage.kube, &at, "to be staged again", |o| !o["status"]["staged"].is_null());
    wait_ready(&stage.kube, &at);
}

/// What of a Secret is text.
fn texts(secret: &Value) -> BTreeMap<String, String> {
    bytes(secret).into_iter().filter_map(|(name, bytes)| Some((name, String::from_utf8(bytes).ok()?))).collect()
}

fn bytes(secret: &Value) -> BTreeMap<String, Vec<u8>> {
    let entries = secret["data"].as_object().unwrap().iter();
    entries.map(|(name, value)| (name.clone(), BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap())).collect()
}

/// Mail that was encrypted to the first certificate is decrypted with what the Secret offers two revisions later, by
/// the `openssl` command: with the key, and with the store.
fn old_mail_is_read(first: &BTreeMap<String, String>, now: &Value) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).unwrap();
    let openssl = |line: &str| {
        let output = Command::new("openssl").args(line.split(' ')).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let mail = b"Subject: old\r\n\r\nSee you in 2019.\r\n";
    write("mail", mail);
    write("old.crt", first["tls.crt"].as_bytes());
    openssl("cms -encrypt -binary -aes256 -in mail -outform DER -out mail.p7m old.crt");
    bytes(now).iter().for_each(|(name, content)| write(name, content));
    openssl("cms -decrypt -inform DER -in mail.p7m -recip previous-1.crt -inkey previous-1.key -out read-with-key");
    openssl("pkcs12 -in previous-1.p12 -passin pass:changeit -noenc -out store.pem");
    openssl("cms -decrypt -inform DER -in mail.p7m -recip store.pem -inkey store.pem -out read-with-store");
    for read in ["read-with-key", "read-with-store"] {
        assert_eq!(std::fs::read(dir.path().join(read)).unwrap(), mail, "{read}");
    }
    let current = Command::new("openssl")
        .args(["cms", "-decrypt", "-inform", "DER", "-in", "mail.p7m", "-recip", "tls.crt", "-inkey", "tls.key"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(!current.status.success(), "the current key reads it too: the test shows nothing");
}

#[test]
fn former_keys_stand_beside_the_current_one_for_old_mail() {
    let stage = Stage::self_signed("smime");
    let store = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store", "namespace": stage.ns},
        "stringData": {"password": "changeit"}});
    stage.kube.create(&store).unwrap();
    let (at, first) = stage.issued(
        "mail",
        "self",
        json!({"usages": ["emailProtection"], "history": {"revisions": 1},
        "privateKey": {"algorithm": "RSA"}, "emailAddresses": ["post@example.com"],
        "outputs": {"pkcs12": {"passwordSecretRef": {"name": "store"}}}}),
    );
    let first = texts(&first);
    assert!(!first.contains_key("previous-1.key"));
    for value in ["1", "2"] {
        stage.renew(&at, value);
    }
    let files = texts(&stage.secret("mail-tls"));
    for n in ["1", "2"] {
        let (key, crt) = (&files[&format!("previous-{n}.key")], &files[&format!("previous-{n}.crt")]);
        assert_eq!(spki_of_key(key), leaf(crt).spki_der);
    }
    assert_eq!(files["previous-1.key"], first["tls.key"]);
    assert!(!files.contains_key("previous-3.key"));
    old_mail_is_read(&first, &stage.secret("mail-tls"));
    // Changed by hand, they are put right, and an idle pass leaves them alone.
    let at_secret = Path::secret(&stage.ns, "mail-tls");
    stage.kube.patch(&at_secret, &json!({"data": {"previous-1.key": null}})).unwrap();
    wait_for("the key to be back", || (texts(&stage.secret("mail-tls")) == files).then_some(()));
    wait_ready(&stage.kube, &at);
}
