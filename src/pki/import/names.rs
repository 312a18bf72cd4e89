//! Which keys of a Secret hold a certificate, by the names that they have everywhere.

/// Names of files with a leaf, or a leaf and its chain, in the order in which they are looked at.
const CERTIFICATES: &[&str] = &[
    "tls.crt",
    "fullchain.pem",
    "fullchain.cer",
    "cert.pem",
    "certificate.pem",
    "server.crt",
    "server.pem",
    "tls.pem",
];
/// Names of files with a private key.
const KEYS: &[&str] = &["tls.key", "privkey.pem", "key.pem", "private.key", "server.key", "privatekey.pem"];
/// Names of files with issuers, and with roots.
const ISSUERS: &[&str] =
    &["chain.pem", "intermediate.pem", "intermediates.pem", "ca-bundle.crt", "ca.crt", "ca.pem", "cacert.pem"];
/// Names of files with everything.
const COMBINED: &[&str] = &["tls-combined.pem", "bluemind.pem", "combined.pem", "bundle.pem"];
/// How names of PKCS#12 files end.
const PKCS12: &[&str] = &[".p12", ".pfx"];
/// How names of further files end that may hold certificates and keys.
const FURTHER: &[&str] = &[".pem", ".crt", ".cer", ".key"];
/// PKCS#12 files that hold trust anchors only.
const TRUST_STORES: &[&str] = &["truststore.p12", "truststore.pfx"];

/// Whether an input of that name is where roots are kept, not what a server sends.
pub(super) fn is_for_roots(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    ["ca.crt", "ca.pem", "cacert.pem", "ca-bundle.crt"].contains(&file.as_str())
}

/// The keys of a Secret that an import reads when none is named, in the order in which it reads them.
///
/// A certificate and its key in files of their own come first, then files with both, then PKCS#12: what holds the
/// same pair once more, such as a keystore beside `tls.crt` and `tls.key`, needs no password that way. Names are compared
/// without regard to case. Where none of that is whole, every other PEM, certificate or key file by the end of its name is read too. Empty
/// when no name is known.
pub fn conventional<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let names: Vec<&str> = names.into_iter().collect();
    let pick = |known: &[&str]| -> Vec<&'a str> {
        known.iter().filter_map(|k| names.iter().find(|n| n.eq_ignore_ascii_case(k)).copied()).collect()
    };
    let (certificates, keys, issuers) = (pick(CERTIFICATES), pick(KEYS), pick(ISSUERS));
    if !certificates.is_empty() && !keys.is_empty() {
        return [certificates, keys, issuers].concat();
    }
    let combined = pick(COMBINED);
    if !combined.is_empty() {
        return [combined, issuers].concat();
    }
    let lower = |n: &str| n.to_ascii_lowercase();
    let is_store = |n: &&&str| PKCS12.iter().any(|end| lower(n).ends_with(end));
    let mut stores: Vec<&str> = names.iter().filter(is_store).copied().collect();
    stores.retain(|n| !TRUST_STORES.contains(&lower(n).as_str()));
    stores.sort_unstable();
    if !stores.is_empty() {
        return [stores, issuers].concat();
    }
    let is_further = |n: &&&str| FURTHER.iter().any(|end| lower(n).ends_with(end));
    let mut further: Vec<&str> = names.iter().filter(is_further).copied().collect();
    further.sort_unstable();
    let mut all = [certificates, keys, issuers].concat();
    further.retain(|n| !all.contains(n));
    all.extend(further);
    all
}
