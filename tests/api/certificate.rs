//! MailCertificates.

use serde_json::{Value, json};

use crate::{
    common::{Kube, Path, cluster},
    table::{Case, check, object},
};

pub fn good() -> Value {
    json!({"issuerRef": {"name": "ca"}, "secretName": "mail-tls", "dnsNames": ["mail.example.com"]})
}

const SIZE: &str = "size must be 256, 384 or 521 for ECDSA, 2048, 3072 or 4096 for RSA, and unset for Ed25519";
const COMMON_NAME: &str = "commonName must be one of dnsNames: clients ignore a CN that is not also a SAN";
const ONE_BEFORE: &str = "at most one of before and beforePercentage may be set";
const ONE_SOURCE: &str = "exactly one of issuerRef and import must be set";
const NAMES: &str = "dnsNames must name at least one name, unless the certificate is imported";
const SAME_SECRET: &str =
    "import.secretRef must name another Secret than secretName: the operator writes that one, and never the source";
const TAKEN_AS_IT_IS: &str = "go with issuerRef: what is imported is taken as it is";
const DURATION: &str = "duration must be between 1h and 87600h";

#[test]
fn dns_names_are_well_formed() {
    let good_names = [
        "mail.example.com",
        "*.example.com",
        "xn--mller-kva.example",
        "müller.example",
        "пошта.укр",
        "メール.例え.jp",
        "MAIL.Example.COM",
        "1.2.example",
        "a--b.example",
    ];
    let bad_names = [
        "mail",
        "mail.example.com.",
        ".example.com",
        "mail..example.com",
        "*.*.example.com",
        "mail.*.example.com",
        "m*il.example.com",
        "*",
        "-mail.example.com",
        "mail-.example.com",
        "mail_1.example.com",
        "mail.example.com:25",
        "https://mail.example.com",
        "post master.example.com",
        "a@example.com",
        "mail.example.com\n",
    ];
    let named = |name: &str| json!({"dnsNames": [name]});
    let mut cases: Vec<Case> = good_names.iter().map(|name| (*name, named(name), None)).collect();
    let refusal = Some("spec.dnsNames[0] in body should match");
    cases.extend(bad_names.iter().map(|name| (*name, named(name), refusal)));
    cases.push(("no name", json!({"dnsNames": []}), Some(NAMES)));
    cases.push(("an empty name", json!({"dnsNames": [""]}), Some("spec.dnsNames[0]")));
    cases.push(("a long name", named(&format!("{}example.com", "a.".repeat(125))), Some("Too long")));
    let many = |n: usize| json!({"dnsNames": (0..n).map(|i| format!("m{i}.example.com")).collect::<Vec<_>>()});
    cases.push(("100 names", many(100), None));
    cases.push(("101 names", many(101), Some("spec.dnsNames: Too many")));
    let legacy = |name: &str| json!({"legacyDNSNames": [{"name": name}]});
    cases.push(("a legacy name", legacy("old.example.com"), None));
    cases.push((
        "a legacy wildcard",
        legacy("*.example.com"),
        Some("spec.legacyDNSNames[0].name in body should match"),
    ));
    cases.push((
        "51 legacy names",
        json!({"legacyDNSNames": vec![json!({"name": "old.example.com"}); 51]}),
        Some("spec.legacyDNSNames: Too many"),
    ));
    check("MailCertificate", &good(), &cases);
}

#[test]
fn subjects_are_bounded() {
    let subject = |field: &str, value: &str| json!({"subject": {field: value}});
    check(
        "MailCertificate",
        &good(),
        &[
            ("a CN among the names", json!({"commonName": "mail.example.com"}), None),
            ("another CN", json!({"commonName": "example.com"}), Some(COMMON_NAME)),
            ("a long CN", json!({"commonName": "a".repeat(65)}), Some("spec.commonName: Too long")),
            ("a country", subject("country", "DE"), None),
            ("a country's name", subject("country", "Germany"), Some("spec.subject.country")),
            ("a lower-case country", subject("country", "de"), Some("spec.subject.country in body should match")),
            ("an organization", subject("organization", "Müller & Söhne"), None),
            ("a long organization", subject("organization", &"o".repeat(65)), Some("Too long")),
            ("a long locality", subject("locality", &"l".repeat(129)), Some("Too long")),
            ("a mail address", json!({"emailAddresses": ["postmaster@example.com"]}), None),
            ("no mail address", json!({"emailAddresses": ["postmaster"]}), Some("spec.emailAddresses[0]")),
            ("21 mail addresses", json!({"emailAddresses": vec!["a@example.com"; 21]}), Some("Too many")),
            ("usages", json!({"usages": ["serverAuth", "clientAuth", "emailProtection"]}), None),
            ("no usage", json!({"usages": []}), Some("spec.usages")),
            ("another usage", json!({"usages": ["codeSigning"]}), Some("Unsupported value")),
        ],
    );
}

