//! Imports of what the tests make themselves; what others made is in `tests/import`.

mod allowed;
mod judging;
mod messages;
mod mistakes;
mod pkcs12;
mod reading;

use rcgen::CertificateParams;

use super::*;
use crate::pki::tests::{at, below, ca_params, key, root};

/// A root, an intermediate and a leaf for `mail.example.com`, valid at [`crate::pki::tests::now`].
pub(super) struct Family {
    pub root: Certificate,
    pub middle: Certificate,
    pub middle_key: PrivateKey,
    pub leaf: Certificate,
    pub leaf_key: PrivateKey,
}

pub(super) fn family() -> Family {
    family_of(ca_params("Middle"), leaf_params(&["mail.example.com"]))
}

pub(super) fn family_of(middle: CertificateParams, leaf: CertificateParams) -> Family {
    let (root_key, middle_key, leaf_key) = (key(), key(), key());
    let root = root(&ca_params("Root"), &root_key);
    let middle = below(&middle, &middle_key, &root, &root_key);
    let leaf = below(&leaf, &leaf_key, &middle, &middle_key);
    Family { root, middle, middle_key, leaf, leaf_key }
}

/// A server's certificate of the year 2030.
pub(super) fn leaf_params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = names.iter().map(|n| rcgen::SanType::DnsName((*n).try_into().unwrap())).collect();
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = ca_params("").not_before;
    params.not_after = time::OffsetDateTime::from_unix_timestamp(at("2030-12-01T00:00:00Z").as_second()).unwrap();
    params
}

/// Reads `inputs` with the password.
pub(super) fn import(inputs: &[(&str, &[u8])], password: Option<&str>) -> (Imported, Vec<Finding>) {
    let inputs: Vec<Input<'_>> = inputs.iter().map(|(name, bytes)| Input { name, bytes }).collect();
    read(&Request { password: password.map(str::as_bytes), ..Request::new(&inputs) })
}

pub(super) fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|f| f.code.word()).collect()
}

/// The labels of a chain, the leaf first.
pub(super) fn labels(chain: &Chain) -> Vec<String> {
    chain.iter().map(Certificate::label).collect()
}

/// Runs `openssl` with these arguments in a folder. It must succeed.
fn openssl(folder: &std::path::Path, arguments: &str) {
    let (well, said) = crate::pki::tests::openssl(folder, &arguments.split(' ').collect::<Vec<_>>());
    assert!(well, "{said}");
}
