//! One Secret, one owner.

use std::process::Command;

use mailcert_testenv::tools;
use serde_json::{Value, json};

use crate::common::{
    Stage, cluster, condition, data, events, version, wait_condition, wait_for, wait_for_object, wait_ready,
};

#[test]
fn the_first_claimant_keeps_the_secret() {
    let stage = Stage::self_signed("rivals");
    let (first, secret) = stage.issued("first", "self", json!({"secretName": "shared"}));
    let second = stage.certificate("second", "self", json!({"secretName": "shared"}));
    let refused = wait_condition(&stage.kube, &second, "Ready", "False", "SecretConflict");
    let said =
        "the Secret shared is claimed by MailCertificate first, which was there first: choose another secretName";
    assert_eq!(condition(&refused, "Ready").unwrap().2, said);
    assert_eq!(condition(&refused, "Stalled").unwrap().1, "SecretConflict");
    let told = wait_for("the Event", || events(&stage.kube, &stage.ns, "second").pop());
    assert_eq!(told, ("Warning".to_owned(), "SecretConflict".to_owned(), said.to_owned()));
    assert!(refused["status"]["active"].is_null() && refused["status"]["attempt"].is_null());
    assert!(stage.revisions("second").is_empty());
    assert_eq!(version(&stage.secret("shared")), version(&secret));

    stage.renew(&first, "1");
    assert_eq!(wait_ready(&stage.kube, &first)["status"]["active"]["revision"], 2);
    assert!(stage.kube.get(&second).unwrap()["status"]["active"].is_null());
    assert_eq!(stage.operator.metric("mailcert_issuance_attempts_total", &[]), 2.0);

    stage.kube.patch(&second, &json!({"spec": {"secretName": "own"}})).unwrap();
    wait_ready(&stage.kube, &second);
}

#[test]
fn whoever_has_the_secret_keeps_it_even_when_both_were_made_in_one_second() {
    let stage = Stage::self_signed("same-second");
    let created = |object: &Value| object["metadata"]["creationTimestamp"].clone();
    let (holder, other) = (0..50)
        .find_map(|n| {
            let shared = json!({"secretName": format!("shared-{n}")});
            let (holder, _) = stage.issued(&format!("z-{n}"), "self", shared.clone());
            let other = stage.certificate(&format!("a-{n}"), "self", shared);
            let same = created(&stage.kube.get(&holder)?) == created(&stage.kube.get(&other)?);
            same.then_some((holder, other))
        })
        .expect("one issuance in fifty takes less than a second and ends in the one it began in");
    let refused = wait_condition(&stage.kube, &other, "Ready", "False", "SecretConflict");
    assert!(condition(&refused, "Ready").unwrap().2.contains(" belongs to MailCertificate z-"));
    let renewed = stage.renew(&holder, "1");
    assert_eq!(renewed["status"]["active"]["revision"], 2);
    assert_eq!(condition(&renewed, "Ready").unwrap().0, "True");
}

#[test]
fn a_foreign_secret_is_left_alone_until_it_is_handed_over() {
    let stage = Stage::self_signed("foreign");
    let metadata = json!({"name": "mail-tls", "namespace": stage.ns, "labels": {"team": "mail"}});
    let (cert, key) = {
        let own = crate::common::Authority::new("by hand");
        (own.cert_pem, own.key_pem)
    };
    let made = stage
        .kube
        .create(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": cert, "tls.key": key, "dh.pem": "kept"}}))
        .unwrap();
    let at = stage.certificate("mail", "self", json!({}));
    let refused = wait_condition(&stage.kube, &at, "Ready", "False", "SecretConflict");
    let said = condition(&refused, "Ready").unwrap().2;
    let lead =
        "the Secret mail-tls exists and was not made by mailcert: choose another secretName, or hand it over with: ";
    let command = said.strip_prefix(lead).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(version(&stage.secret("mail-tls")), version(&made));
    assert_eq!(stage.operator.metric("mailcert_issuance_attempts_total", &[]), 0.0);

    let args: Vec<&str> = command.strip_prefix("kubectl ").unwrap().split(' ').collect();
    let mut kubectl = Command::new(tools::KUBECTL.path().unwrap());
    let run = kubectl.args(args).env("KUBECONFIG", cluster().kubeconfig()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let ready = wait_ready(&stage.kube, &at);
    let secret = stage.secret("mail-tls");
    assert_eq!(secret["metadata"]["labels"]["team"], "mail");
    let files = data(&secret);
    assert_eq!(files["dh.pem"], "kept");
    assert_eq!(crate::common::leaf(&files["tls.crt"]).dns_names, ["mail.example.com"]);
    assert_eq!(ready["status"]["active"]["issuerRef"]["name"], "self");
}

#[test]
fn a_secret_of_another_type_is_never_replaced() {
    let stage = Stage::self_signed("opaque");
    let labels = json!({"app.kubernetes.io/managed-by": "mailcert", "mailcert.dev/certificate-name": "mail"});
    let metadata = json!({"name": "mail-tls", "namespace": stage.ns, "labels": labels});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"});
    let made = stage.kube.create(&secret).unwrap();
    let at = stage.certificate("mail", "self", json!({}));
    let refused = wait_condition(&stage.kube, &at, "Ready", "False", "SecretConflict");
    let said = condition(&refused, "Ready").unwrap().2;
    assert!(said.contains("is of type Opaque, which cannot be changed to kubernetes.io/tls"), "{said}");
    assert_eq!(version(&stage.secret("mail-tls")), version(&made));
}

#[test]
fn retained_secrets_outlive_and_are_taken_up_again() {
    let stage = Stage::self_signed("retain");
    let (kept, secret) = stage.issued("kept", "self", json!({}));
    let (gone, _) = stage.issued("gone", "self", json!({"deletionPolicy": "Delete"}));
    stage.renew(&kept, "1");
    let fingerprint = stage.kube.get(&kept).unwrap()["status"]["active"]["fingerprintSHA256"].clone();
    let secret_before = stage.secret("kept-tls");
    assert_ne!(version(&secret_before), version(&secret));
    stage.kube.delete(&kept);
    stage.kube.delete(&gone);
    wait_for("the deleted object's Secret to go", || {
        let names: Vec<String> = stage.versions().into_keys().collect();
        let left = names.iter().filter(|n| n.starts_with("secrets")).collect::<Vec<_>>();
        (left == ["secrets/\"kept-tls\""]).then_some(())
    });
    assert_eq!(version(&stage.secret("kept-tls")), version(&secret_before));

    // The same MailCertificate made anew takes its certificate up again, without another issuance.
    let before = stage.operator.metric("mailcert_issuance_attempts_total", &[]);
    let again = stage.certificate("kept", "self", json!({}));
    let ready =
        wait_for_object(&stage.kube, &again, "to be Ready", |o| condition(o, "Ready").is_some_and(|c| c.0 == "True"));
    assert_eq!(ready["status"]["active"]["fingerprintSHA256"], fingerprint);
    assert_eq!(ready["status"]["active"]["revision"], 2);
    assert_eq!(stage.operator.metric("mailcert_issuance_attempts_total", &[]), before);
}
