//! Extensions that say more than who a certificate is for.

use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::X509Certificate,
};

/// The most addresses of issuers that are kept, and the longest, in bytes.
const URLS: usize = 4;
const URL_BYTES: usize = 1024;

/// Extensions that webpki and OpenSSL both process when they are critical.
const PROCESSED: &[&str] = &[
    "2.5.29.14", // subjectKeyIdentifier
    "2.5.29.15", // keyUsage
    "2.5.29.17", // subjectAltName
    "2.5.29.19", // basicConstraints
    "2.5.29.30", // nameConstraints
    "2.5.29.31", // cRLDistributionPoints
    "2.5.29.35", // authorityKeyIdentifier
    "2.5.29.37", // extKeyUsage
];

/// `id-ad-caIssuers` (RFC 5280, section 4.2.2.1).
const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";

/// Where the certificate says that its issuer's certificate can be had.
pub(super) fn ca_issuers(x: &X509Certificate<'_>) -> Vec<String> {
    let mut urls = Vec::new();
    for extension in x.extensions() {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else { continue };
        for description in &access.accessdescs {
            let GeneralName::URI(url) = description.access_location else { continue };
            let wanted = description.access_method.to_id_string() == CA_ISSUERS;
            let plain = url.len() <= URL_BYTES && url.bytes().all(|b| b.is_ascii_graphic());
            if wanted && plain && urls.len() < URLS {
                urls.push(url.to_owned());
            }
        }
    }
    urls
}

/// The object identifiers of critical extensions that clients do not process, and therefore refuse.
pub(super) fn unknown_critical(x: &X509Certificate<'_>) -> Vec<String> {
    let critical = x.extensions().iter().filter(|e| e.critical).map(|e| e.oid.to_id_string());
    let mut unknown: Vec<String> = critical.filter(|oid| !PROCESSED.contains(&oid.as_str())).collect();
    unknown.truncate(8);
    unknown
}
