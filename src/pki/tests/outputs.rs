use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use k8s_openapi::ByteString;

use super::super::outputs::{all_names, listed};
use super::*;
use crate::api::keys;

struct Sample {
    key: PrivateKey,
    chain: Chain,
    ca: Vec<Certificate>,
}

impl Sample {
    fn new(spec: &KeySpec) -> Self {
        let (root_key, ca_key, key) = (key(), key(), PrivateKey::generate(spec).unwrap());
        let top = root(&ca_params("Root"), &root_key);
        let issuing = below(&ca_params("Issuing"), &ca_key, &top, &root_key);
        let ca = load(&[&issuing, &top], &ca_key, now()).unwrap();
        let chain = ca.sign(key.spki_der(), &leaf_spec(&["mail.example.com"])).unwrap();
        Self { key, chain, ca: vec![top] }
    }

    fn pair(&self) -> Pair<'_> {
        Pair { key: &self.key, chain: &self.chain, ca: &self.ca }
    }
}

/// A Secret, as writes leave it.
#[derive(Default)]
struct Stored {
    data: BTreeMap<String, ByteString>,
    annotations: BTreeMap<String, String>,
}

impl Stored {
    fn write(&mut self, outputs: &Outputs, pair: &Pair<'_>) {
        let written = outputs.write(pair, &listed(&self.annotations)).unwrap();
        for (name, value) in written.data {
            match value {
                Some(value) => drop(self.data.insert(name, value)),
                None => drop(self.data.remove(&name)),
            }
        }
        for (name, value) in written.annotations {
            match value {
                Some(value) => drop(self.annotations.insert(name, value)),
                None => drop(self.annotations.remove(&name)),
            }
        }
    }

    fn is(&self, outputs: &Outputs, pair: &Pair<'_>) -> bool {
        outputs.is_current(pair, &self.data, &self.annotations)
    }

    fn names(&self) -> Vec<&str> {
        self.data.keys().map(String::as_str).collect()
    }
}

fn password(text: &str) -> Password {
    Password::new(text.as_bytes()).unwrap()
}

fn stores(profile: Profile, text: &str) -> Outputs {
    let pkcs12 = Pkcs12 { profile, truststore: true, password: Some(password(text)) };
    Outputs { der: true, bluemind: true, pkcs12: Some(pkcs12), ..Outputs::default() }
}

#[test]
fn what_is_asked_for_is_written_once_and_what_no_longer_is_goes() {
    let sample = Sample::new(&KeySpec::P256);
    let pair = sample.pair();
    let all = stores(Profile::Modern2023, "changeit");
    let mut secret = Stored::default();
    secret.data.insert("dh.pem".to_owned(), ByteString(b"mine".to_vec()));
    secret.write(&all, &pair);
    let plain = ["ca.crt", "dh.pem", "tls-combined.pem", "tls.crt", "tls.key"];
    let more = ["bluemind.pem", "key.der", "keystore.p12", "tls.der", "truststore.p12"];
    let mut both = [plain, more].concat();
    both.sort_unstable();
    assert_eq!(secret.names(), both);
    assert_eq!(secret.annotations[keys::OUTPUTS], more.join(","));
    assert!(secret.is(&all, &pair), "nothing is to be written again");

    // Each input and each file counts.
    assert!(!secret.is(&stores(Profile::Modern2023, "changeit2"), &pair));
    assert!(!secret.is(&stores(Profile::LegacyDes, "changeit"), &pair));
    assert!(!secret.is(&all, &Sample::new(&KeySpec::P256).pair()));
    for name in more {
        let kept = secret.data.insert(name.to_owned(), ByteString(b"damaged".to_vec())).unwrap();
        assert!(!secret.is(&all, &pair), "{name}");
        secret.data.insert(name.to_owned(), kept);
    }
    let digest = secret.annotations.insert(keys::OUTPUTS_DIGEST.to_owned(), "0".repeat(64)).unwrap();
    assert_eq!(digest.len(), 64);
    assert!(!secret.is(&all, &pair));
    secret.annotations.insert(keys::OUTPUTS_DIGEST.to_owned(), digest);
    assert!(secret.is(&all, &pair));

    let der = Outputs { der: true, ..Outputs::default() };
    assert!(!secret.is(&der, &pair), "there is too much");
    secret.write(&der, &pair);
    assert_eq!(secret.names(), ["ca.crt", "dh.pem", "key.der", "tls-combined.pem", "tls.crt", "tls.der", "tls.key"]);
    assert!(secret.is(&der, &pair));
    let none = Outputs::default();
    secret.write(&none, &pair);
    assert_eq!(secret.names(), plain);
    assert!(secret.annotations.is_empty(), "{:?}", secret.annotations);

    // A key of that name that somebody else put there is not ours to remove.
    secret.data.insert("keystore.p12".to_owned(), ByteString(b"mine".to_vec()));
    assert!(secret.is(&none, &pair));
    secret.write(&none, &pair);
    assert_eq!(secret.data["keystore.p12"].0, b"mine");
}

