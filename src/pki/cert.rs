//! Certificates and chains: the facts, read from the raw DER.

use std::net::IpAddr;

use k8s_openapi::jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::{
    asn1_rs::ToDer,
    extensions::{GeneralName, ParsedExtension},
    prelude::X509Certificate,
    x509::{AlgorithmIdentifier, X509Name},
};

use super::{
    chain::PemLimits,
    extensions,
    fingerprint::{Fingerprint, hex},
    key::KeySpec,
    names::printable,
    pem_blocks::{self, PemError},
    subject::Usage,
};

/// Why a certificate or a chain cannot be read. Certificates are counted from 1, the leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// The text is larger than we read.
    #[error("the certificates' text has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// What was given.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// One certificate is larger than we read.
    #[error("certificate {number} has {bytes} bytes of PEM; at most {limit} are read")]
    CertificateTooLarge {
        /// Which certificate.
        number: usize,
        /// Its PEM bytes.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// More certificates than a chain has.
    #[error("there are {count} certificates; at most {limit} are read")]
    TooMany {
        /// What was given.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// No CERTIFICATE block.
    #[error("there is no PEM block with a certificate; it must start with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// An empty list of certificates.
    #[error("there is no certificate at all")]
    Empty,
    /// The PEM text is damaged.
    #[error("the certificates cannot be read: {0}")]
    Pem(#[from] PemError),
    /// The content of a block is no X.509 certificate.
    #[error("certificate {number} is damaged: {reason}")]
    Der {
        /// Which certificate.
        number: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The key usage bits that matter to mail and to CAs (RFC 5280, section 4.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsageBits {
    /// `digitalSignature`.
    pub digital_signature: bool,
    /// `keyEncipherment`.
    pub key_encipherment: bool,
    /// `keyCertSign`.
    pub key_cert_sign: bool,
    /// `cRLSign`.
    pub crl_sign: bool,
}

/// The extended key usages (RFC 5280, section 4.2.1.12).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtendedUsages {
    /// Those that we know.
    pub usages: Vec<Usage>,
    /// `anyExtendedKeyUsage`.
    pub any: bool,
    /// How many others there are.
    pub others: usize,
}

/// The facts of one certificate, with its DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    subject_der: Vec<u8>,
    issuer_der: Vec<u8>,
    spki_der: Vec<u8>,
    /// The serial number in lower-case hexadecimal digits, whole bytes.
    pub serial: String,
    /// The subject for display, at most 256 characters.
    pub subject: String,
    /// The issuer for display, at most 256 characters.
    pub issuer: String,
    /// Every common name of the subject; one that is no text stands as `#` and its hexadecimal bytes.
    pub common_names: Vec<String>,
    /// Every common name of the issuer, in the same way.
    pub issuer_common_names: Vec<String>,
    /// Every dNSName as it stands.
    pub dns_names: Vec<String>,
    /// Every iPAddress.
    pub ip_addresses: Vec<IpAddr>,
    /// Every rfc822Name as it stands.
    pub emails: Vec<String>,
    /// The kinds of the other names (URI, otherName, malformed ones), one entry per name.
    pub other_names: Vec<&'static str>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity, inclusive.
    pub not_after: Timestamp,
    /// `cA` of the basic constraints.
    pub is_ca: bool,
    /// `pathLenConstraint`, when there is one.
    pub path_len: Option<u32>,
    /// The key usage, when the extension is there; without it every use is allowed.
    pub key_usage: Option<KeyUsageBits>,
    /// The extended key usages, when the extension is there; without it every purpose is allowed.
    pub extended_usages: Option<ExtendedUsages>,
    /// The subject key identifier in hexadecimal digits.
    pub ski: Option<String>,
    /// The authority key identifier in hexadecimal digits.
    pub aki: Option<String>,
    /// Where it says that its issuer's certificate can be had (`caIssuers`), at most four addresses.
    pub ca_issuers: Vec<String>,
    /// The object identifiers of its critical extensions that clients do not process, at most eight.
    pub unknown_critical: Vec<String>,
    /// Subject and issuer are the same bytes.
    pub self_issued: bool,
    /// The public key's kind; `None` when it is one that we do not support.
    pub public_key: Option<KeySpec>,
    /// Whether the signature algorithm is one that mail clients accept: SHA-2 with RSA or ECDSA, or Ed25519.
    pub signature_accepted: bool,
    /// SHA-256 over the DER certificate.
    pub fingerprint: Fingerprint,
    /// SHA-256 over the DER SubjectPublicKeyInfo.
    pub spki_sha256: Fingerprint,
}

/// Why one certificate is not signed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The issuer's name is another one.
    #[error("its issuer name is not the next one's subject")]
    Name,
    /// The names agree and the signature does not.
    #[error("its signature was not made with the next one's key")]
    Signature,
    /// The signature algorithm is outdated, unknown, or none that the issuer's kind of key makes.
    #[error("its signature algorithm is outdated, unknown, or not one for the next one's key")]
    Algorithm,
    /// The issuer is no CA, or its key usage forbids it to sign certificates.
    #[error("the next one is not a CA, or must not sign certificates")]
    NotCa,
}

impl Certificate {
    /// Reads one DER certificate of at most 36 KiB.
    ///
    /// # Errors
    /// [`CertError::Der`] or [`CertError::TooLarge`] for anything that is not one whole X.509 version 3 certificate.
    pub fn parse_der(der: &[u8]) -> Result<Self, CertError> {
        let limit = PemLimits::CHAIN.certificate_bytes;
        if der.len() > limit {
            return Err(CertError::CertificateTooLarge { number: 1, bytes: der.len(), limit });
        }
        Self::read(der).map_err(|reason| CertError::Der { number: 1, reason })
    }

    pub(super) fn read(der: &[u8]) -> Result<Self, &'static str> {
        let x = parse(der).ok_or("it is not an X.509 certificate")?;
        let spki = x.public_key();
        let names = AltNames::read(&x)?;
        let basic = x.basic_constraints().map_err(|_| "its basic constraints are malformed or stand twice")?;
        let usage = x.key_usage().map_err(|_| "its key usage is malformed or stands twice")?;
        let extended = x.extended_key_usage().map_err(|_| "its extended key usage is malformed or stands twice")?;
        let (ski, aki) = key_ids(&x);
        let time = |t: i64| Timestamp::from_second(t).map_err(|_| "its validity is outside the years that we know");
        Ok(Self {
            serial: hex(x.raw_serial()),
            subject: display(x.subject()),
            issuer: display(x.issuer()),
            common_names: x.subject().iter_common_name().map(text_of).collect(),
            issuer_common_names: x.issuer().iter_common_name().map(text_of).collect(),
            dns_names: names.dns,
            ip_addresses: names.ips,
            emails: names.emails,
            other_names: names.others,
            not_before: time(x.validity().not_before.timestamp())?,
            not_after: time(x.validity().not_after.timestamp())?,
            is_ca: basic.as_ref().is_some_and(|b| b.value.ca),
            path_len: basic.and_then(|b| b.value.path_len_constraint),
            key_usage: usage.map(|u| KeyUsageBits {
                digital_signature: u.value.digital_signature(),
                key_encipherment: u.value.key_encipherment(),
                key_cert_sign: u.value.key_cert_sign(),
                crl_sign: u.value.crl_sign(),
            }),
            extended_usages: extended.map(|e| extended_usages(e.value)),
            ski,
            aki,
            ca_issuers: extensions::ca_issuers(&x),
            unknown_critical: extensions::unknown_critical(&x),
            self_issued: x.subject().as_raw() == x.issuer().as_raw(),
            public_key: KeySpec::of_spki(spki),
            signature_accepted: algorithms(&x.signature_algorithm).next().is_some(),
            fingerprint: Fingerprint::of(der),
            spki_sha256: Fingerprint::of(spki.raw),
            subject_der: x.subject().as_raw().to_vec(),
            issuer_der: x.issuer().as_raw().to_vec(),
            spki_der: spki.raw.to_vec(),
            der: CertificateDer::from(der.to_vec()),
        })
    }

    /// The certificate's DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The public key as DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The subject's DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The issuer's DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
    }

    /// How messages call the certificate: its subject, or its first name when that is empty, as in new CA profiles.
    pub fn label(&self) -> String {
        let name = || self.dns_names.iter().chain(&self.emails).next();
        match self.subject.is_empty() {
            true => name().map_or_else(|| format!("with serial {}", self.serial), |n| printable(n)),
            false => self.subject.clone(),
        }
    }

    /// The certificate as one PEM block with a final newline.
    pub fn to_pem(&self) -> String {
        pem_blocks::encode("CERTIFICATE", &self.der).to_string()
    }

    /// Whether the certificate is signed with its own key (a root, or a self-signed leaf).
    pub fn is_self_signed(&self) -> bool {
        self.self_issued && self.verify_signature(self).is_ok()
    }

    /// Whether a path ends with it: it was issued by itself, for its own key. One that a CA issued to itself for a new
    /// key, signed with the old one, is in the middle of a path.
    pub fn is_root(&self) -> bool {
        let own_key = match (&self.ski, &self.aki) {
            (Some(own), Some(issuer)) => own == issuer,
            // RFC 5280 (section 4.2.1.1) lets only roots leave it out.
            _ => true,
        };
        self.self_issued && own_key
    }

    /// Checks that `issuer` signed this certificate: names byte by byte, CA flag, key usage, signature.
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn signed_by(&self, issuer: &Certificate) -> Result<(), LinkError> {
        if self.issuer_der != issuer.subject_der {
            return Err(LinkError::Name);
        }
        // RFC 5280, section 4.2.1.3: a key usage without keyCertSign forbids it. webpki does not look at that.
        if !issuer.is_ca || issuer.key_usage.is_some_and(|usage| !usage.key_cert_sign) {
            return Err(LinkError::NotCa);
        }
        self.verify_signature(issuer)
    }

    /// Whether a signature of `issuer` on this certificate is of a kind that is verified: it is not outdated, and the key
    /// is strong enough. Weakness is a defect of its own.
    pub(super) fn is_verifiable_by(&self, issuer: &Certificate) -> bool {
        self.signature_accepted && issuer.public_key.is_some_and(|key| key.is_strong())
    }

    /// Checks the signature alone, with webpki's algorithms: no SHA-1, RSA from 2048 to 8192 bits.
    fn verify_signature(&self, issuer: &Certificate) -> Result<(), LinkError> {
        let (Some(x), Some(by)) = (parse(&self.der), parse(&issuer.der)) else { return Err(LinkError::Signature) };
        let key = by.public_key();
        let key_algorithm = identifier(&key.algorithm);
        let mut candidates =
            algorithms(&x.signature_algorithm).filter(|a| a.public_key_alg_id().as_ref() == key_algorithm).peekable();
        if candidates.peek().is_none() {
            return Err(LinkError::Algorithm);
        }
        let (signed, signature) = (x.tbs_certificate.as_ref(), &x.signature_value.data);
        let made = candidates.any(|a| a.verify_signature(&key.subject_public_key.data, signed, signature).is_ok());
        if made { Ok(()) } else { Err(LinkError::Signature) }
    }
}

