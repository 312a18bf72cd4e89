//! The active Secret changed or deleted by hand.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::common::{Authority, Path, Stage, condition, data, events, version, wait_for, wait_for_object, wait_ready};

fn put(stage: &Stage, field: &str, text: &str) -> Value {
    let at = Path::secret(&stage.ns, "mail-tls");
    stage.kube.patch(&at, &json!({"data": {field: BASE64_STANDARD.encode(text)}})).unwrap()
}

/// Waits until the Secret's files are as asked.
fn wait_files(stage: &Stage, what: &str, is: impl Fn(&std::collections::BTreeMap<String, String>) -> bool) {
    wait_for(what, || {
        stage.kube.get(&Path::secret(&stage.ns, "mail-tls")).map(|s| data(&s)).filter(|f| is(f)).map(drop)
    });
}

#[test]
fn what_was_changed_by_hand_is_put_right_without_a_new_certificate() {
    let stage = Stage::self_signed("repair");
    let (at, secret) = stage.issued("mail", "self", json!({}));
    let before = data(&secret);
    // An added key stays, and does no harm.
    let added = put(&stage, "dh.pem", "mine");
    wait_for_object(&stage.kube, &at, "to have seen the Secret", |o| {
        o["status"]["active"]["secretResourceVersion"] == added["metadata"]["resourceVersion"]
    });
    put(&stage, "tls-combined.pem", "damaged");
    wait_files(&stage, "the combined file to be right", |files| {
        files["tls-combined.pem"] == before["tls-combined.pem"] && files["dh.pem"] == "mine"
    });
    let repaired = wait_for_object(&stage.kube, &at, "to count the repair", |o| o["status"]["repairs"]["count"] == 1);
    assert_eq!(repaired["status"]["active"]["revision"], 1);
    assert_eq!(condition(&repaired, "Ready").unwrap().0, "True");
    wait_for("the Event", || {
        let told = events(&stage.kube, &stage.ns, "mail");
        told.into_iter().find(|(type_, reason, _)| type_ == "Warning" && reason == "SecretRestored")
    });
    assert_eq!(stage.operator.metric("mailcert_issuance_attempts_total", &[]), 1.0);
}

#[test]
fn a_lost_secret_with_a_kept_copy_comes_back_as_it_was() {
    let stage = Stage::self_signed("restore");
    let (at, _) = stage.issued("mail", "self", json!({}));
    let renewed = stage.renew(&at, "1");
    assert_eq!(renewed["status"]["active"]["revision"], 2);
    let before = data(&stage.secret("mail-tls"));
    stage.kube.delete(&Path::secret(&stage.ns, "mail-tls"));
    wait_files(&stage, "the Secret to be back", |files| *files == before);
    let restored = wait_for_object(&stage.kube, &at, "to count the repair", |o| o["status"]["repairs"]["count"] == 1);
    assert_eq!(restored["status"]["active"]["revision"], 2);
    assert_eq!(stage.operator.metric("mailcert_issuance_attempts_total", &[]), 2.0);

    // Again at once: it is contested now, said so, and put right after a pause.
    let swapped = Authority::new("swapped");
    put(&stage, "tls.key", &swapped.key_pem);
    let contested = wait_for_object(&stage.kube, &at, "to say who keeps changing it", |o| {
        condition(o, "Stalled").is_some_and(|(_, reason, _)| reason == "SecretContested")
    });
    assert_eq!(condition(&contested, "Ready").unwrap().1, "SecretContested");
    wait_files(&stage, "the key to be right", |files| *files == before);
    wait_for_object(&stage.kube, &at, "to count both repairs", |o| o["status"]["repairs"]["count"] == 2);
    wait_ready(&stage.kube, &at);
}

#[test]
fn a_lost_secret_without_a_copy_is_issued_anew() {
    let stage = Stage::self_signed("lost");
    let (at, secret) = stage.issued("mail", "self", json!({"history": {"revisions": 0}}));
    stage.kube.delete(&Path::secret(&stage.ns, "mail-tls"));
    let again = wait_for_object(&stage.kube, &at, "to be issued again", |o| o["status"]["active"]["revision"] == 2);
    let after = stage.secret("mail-tls");
    assert_ne!(data(&after)["tls.key"], data(&secret)["tls.key"]);
    assert_eq!(again["status"]["active"]["secretResourceVersion"], version(&after));

    let (swapped_at, swapped) = stage.issued("swapped", "self", json!({}));
    let other = Authority::new("other");
    let at = Path::secret(&stage.ns, "swapped-tls");
    stage.kube.patch(&at, &json!({"data": {"tls.key": BASE64_STANDARD.encode(&other.key_pem)}})).unwrap();
    wait_for_object(&stage.kube, &swapped_at, "to be issued again", |o| o["status"]["active"]["revision"] == 2);
    let files = data(&stage.secret("swapped-tls"));
    assert_eq!(crate::common::leaf(&files["tls.crt"]).spki_der, crate::common::spki_of_key(&files["tls.key"]));
    assert_ne!(files["tls.key"], data(&swapped)["tls.key"]);
}
