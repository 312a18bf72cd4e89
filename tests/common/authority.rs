//! CA certificates with chosen dates, and a look at what was issued, by other libraries than the product's own code.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use time::{Duration, OffsetDateTime};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

/// A certificate that signs itself, and its key, both PEM.
pub struct Authority {
    pub cert_pem: String,
    pub key_pem: String,
}

impl Authority {
    /// A CA that was made an hour ago and ends in a year.
    pub fn new(common_name: &str) -> Self {
        Self::with(common_name, true, Duration::hours(-1), Duration::days(365))
    }

    /// One with these dates from now, a CA or not.
    pub fn with(common_name: &str, is_ca: bool, from: Duration, to: Duration) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now + from, now + to);
        let key = KeyPair::generate().unwrap();
        Self { cert_pem: params.self_signed(&key).unwrap().pem(), key_pem: key.serialize_pem() }
    }
}

/// What a leaf says.
#[derive(Debug)]
pub struct Leaf {
    /// Sorted.
    pub dns_names: Vec<String>,
    pub common_name: Option<String>,
    pub issuer: String,
    pub spki_der: Vec<u8>,
    /// Seconds since the epoch.
    pub not_after: i64,
    pub der: Vec<u8>,
}

/// The first certificate of a PEM text.
pub fn leaf(pem_text: &str) -> Leaf {
    let der = pem::parse_many(pem_text).unwrap().remove(0).into_contents();
    let (_, cert) = x509_parser::certificate::X509Certificate::from_der(&der).unwrap();
    let names = cert.subject_alternative_name().unwrap().map(|san| san.value.general_names.clone()).unwrap_or_default();
    let mut dns_names: Vec<String> = names
        .iter()
        .filter_map(|n| if let GeneralName::DNSName(n) = n { Some((*n).to_owned()) } else { None })
        .collect();
    dns_names.sort();
    Leaf {
        dns_names,
        common_name: cert.subject().iter_common_name().next().map(|cn| cn.as_str().unwrap().to_owned()),
        issuer: cert.issuer().to_string(),
        spki_der: cert.public_key().raw.to_vec(),
        not_after: cert.validity().not_after.timestamp(),
        der: der.clone(),
    }
}

/// Whether the leaf of `pem_text` is signed by the certificate in `issuer_pem`.
pub fn signed_by(pem_text: &str, issuer_pem: &str) -> bool {
    let (leaf, issuer) = (leaf(pem_text).der, leaf(issuer_pem).der);
    let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&leaf).unwrap();
    let (_, issuer) = x509_parser::certificate::X509Certificate::from_der(&issuer).unwrap();
    leaf.verify_signature(Some(issuer.public_key())).is_ok()
}

/// The SPKI that belongs to a private key, DER.
pub fn spki_of_key(key_pem: &str) -> Vec<u8> {
    KeyPair::from_pem(key_pem).unwrap().subject_public_key_info()
}