/// One whole certificate with nothing behind it.
fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    x509_parser::parse_x509_certificate(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, x)| x)
}

/// The content of a DER AlgorithmIdentifier, the form in which webpki names algorithms.
fn identifier(algorithm: &AlgorithmIdentifier<'_>) -> Vec<u8> {
    let mut der = algorithm.algorithm.to_der_vec_raw().unwrap_or_default();
    if let Some(parameters) = &algorithm.parameters {
        der.extend(parameters.to_der_vec_raw().unwrap_or_default());
    }
    der
}

/// The accepted algorithms with this signature identifier, one for each kind of key.
fn algorithms(
    signature: &AlgorithmIdentifier<'_>,
) -> impl Iterator<Item = &'static dyn rustls_pki_types::SignatureVerificationAlgorithm> {
    let wanted = identifier(signature);
    webpki::ALL_VERIFICATION_ALGS.iter().copied().filter(move |a| a.signature_alg_id().as_ref() == wanted)
}

fn display(name: &X509Name<'_>) -> String {
    printable(&name.to_string())
}

fn text_of(attribute: &x509_parser::x509::AttributeTypeAndValue<'_>) -> String {
    match attribute.as_str() {
        Ok(text) => text.to_owned(),
        Err(_) => format!("#{}", hex(&attribute.attr_value().data[..attribute.attr_value().data.len().min(64)])),
    }
}

