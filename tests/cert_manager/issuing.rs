//! Requests that are signed, at once or after a while.

use serde_json::json;

use crate::common::{data, leaf, signed_by, spki_of_key, wait_for, wait_for_object, wait_ready};
use crate::signer::{Fate, csr_of, requests, stage, usages_agree};

#[test]
fn a_certificate_comes_from_cert_managers_issuer() {
    let (stage, signer) = stage("cm-sign", Fate::Sign);
    let more = json!({"dnsNames": ["mail.example.com", "imap.example.com"], "duration": "2160h"});
    let (at, secret) = stage.issued("mail", "vault", more);
    let files = data(&secret);
    let issued = leaf(&files["tls.crt"]);
    assert_eq!(issued.dns_names, ["imap.example.com", "mail.example.com"]);
    assert!(signed_by(&files["tls.crt"], &signer.ca.cert_pem));
    assert_eq!(issued.spki_der, spki_of_key(&files["tls.key"]));
    assert_eq!(leaf(&files["ca.crt"]).der, leaf(&signer.ca.cert_pem).der);

    let seen = signer.seen();
    let [request] = seen.as_slice() else { panic!("{} requests", seen.len()) };
    let object = stage.kube.get(&at).unwrap();
    let (metadata, spec) = (&request["metadata"], &request["spec"]);
    assert!(metadata["name"].as_str().unwrap().starts_with("mail-r1-"), "{metadata}");
    let labels = json!({"app.kubernetes.io/managed-by": "mailcert", "mailcert.dev/certificate-name": "mail"});
    assert_eq!(metadata["labels"], labels);
    assert_eq!(metadata["ownerReferences"][0]["uid"], object["metadata"]["uid"]);
    assert_eq!(spec["issuerRef"], json!({"name": "vault", "kind": "VaultIssuer", "group": "vault.example"}));
    assert_eq!(spec["usages"], json!(["digital signature", "server auth"]));
    assert_eq!(spec["duration"], "2160h0m0s");
    assert!(spec["isCA"].is_null() && usages_agree(request));
    assert!(csr_of(request).starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    assert!(requests(&stage).is_empty(), "it is deleted once it is stored");
    assert!(object["status"]["attempt"].is_null());
}

#[test]
fn usages_and_algorithm_are_asked_for_as_cert_manager_wants_them() {
    let (stage, signer) = stage("cm-rsa", Fate::Sign);
    let more = json!({"privateKey": {"algorithm": "RSA"}, "usages": ["serverAuth", "clientAuth"]});
    stage.issued("mail", "vault", more);
    let seen = signer.seen();
    assert_eq!(
        seen[0]["spec"]["usages"],
        json!(["digital signature", "key encipherment", "server auth", "client auth"])
    );
    assert!(usages_agree(&seen[0]));
}

#[test]
fn a_renewal_is_a_new_request_for_a_new_key() {
    let (stage, signer) = stage("cm-renew", Fate::Sign);
    let (at, first) = stage.issued("mail", "vault", json!({}));
    stage.renew(&at, "1");
    let second = stage.secret("mail-tls");
    assert_ne!(data(&first)["tls.key"], data(&second)["tls.key"]);
    assert_eq!(signer.seen().len(), 2);
    assert!(requests(&stage).is_empty());
    assert_eq!(stage.revisions("mail").keys().copied().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_it_waits_for_is_said_and_a_restart_asks_no_second_time() {
    let (mut stage, signer) = stage("cm-slow", Fate::Ignore);
    let at = stage.certificate("mail", "vault", json!({}));
    let says = |what: &str| {
        wait_for_object(&stage.kube, &at, what, |object| {
            let ready = crate::common::condition(object, "Ready");
            ready.is_some_and(|(status, reason, said)| {
                (status, reason) == ("False", "RequestPending") && said.contains(what)
            })
        })
    };
    let waiting = says("waits for approval: cert-manager's approver gives it, or a policy, or you with: cmctl approve");
    let name = waiting["status"]["attempt"]["request"]["name"].as_str().unwrap().to_owned();
    signer.let_it(Fate::Slow);
    says("is approved and waits for VaultIssuer vault of vault.example to sign it (Vault is sealed)");
    let key = stage.revisions("mail")[&1].clone();
    stage.operator.kill();
    signer.let_it(Fate::Sign);
    wait_for("the request to be signed", || {
        requests(&stage).first().is_some_and(|r| r["status"]["certificate"].is_string()).then_some(())
    });
    stage.operator.restart();
    wait_ready(&stage.kube, &at);
    assert_eq!(data(&stage.secret("mail-tls"))["tls.key"], data(&key)["tls.key"], "the key was stored first");
    let seen = signer.seen();
    assert_eq!(seen.iter().map(|r| r["metadata"]["name"].as_str().unwrap()).collect::<Vec<_>>(), [name]);
}

#[test]
fn a_request_for_other_names_takes_the_place_of_one_that_waits() {
    let (stage, signer) = stage("cm-change", Fate::Ignore);
    let at = stage.certificate("mail", "vault", json!({}));
    wait_for("the first request", || (requests(&stage).len() == 1).then_some(()));
    wait_for_object(&stage.kube, &at, "to know it", |o| o["status"]["attempt"]["request"].is_object());
    stage.kube.patch(&at, &json!({"spec": {"dnsNames": ["imap.example.com"]}})).unwrap();
    wait_for("the second request", || (signer.seen().len() == 2).then_some(()));
    wait_for("the first one to be deleted", || (requests(&stage).len() == 1).then_some(()));
    signer.let_it(Fate::Sign);
    wait_ready(&stage.kube, &at);
    assert_eq!(leaf(&data(&stage.secret("mail-tls"))["tls.crt"]).dns_names, ["imap.example.com"]);
}
