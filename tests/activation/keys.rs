//! Keys that are made ahead, and revision Secrets that somebody deletes.

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
}

#[test]
fn former_keys_stand_beside_the_current_one_for_old_mail() {
    let stage = Stage::self_signed("smime");
    let (at, first) = stage.issued("mail", "self", json!({"usages": ["emailProtection"], "history": {"revisions": 1}}));
    assert!(!data(&first).contains_key("previous-1.key"));
    for value in ["1", "2"] {
        stage.renew(&at, value);
    }
    let files = data(&stage.secret("mail-tls"));
    for n in ["1", "2"] {
        let (key, crt) = (&files[&format!("previous-{n}.key")], &files[&format!("previous-{n}.crt")]);
        assert_eq!(spki_of_key(key), leaf(crt).spki_der);
    }
    assert_eq!(files["previous-1.key"], data(&first)["tls.key"]);
    assert!(!files.contains_key("previous-3.key"));
    // Changed by hand, they are put right, and an idle pass leaves them alone.
    let at_secret = Path::secret(&stage.ns, "mail-tls");
    stage.kube.patch(&at_secret, &json!({"data": {"previous-1.key": null}})).unwrap();
    wait_for("the key to be back", || (data(&stage.secret("mail-tls")) == files).then_some(()));
    wait_ready(&stage.kube, &at);
}