fn extended_usages(found: &x509_parser::extensions::ExtendedKeyUsage<'_>) -> ExtendedUsages {
    let known = [
        (found.server_auth, Usage::ServerAuth),
        (found.client_auth, Usage::ClientAuth),
        (found.email_protection, Usage::EmailProtection),
    ];
    let others = [found.code_signing, found.time_stamping, found.ocsp_signing].into_iter().filter(|b| *b).count();
    ExtendedUsages {
        usages: known.into_iter().filter(|(set, _)| *set).map(|(_, usage)| usage).collect(),
        any: found.any,
        others: others + found.other.len(),
    }
}

fn key_ids(x: &X509Certificate<'_>) -> (Option<String>, Option<String>) {
    let (mut ski, mut aki) = (None, None);
    for extension in x.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => ski = Some(hex(id.0)),
            ParsedExtension::AuthorityKeyIdentifier(id) => aki = id.key_identifier.as_ref().map(|k| hex(k.0)),
            _ => {}
        }
    }
    (ski, aki)
}

#[derive(Default)]
struct AltNames {
    dns: Vec<String>,
    ips: Vec<IpAddr>,
    emails: Vec<String>,
    others: Vec<&'static str>,
}

impl AltNames {
    fn read(x: &X509Certificate<'_>) -> Result<Self, &'static str> {
        let mut names = Self::default();
        let found = x.subject_alternative_name().map_err(|_| "its alternative names are malformed or stand twice")?;
        for name in found.iter().flat_map(|f| &f.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::RFC822Name(address) => names.emails.push((*address).to_owned()),
                GeneralName::IPAddress(bytes) => match ip_address(bytes) {
                    Some(address) => names.ips.push(address),
                    None => names.others.push("malformed iPAddress"),
                },
                GeneralName::URI(_) => names.others.push("URI"),
                GeneralName::OtherName(..) => names.others.push("otherName"),
                GeneralName::DirectoryName(_) => names.others.push("directoryName"),
                GeneralName::RegisteredID(_) => names.others.push("registeredID"),
                GeneralName::X400Address(_) => names.others.push("x400Address"),
                GeneralName::EDIPartyName(_) => names.others.push("ediPartyName"),
                GeneralName::Invalid(..) => names.others.push("malformed name"),
            }
        }
        Ok(names)
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}
