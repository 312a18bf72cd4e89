//! Changes of the spec.

use serde_json::json;

use crate::common::{
    Authority, Stage, condition, data, leaf, version, wait_condition, wait_for, wait_for_object, wait_ready,
};

#[test]
fn names_make_a_new_revision_and_their_order_does_not() {
    let stage = Stage::self_signed("names");
    let (at, secret) = stage.issued("mail", "self", json!({"dnsNames": ["mail.example.com", "imap.example.com"]}));
    let reordered = json!({"spec": {"dnsNames": ["IMAP.example.com", "mail.example.com"]}});
    stage.kube.patch(&at, &reordered).unwrap();
    wait_ready(&stage.kube, &at);
    assert_eq!(version(&stage.secret("mail-tls")), version(&secret));

    let changed = json!({"spec": {"dnsNames": ["mail.example.com", "smtp.example.com"]}});
    stage.kube.patch(&at, &changed).unwrap();
    let object = wait_ready(&stage.kube, &at);
    assert_eq!(object["status"]["active"]["revision"], 2);
    assert_eq!(leaf(&data(&stage.secret("mail-tls"))["tls.crt"]).dns_names, ["mail.example.com", "smtp.example.com"]);

    // A name that the pattern lets through and no certificate can carry: said, and what works stays.
    let working = stage.secret("mail-tls");
    let bad = json!({"spec": {"dnsNames": ["mail.example.com", format!("{}.example.com", "a".repeat(64))]}});
    stage.kube.patch(&at, &bad).unwrap();
    let object = wait_condition(&stage.kube, &at, "Ready", "False", "InvalidSpec");
    let said = condition(&object, "Ready").unwrap().2;
    assert!(said.starts_with("spec.dnsNames[1]: "), "{said}");
    assert_eq!(version(&stage.secret("mail-tls")), version(&working));
}

#[test]
fn metadata_for_the_secret_follows_the_template() {
    let stage = Stage::self_signed("template");
    let template = json!({"labels": {"team": "mail"}, "annotations": {"example.com/reload": "yes"}});
    let (at, secret) = stage.issued("mail", "self", json!({"secretTemplate": template}));
    assert_eq!(secret["metadata"]["labels"]["team"], "mail");
    assert_eq!(secret["metadata"]["annotations"]["example.com/reload"], "yes");
    stage.kube.patch(&at, &json!({"spec": {"secretTemplate": {"labels": {"team": "post"}}}})).unwrap();
    let changed = wait_for("the new label", || {
        Some(stage.secret("mail-tls")).filter(|s| s["metadata"]["labels"]["team"] == "post")
    });
    assert_eq!(data(&changed), data(&secret));
    let ready = wait_ready(&stage.kube, &at);
    assert_eq!(ready["status"]["active"]["revision"], 1);
    assert!(ready["status"]["repairs"].is_null(), "the operator's own wish is no repair: {:#}", ready["status"]);

    stage.kube.patch(&at, &json!({"spec": {"deletionPolicy": "Delete"}})).unwrap();
    wait_for("the owner", || {
        Some(stage.secret("mail-tls")).filter(|s| s["metadata"]["ownerReferences"][0]["name"] == "mail")
    });
    stage.kube.patch(&at, &json!({"spec": {"deletionPolicy": "Retain"}})).unwrap();
    wait_for("no owner", || Some(stage.secret("mail-tls")).filter(|s| s["metadata"]["ownerReferences"].is_null()));
}

#[test]
fn subject_usages_and_key_come_from_the_spec() {
    let stage = Stage::with_ca("subject", &Authority::new("CA"));
    let more = json!({"subject": {"organization": "Example"}, "usages": ["serverAuth", "clientAuth"],
        "privateKey": {"algorithm": "ECDSA", "size": 384}, "duration": "24h", "renewal": {"before": "6h"}});
    let (at, secret) = stage.issued("mail", "ca", more);
    let object = stage.kube.get(&at).unwrap();
    assert_eq!(object["status"]["active"]["key"], "ECDSA P-384");
    let (_, pem) = x509_parser::pem::parse_x509_pem(data(&secret)["tls.crt"].as_bytes()).unwrap();
    let cert = pem.parse_x509().unwrap();
    assert_eq!(cert.subject().to_string(), "O=Example");
    let usages = cert.extended_key_usage().unwrap().unwrap().value;
    assert!(usages.server_auth && usages.client_auth && !usages.any);

    stage.kube.patch(&at, &json!({"spec": {"subject": {"organization": "Other"}}})).unwrap();
    wait_for_object(&stage.kube, &at, "to be re-issued", |o| o["status"]["active"]["revision"] == 2);
}
