//! Keys, chains and errors that the tests of this module share.

mod ari;
mod bundle;
mod cert;
mod jwk;
mod key;
mod outputs;
mod sign;
mod trust;
mod validate;

use k8s_openapi::jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose};

use super::*;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn now() -> Timestamp {
    at("2030-06-15T12:00:00Z")
}

pub(super) fn key() -> PrivateKey {
    PrivateKey::generate(&KeySpec::P256).unwrap()
}

fn time(t: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(t.as_second()).unwrap()
}

/// A CA of the years 2030 to 2031, to be changed by a test.
pub(super) fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = time(at("2030-01-01T00:00:00Z"));
    params.not_after = time(at("2031-01-01T00:00:00Z"));
    params
}

/// A root with `key`.
pub(super) fn root(params: &CertificateParams, key: &PrivateKey) -> Certificate {
    Certificate::parse_der(params.self_signed(key.pair()).unwrap().der()).unwrap()
}

/// A certificate for `key`, signed by `issuer` with its key.
pub(super) fn below(
    params: &CertificateParams,
    key: &PrivateKey,
    issuer: &Certificate,
    issuer_key: &PrivateKey,
) -> Certificate {
    let issuer = Issuer::from_ca_cert_der(issuer.der(), issuer_key.pair()).unwrap();
    let mut params = params.clone();
    params.use_authority_key_identifier_extension = true;
    Certificate::parse_der(params.signed_by(key.pair(), &issuer).unwrap().der()).unwrap()
}

/// A loaded CA out of certificates (the CA first) and its key.
pub(super) fn load(certs: &[&Certificate], key: &PrivateKey, now: Timestamp) -> Result<CaKeyPair, CaError> {
    let pem: String = certs.iter().map(|c| c.to_pem()).collect();
    CaKeyPair::from_pem(pem.as_bytes(), key.to_pkcs8_pem().as_bytes(), None, now)
}

/// A root CA with a key on P-384.
pub(super) fn simple_ca() -> CaKeyPair {
    let key = PrivateKey::generate(&KeySpec::ecdsa(384)).unwrap();
    load(&[&root(&ca_params("Mail CA"), &key)], &key, now()).unwrap()
}

/// A leaf for `names` with 30 days from [`now`].
pub(super) fn leaf_spec(names: &[&str]) -> LeafSpec {
    LeafSpec {
        subject: SubjectSpec { dns_names: names.iter().map(|n| (*n).to_owned()).collect(), ..Default::default() },
        usages: vec![Usage::ServerAuth],
        not_before: now(),
        not_after: at("2030-07-15T12:00:00Z"),
        serial: None,
    }
}

pub(super) fn expected(names: &[&str]) -> Expected {
    Expected {
        dns_names: names.iter().map(|n| (*n).to_owned()).collect(),
        usages: vec![Usage::ServerAuth],
        ..Default::default()
    }
}

/// Whether a test must be left out because there is no `openssl` command; never with `CI=true`.
pub(super) fn without_openssl() -> bool {
    let found = std::process::Command::new("openssl").arg("version").output().is_ok();
    if !found {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "the tests of pki need the openssl command in the PATH");
        eprintln!("left out: there is no openssl command in the PATH");
    }
    !found
}

/// What the `openssl` command answers to `arguments` in `dir`: its status, and both outputs.
pub(super) fn openssl(dir: &std::path::Path, arguments: &[&str]) -> (bool, String) {
    let out = std::process::Command::new("openssl").args(arguments).current_dir(dir).output();
    let out = out.expect("the openssl command starts");
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}