#[test]
fn keys_are_of_a_kind_that_exists() {
    let key = |algorithm: &str, size: Option<i32>| json!({"privateKey": {"algorithm": algorithm, "size": size}});
    let mut cases: Vec<Case> = Vec::new();
    for (algorithm, sizes) in [("ECDSA", [256, 384, 521]), ("RSA", [2048, 3072, 4096])] {
        cases.extend(sizes.map(|size| (algorithm, key(algorithm, Some(size)), None)));
        cases.push((algorithm, key(algorithm, None), None));
        cases.push((algorithm, key(algorithm, Some(sizes[0] - 1)), Some(SIZE)));
    }
    cases.push(("RSA of an ECDSA size", key("RSA", Some(256)), Some(SIZE)));
    cases.push(("ECDSA by default", json!({"privateKey": {"size": 2048}}), Some(SIZE)));
    cases.push(("Ed25519", key("Ed25519", None), None));
    cases.push(("Ed25519 with a size", key("Ed25519", Some(256)), Some(SIZE)));
    cases.push(("DSA", key("DSA", None), Some("Unsupported value")));
    cases.push(("a policy", json!({"privateKey": {"rotation": {"policy": "Never"}}}), None));
    cases.push(("another policy", json!({"privateKey": {"rotation": {"policy": "Maybe"}}}), Some("Unsupported value")));
    check("MailCertificate", &good(), &cases);
}

#[test]
fn times_and_numbers_are_bounded() {
    let before = |text: &str| json!({"renewal": {"before": text}});
    let percent = |n: i32| json!({"renewal": {"beforePercentage": n}});
    let history = |n: i32| json!({"history": {"revisions": n}});
    check(
        "MailCertificate",
        &good(),
        &[
            ("an hour", json!({"duration": "1h"}), None),
            ("ten years", json!({"duration": "87600h"}), None),
            ("too short", json!({"duration": "59m"}), Some(DURATION)),
            ("too long", json!({"duration": "87601h"}), Some(DURATION)),
            ("in parts", json!({"duration": "1h30m0.5s"}), None),
            ("negative", json!({"duration": "-2h"}), Some("spec.duration in body should match")),
            ("in days", json!({"duration": "90 days"}), Some("spec.duration in body should match")),
            ("in short days", json!({"duration": "90d"}), Some("spec.duration in body should match")),
            ("beyond Go's range", before("9999999999h"), Some("spec.renewal.before")),
            ("before", before("5m"), None),
            ("before at once", before("4m59s"), Some("before must be at least 5m")),
            ("percentage", percent(95), None),
            ("all of it", percent(96), Some("spec.renewal.beforePercentage")),
            ("none of it", percent(0), Some("spec.renewal.beforePercentage")),
            ("both", json!({"renewal": {"before": "720h", "beforePercentage": 30}}), Some(ONE_BEFORE)),
            ("no history", history(0), None),
            ("much history", history(20), None),
            ("too much history", history(21), Some("spec.history.revisions")),
            ("negative history", history(-1), Some("spec.history.revisions")),
            ("deletion", json!({"deletionPolicy": "Delete"}), None),
            ("another deletion", json!({"deletionPolicy": "Orphan"}), Some("Unsupported value")),
        ],
    );
}

