//! Further forms of certificate and key in the Secret, with their password from another one.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::common::{Authority, Path, Stage, version, wait_for, wait_for_object, wait_ready};

/// What the Secret holds, as it is: not all of it is text.
fn files(stage: &Stage) -> BTreeMap<String, Vec<u8>> {
    let secret = stage.secret("mail-tls");
    let entries = secret["data"].as_object().unwrap().iter();
    entries.map(|(k, v)| (k.clone(), BASE64_STANDARD.decode(v.as_str().unwrap()).unwrap())).collect()
}

fn password(stage: &Stage, text: &str) {
    let at = Path::secret(&stage.ns, "store");
    if stage.kube.get(&at).is_some() {
        stage.kube.patch(&at, &json!({"stringData": {"password": text}})).unwrap();
        return;
    }
    let metadata = json!({"name": "store", "namespace": stage.ns});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": text}});
    stage.kube.create(&secret).unwrap();
}

/// Whether OpenSSL opens a store with that password.
fn opens(store: &[u8], password: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.p12");
    fs::write(&path, store).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["pkcs12", "-noout", "-passin", &format!("pass:{password}"), "-in"]).arg(&path);
    openssl.stdin(Stdio::null()).output().unwrap().status.success()
}

fn skipped(object: &Value) -> Option<&str> {
    let findings = object["status"]["findings"].as_array()?;
    findings.iter().find(|f| f["reason"] == "OutputSkipped").and_then(|f| f["message"].as_str())
}

#[test]
fn stores_follow_their_password_and_are_not_written_when_nothing_changes() {
    let mut stage = Stage::with_ca("outputs", &Authority::new("outputs"));
    let outputs = json!({"der": true, "bluemind": true, "pkcs12": {"passwordSecretRef": {"name": "store"}}});
    let (at, _) = stage.issued("mail", "ca", json!({"outputs": outputs, "privateKey": {"encoding": "Traditional"}}));
    // Without the password all the rest is there, and it is said.
    let plain = ["bluemind.pem", "ca.crt", "key.der", "tls-combined.pem", "tls.crt", "tls.der", "tls.key"];
    assert_eq!(files(&stage).keys().collect::<Vec<_>>(), plain);
    assert!(files(&stage)["tls.key"].starts_with(b"-----BEGIN EC PRIVATE KEY-----"));
    let object = wait_for_object(&stage.kube, &at, "to miss the password", |o| skipped(o).is_some());
    let message = skipped(&object).unwrap();
    assert!(message.contains("there is no Secret store with their password"), "{message}");

    password(&stage, "changeit");
    wait_for("the stores", || files(&stage).contains_key("truststore.p12").then_some(()));
    wait_for_object(&stage.kube, &at, "to miss nothing", |o| skipped(o).is_none());
    let first = files(&stage);
    assert!(opens(&first["keystore.p12"], "changeit") && opens(&first["truststore.p12"], "changeit"));

    password(&stage, "another");
    wait_for("stores with another password", || opens(&files(&stage)["keystore.p12"], "another").then_some(()));
    let second = files(&stage);
    assert!(plain.iter().all(|name| first[*name] == second[*name]), "the rest stays as it is");

    // At rest nothing is written, not by a restarted operator either.
    let active = |o: &Value| o["status"]["active"]["secretResourceVersion"].clone();
    wait_for_object(&stage.kube, &at, "to know its Secret", |o| active(o) == *version(&stage.secret("mail-tls")));
    let resting = stage.versions();
    stage.operator.stop();
    stage.operator.restart();
    stage.passed("MailCertificate", 0.0);
    assert_eq!((stage.operator.writes(), stage.versions()), (0.0, resting));

    // A store that somebody has damaged is put right, as a key is.
    let damage = json!({"data": {"keystore.p12": BASE64_STANDARD.encode("damaged")}});
    stage.kube.patch(&Path::secret(&stage.ns, "mail-tls"), &damage).unwrap();
    wait_for("the store to be right", || opens(&files(&stage)["keystore.p12"], "another").then_some(()));
    let object = wait_for_object(&stage.kube, &at, "to count it", |o| o["status"]["repairs"]["count"] == 1);
    assert_eq!(object["status"]["active"]["revision"], 1);

    // What is no longer asked for goes; what somebody else put there stays.
    let mine = json!({"data": {"dh.pem": BASE64_STANDARD.encode("mine")}});
    stage.kube.patch(&Path::secret(&stage.ns, "mail-tls"), &mine).unwrap();
    stage.kube.patch(&at, &json!({"spec": {"outputs": {"bluemind": null, "pkcs12": null}}})).unwrap();
    wait_for("the stores to go", || (!files(&stage).contains_key("keystore.p12")).then_some(()));
    let left = ["ca.crt", "dh.pem", "key.der", "tls-combined.pem", "tls.crt", "tls.der", "tls.key"];
    assert_eq!(files(&stage).keys().collect::<Vec<_>>(), left);
    let object = wait_ready(&stage.kube, &at);
    assert_eq!((&object["status"]["active"]["revision"], skipped(&object)), (&json!(1), None));
    let log = stage.operator.log();
    assert!(!log.contains("changeit") && !log.contains("another"), "a password is in the log");
}