#[test]
fn without_the_password_stores_stay_as_they_are() {
    let (old, new) = (Sample::new(&KeySpec::P256), Sample::new(&KeySpec::P256));
    let with = stores(Profile::Modern2023, "changeit");
    let mut without = with.clone();
    if let Some(pkcs12) = &mut without.pkcs12 {
        pkcs12.password = None;
    }
    let mut secret = Stored::default();
    secret.write(&without, &old.pair());
    assert!(!secret.data.contains_key("keystore.p12") && secret.is(&without, &old.pair()));
    secret.write(&with, &old.pair());
    let store = secret.data["keystore.p12"].clone();
    secret.write(&without, &new.pair());
    assert_eq!(secret.data["keystore.p12"], store);
    assert!(secret.is(&without, &new.pair()));
    assert!(!secret.is(&with, &new.pair()), "once it is there again, they are written");
    secret.write(&with, &new.pair());
    assert_ne!(secret.data["keystore.p12"], store);
}

#[test]
fn the_list_names_only_what_mailcert_writes() {
    let list = |text: &str| listed(&BTreeMap::from([(keys::OUTPUTS.to_owned(), text.to_owned())]));
    assert_eq!(list("tls.crt,tls.key,dh.pem,keystore.p12"), BTreeSet::from(["keystore.p12".to_owned()]));
    assert_eq!(list(""), BTreeSet::new());
    assert_eq!(all_names().len(), 5);
}

#[test]
fn former_pairs_stay_with_it() {
    let (now, then) = (Sample::new(&KeySpec::P256), Sample::new(&KeySpec::P256));
    let previous = Previous { number: 3, key: then.key.into(), chain: then.chain.into() };
    let with = Outputs { previous: vec![previous], ..stores(Profile::Modern2023, "changeit") };
    let mut secret = Stored::default();
    secret.write(&with, &now.pair());
    for name in ["previous-3.key", "previous-3.crt", "previous-3.p12"] {
        assert!(secret.data.contains_key(name), "{name}");
    }
    assert!(secret.is(&with, &now.pair()));
    let without = stores(Profile::Modern2023, "changeit");
    assert!(!secret.is(&without, &now.pair()));
    secret.write(&without, &now.pair());
    assert!(!secret.names().iter().any(|n| n.starts_with("previous")));
}

#[test]
fn passwords_are_not_shown() {
    let secret = password("correct horse ~");
    assert_eq!(format!("{secret:?}"), "Password(..)");
    let said = |bytes: &[u8]| Password::new(bytes).unwrap_err().to_string();
    assert_eq!(said(&[b'x'; 257]), "it is longer than 256 characters");
    assert_eq!(said(b"a\tb"), said("é".as_bytes()));
}

/// Every form, with every kind of key, as OpenSSL reads it.
#[test]
fn openssl_reads_every_output() {
    if without_openssl() {
        return;
    }
    for spec in [KeySpec::rsa(2048), KeySpec::P256, KeySpec::ecdsa(384), KeySpec::ecdsa(521), KeySpec::ED25519] {
        let sample = Sample::new(&spec);
        let dir = tempfile::tempdir().unwrap();
        let profile = if spec == KeySpec::P256 { Profile::LegacyDes } else { Profile::Modern2023 };
        let outputs = Outputs { encoding: Encoding::Traditional, ..stores(profile, "pass word ~") };
        for (name, value) in outputs.write(&sample.pair(), &BTreeSet::new()).unwrap().data {
            fs::write(dir.path().join(name), value.unwrap().0).unwrap();
        }
        let ask = |arguments: &[&str]| {
            let (ok, text) = openssl(dir.path(), arguments);
            assert!(ok, "{spec}: openssl {}:\n{text}", arguments.join(" "));
            text
        };
        let public = ask(&["x509", "-in", "tls.crt", "-noout", "-pubkey"]);
        for file in ["tls.key", "tls-combined.pem", "bluemind.pem"] {
            assert_eq!(ask(&["pkey", "-in", file, "-pubout"]), public, "{spec} {file}");
        }
        assert_eq!(ask(&["pkey", "-inform", "DER", "-in", "key.der", "-pubout"]), public);
        ask(&["x509", "-inform", "DER", "-in", "tls.der", "-noout"]);
        let head = fs::read_to_string(dir.path().join("tls.key")).unwrap();
        let label = match spec.algorithm {
            KeyAlgorithm::Rsa => "-----BEGIN RSA PRIVATE KEY-----",
            KeyAlgorithm::Ecdsa => "-----BEGIN EC PRIVATE KEY-----",
            KeyAlgorithm::Ed25519 => "-----BEGIN PRIVATE KEY-----",
        };
        assert!(head.starts_with(label), "{spec}: {}", &head[..32]);
        let blocks = fs::read_to_string(dir.path().join("bluemind.pem")).unwrap().matches("-----BEGIN").count();
        assert_eq!(blocks, 4, "leaf, key, issuing CA, root");

        let wrong = openssl(dir.path(), &["pkcs12", "-in", "keystore.p12", "-passin", "pass:wrong", "-nodes"]);
        assert!(!wrong.0 && wrong.1.contains("invalid password"), "{}", wrong.1);
        let text = ask(&["pkcs12", "-in", "keystore.p12", "-passin", "pass:pass word ~", "-nodes", "-info"]);
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2, "{text}");
        assert_eq!(text.matches("BEGIN PRIVATE KEY").count(), 1, "{text}");
        let (mac, encryption) = match profile {
            Profile::LegacyDes => ("MAC: sha1, Iteration 10000", "pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 10000"),
            Profile::Modern2023 => ("MAC: sha256, Iteration 10000", "AES-256-CBC, Iteration 10000, PRF hmacWithSHA256"),
        };
        assert!(text.contains(mac) && text.contains(encryption), "{text}");
        let text = ask(&["pkcs12", "-in", "truststore.p12", "-passin", "pass:pass word ~", "-nokeys"]);
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 1, "{text}");
    }
}