#[test]
fn references_are_names() {
    let labels: Value = (0..21).map(|i| (format!("l{i}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    check(
        "MailCertificate",
        &good(),
        &[
            ("no issuer", json!({"issuerRef": null}), Some(ONE_SOURCE)),
            ("no Secret", json!({"secretName": null}), Some("spec.secretName: Required")),
            ("a bad Secret", json!({"secretName": "Mail"}), Some("spec.secretName in body should match")),
            ("a bad issuer", json!({"issuerRef": {"name": "a/b"}}), Some("spec.issuerRef.name in body should match")),
            ("an issuer elsewhere", json!({"issuerRef": {"namespace": "mailcert-system"}}), None),
            ("20 labels", json!({"secretTemplate": {"labels": {"a": "b"}}}), None),
            ("21 labels", json!({"secretTemplate": {"labels": labels}}), Some("Too many")),
            ("21 annotations", json!({"secretTemplate": {"annotations": labels}}), Some("Too many")),
        ],
    );
}

#[test]
fn imports_name_their_source() {
    let good = json!({"import": {"secretRef": {"name": "from-the-ca"}}, "secretName": "mail-tls"});
    let import = |change: Value| json!({"import": change});
    let keys = |keys: Value| json!({"import": {"keys": keys}});
    check(
        "MailCertificate",
        &good,
        &[
            ("an issuer too", json!({"issuerRef": {"name": "ca"}}), Some(ONE_SOURCE)),
            ("names that it must cover", json!({"dnsNames": ["mail.example.com"]}), None),
            ("no Secret", import(json!({"secretRef": null})), Some("spec.import.secretRef: Required")),
            ("a bad Secret", import(json!({"secretRef": {"name": "A"}})), Some("spec.import.secretRef.name in body")),
            ("its own Secret", import(json!({"secretRef": {"name": "mail-tls"}})), Some(SAME_SECRET)),
            ("PKCS#12", import(json!({"format": "PKCS12", "passwordSecretRef": {"name": "pin"}})), None),
            ("another format", import(json!({"format": "JKS"})), Some("Unsupported value")),
            ("a bad key", import(json!({"passwordSecretRef": {"name": "pin", "key": "a/b"}})), Some("key in body")),
            ("keys", keys(json!({"certificate": "cert.pem", "key": "key.pem", "ca": "ca.pem"})), None),
            ("a PKCS#12 key", keys(json!({"pkcs12": "mail.pfx"})), None),
            ("no certificate", keys(json!({"key": "key.pem"})), Some("exactly one of certificate and pkcs12")),
            ("a key twice", keys(json!({"pkcs12": "mail.pfx", "key": "key.pem"})), Some("key goes with certificate")),
            ("findings", import(json!({"allow": ["NameNotCovered"]})), None),
            ("no word", import(json!({"allow": ["not covered"]})), Some("spec.import.allow[0] in body")),
            ("a subject", json!({"subject": {"organization": "Example"}}), Some(TAKEN_AS_IT_IS)),
            ("a duration", json!({"duration": "2160h"}), Some(TAKEN_AS_IT_IS)),
            ("a stand-in", json!({"issueTemporary": true}), Some(TAKEN_AS_IT_IS)),
            ("a CN", json!({"dnsNames": ["a.example.com"], "commonName": "a.example.com"}), Some(TAKEN_AS_IT_IS)),
        ],
    );
    let made = Kube::new(cluster()).create_dry(&object("MailCertificate", "good", &good)).unwrap();
    let filled = json!({"secretRef": {"name": "from-the-ca"}, "format": "Auto", "allowUntrusted": false,
        "fetchMissingIssuers": false});
    assert_eq!(made["spec"]["import"], filled);
}

#[test]
fn defaults_are_filled_in() {
    let made = Kube::new(cluster()).create_dry(&object("MailCertificate", "good", &good())).unwrap();
    let filled = json!({
        "issuerRef": {"name": "ca"}, "secretName": "mail-tls", "dnsNames": ["mail.example.com"],
        "usages": ["serverAuth"],
        "privateKey": {"algorithm": "ECDSA", "encoding": "PKCS8", "rotation": {"policy": "Always", "prepareNext": false}},
        "renewal": {"ari": true}, "issueTemporary": false, "history": {"revisions": 3}, "deletionPolicy": "Retain",
        "activation": {"mode": "Automatic", "rollbackOnFailure": true},
    });
    assert_eq!(made["spec"], filled);
}

#[test]
fn the_secret_cannot_change_while_it_is_active() {
    let kube = Kube::new(cluster());
    kube.create(&object("MailCertificate", "active", &good())).unwrap();
    let at = Path::certificate("default", "active");
    kube.patch(&at, &json!({"spec": {"secretName": "second"}})).expect("nothing is active yet");
    let active = json!({"revision": 1, "serial": "01", "fingerprintSHA256": "f", "spkiSHA256": "s",
        "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2026-04-01T00:00:00Z", "issuer": "CN=ca",
        "dnsNames": ["mail.example.com"], "issuerRef": {"name": "ca"}, "key": "ECDSA 256"});
    kube.patch_status(&at, &json!({"status": {"active": active}})).unwrap();
    let refused = kube.patch(&at, &json!({"spec": {"secretName": "third"}})).unwrap_err();
    let words = "secretName cannot change while a certificate is active in it: pods mount that Secret. Make a second \
                 MailCertificate with the new secretName, move the pods, then delete this one";
    assert!(refused.contains(words), "{refused}");
    kube.patch(&at, &json!({"spec": {"dnsNames": ["imap.example.com"]}})).expect("the rest may change");
    kube.patch_status(&at, &json!({"status": {"renewalTime": "2026-03-01T00:00:00Z"}})).expect("and so may the status");
    kube.delete(&at);
}
