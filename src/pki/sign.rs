//! Signing by ourselves: with a CA key pair, or self-signed.

use aws_lc_rs::rand;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, SerialNumber};
use time::OffsetDateTime;

use super::{
    cert::{CertError, Certificate, LinkError},
    chain::{Chain, PemLimits},
    key::{KeyError, KeySpec, PrivateKey},
    names::printable,
    subject::{SubjectError, SubjectSpec, Usage, library},
};

/// How far a certificate's start lies before the moment of issuing, for clocks that are slow.
pub const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// The leaf to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafSpec {
    /// Subject and names.
    pub subject: SubjectSpec,
    /// The extended key usages; none means no extension.
    pub usages: Vec<Usage>,
    /// The moment of issuing. The certificate starts [`BACKDATE`] before it, but never before its CA.
    pub not_before: Timestamp,
    /// The wanted end; the certificate ends with its CA when that is earlier.
    pub not_after: Timestamp,
    /// The serial number, whose top bit is cleared; `None` takes 126 random bits.
    pub serial: Option<[u8; 16]>,
}

/// Why a certificate cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A name or a subject field that cannot stand in a certificate.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The end is not behind the start.
    #[error("the certificate would end at {not_after}, which is not after its start at {start}")]
    Validity {
        /// The moment of issuing.
        start: Timestamp,
        /// The end, after it was cut to the CA's.
        not_after: Timestamp,
    },
    /// A time outside the years 1950 to 9999.
    #[error("{0} cannot be written into a certificate")]
    Time(Timestamp),
    /// The CA's subject could not be reproduced as issuer, so that verifiers would find no path.
    #[error(
        "the CA's subject \"{0}\" cannot be written as an issuer byte by byte (two fields of one kind, or an unusual text encoding); use a CA whose subject has each field once"
    )]
    IssuerName(String),
    /// The public key is of an unsupported kind.
    #[error("the public key to certify is damaged or of an unsupported kind")]
    PublicKey,
    /// What we signed does not verify.
    #[error("the signed certificate does not verify under the CA: {0}")]
    Link(#[from] LinkError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes for a serial number")]
    Random,
    /// The library failed.
    #[error("the certificate could not be signed: {0}")]
    Library(String),
}

/// Why a Secret is no usable CA key pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// `tls.crt` cannot be read.
    #[error("tls.crt of the CA: {0}")]
    Certificate(CertError),
    /// `tls.key` cannot be read.
    #[error("tls.key of the CA: {0}")]
    Key(KeyError),
    /// `ca.crt` cannot be read.
    #[error("ca.crt of the CA: {0}")]
    Root(CertError),
    /// The certificate is a leaf.
    #[error("the first certificate of tls.crt ({0}) is not a CA: its basic constraints do not say CA:TRUE")]
    NotCa(String),
    /// It must not sign certificates.
    #[error("the CA certificate ({0}) must not sign certificates: its key usage lacks keyCertSign")]
    NoKeyCertSign(String),
    /// Another key.
    #[error("tls.key does not belong to the first certificate of tls.crt ({0})")]
    KeyMismatch(String),
    /// Over.
    #[error("the CA certificate ({subject}) expired at {not_after}; renew the CA")]
    Expired {
        /// Whose.
        subject: String,
        /// When.
        not_after: Timestamp,
    },
    /// Not begun.
    #[error("the CA certificate ({subject}) is not valid before {not_before}; check its dates and the clock")]
    NotYetValid {
        /// Whose.
        subject: String,
        /// When.
        not_before: Timestamp,
    },
    /// The certificates behind the CA do not belong to it.
    #[error("certificate {number} of tls.crt of the CA is not signed by the one behind it: {reason}")]
    ChainBroken {
        /// Which, from 1.
        number: usize,
        /// Why.
        reason: LinkError,
    },
}

/// A CA certificate with its key and the certificates above it.
#[derive(Debug)]
pub struct CaKeyPair {
    /// The CA certificate first, then those above it.
    chain: Chain,
    key: PrivateKey,
    roots: Vec<Certificate>,
    /// What stands behind a leaf: the chain without its self-signed root.
    sent: Vec<Certificate>,
}

impl CaKeyPair {
    /// Reads a CA from a Secret's `tls.crt` (the CA, then the certificates above it), `tls.key` and, when there is one, `ca.crt`.
    ///
    /// # Errors
    /// Says which of them is wrong, and how: not readable, not a CA, another key, expired at `now`, a broken chain.
    pub fn from_pem(cert_pem: &[u8], key_pem: &[u8], ca_pem: Option<&[u8]>, now: Timestamp) -> Result<Self, CaError> {
        let chain = Chain::from_pem(cert_pem, &PemLimits::CHAIN).map_err(CaError::Certificate)?;
        let key = PrivateKey::from_pem(key_pem).map_err(CaError::Key)?;
        check_ca(chain.leaf(), &key)?;
        check_ca_chain(&chain, now)?;
        let roots = match ca_pem.filter(|pem| !pem.trim_ascii().is_empty()) {
            Some(pem) => Chain::from_pem(pem, &PemLimits::CHAIN).map_err(CaError::Root)?.iter().cloned().collect(),
            None => vec![chain.iter().last().unwrap_or(chain.leaf()).clone()],
        };
        let sent = chain.iter().filter(|c| !c.is_self_signed()).cloned().collect();
        Ok(Self { chain, key, roots, sent })
    }

    /// The CA's own certificate.
    pub fn certificate(&self) -> &Certificate {
        self.chain.leaf()
    }

    /// What clients must trust, for `ca.crt`: the Secret's `ca.crt`, else the topmost certificate of its `tls.crt`.
    pub fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    /// Signs a leaf for the public key `spki_der`. The chain is the leaf, then the CA and those above it, without a
    /// self-signed root: clients have it, and it only makes handshakes larger.
    ///
    /// # Errors
    /// When the request is not fit for a certificate, the validity is empty, or the result does not verify under the CA.
    pub fn sign(&self, spki_der: &[u8], leaf: &LeafSpec) -> Result<Chain, SignError> {
        let spki = rcgen::SubjectPublicKeyInfo::from_der(spki_der).map_err(|_| SignError::PublicKey)?;
        let ca = self.certificate();
        let bounds = Bounds {
            from: self.chain.iter().map(|c| c.not_before).max().unwrap_or(ca.not_before),
            to: self.chain.iter().map(|c| c.not_after).min().unwrap_or(ca.not_after),
        };
        let mut params = leaf_params(leaf, &key_spec(spki_der)?, Some(bounds))?;
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(ca.der(), self.key.pair()).map_err(failed)?;
        let signed = params.signed_by(&spki, &issuer).map_err(failed)?;
        let signed = Certificate::parse_der(signed.der()).map_err(|e| SignError::Library(e.to_string()))?;
        // rcgen keeps one value per kind of field and some text encodings only.
        if signed.issuer_der() != ca.subject_der() {
            return Err(SignError::IssuerName(ca.label()));
        }
        signed.signed_by(ca)?;
        Ok(Chain::new(signed, self.sent.clone()))
    }
}

fn check_ca(ca: &Certificate, key: &PrivateKey) -> Result<(), CaError> {
    if !ca.is_ca {
        return Err(CaError::NotCa(ca.label()));
    }
    if ca.key_usage.is_some_and(|u| !u.key_cert_sign) {
        return Err(CaError::NoKeyCertSign(ca.label()));
    }
    if ca.spki_der() != key.spki_der() {
        return Err(CaError::KeyMismatch(ca.label()));
    }
    Ok(())
}

fn check_ca_chain(chain: &Chain, now: Timestamp) -> Result<(), CaError> {
    for (number, (cert, issuer)) in (1..).zip(chain.iter().zip(chain.rest())) {
        cert.signed_by(issuer).map_err(|reason| CaError::ChainBroken { number, reason })?;
    }
    for cert in chain.iter() {
        if cert.not_after < now {
            return Err(CaError::Expired { subject: cert.label(), not_after: cert.not_after });
        }
        if cert.not_before > now {
            return Err(CaError::NotYetValid { subject: cert.label(), not_before: cert.not_before });
        }
    }
    Ok(())
}

/// A leaf that is signed with its own key. Nobody trusts it unless it is pinned as it is.
///
/// # Errors
/// When the request is not fit for a certificate or the validity is empty.
pub fn self_signed(key: &PrivateKey, leaf: &LeafSpec) -> Result<Chain, SignError> {
    let mut params = leaf_params(leaf, &key.spec(), None)?;
    // An issuer must not be empty (RFC 5280, section 4.1.2.4), and the issuer is the subject here.
    if params.distinguished_name.iter().next().is_none() {
        let name = leaf.subject.dns_names.iter().filter_map(|n| super::to_ascii(n).ok()).find(|n| n.len() <= 64);
        match name {
            Some(name) => params.distinguished_name.push(DnType::CommonName, name),
            None => params.distinguished_name.push(DnType::OrganizationName, "self-signed"),
        }
    }
    params.use_authority_key_identifier_extension = true;
    let signed = params.self_signed(key.pair()).map_err(failed)?;
    let signed = Certificate::parse_der(signed.der()).map_err(|e| SignError::Library(e.to_string()))?;
    Ok(Chain::new(signed, Vec::new()))
}

/// The validity of a CA and everything above it.
struct Bounds {
    from: Timestamp,
    to: Timestamp,
}

fn leaf_params(leaf: &LeafSpec, key: &KeySpec, ca: Option<Bounds>) -> Result<CertificateParams, SignError> {
    let mut params = leaf.subject.params(&leaf.usages, key)?;
    let mut start = leaf.not_before.checked_sub(BACKDATE).map_err(|_| SignError::Time(leaf.not_before))?;
    let mut not_after = leaf.not_after;
    if let Some(ca) = ca {
        start = start.max(ca.from);
        not_after = not_after.min(ca.to);
    }
    if not_after <= leaf.not_before || not_after <= start {
        return Err(SignError::Validity { start: leaf.not_before, not_after });
    }
    params.not_before = certificate_time(start)?;
    params.not_after = certificate_time(not_after)?;
    params.serial_number = Some(serial(leaf.serial)?);
    params.is_ca = IsCa::ExplicitNoCa;
    Ok(params)
}

/// Whole seconds in the years that a certificate can express (RFC 5280, section 4.1.2.5).
fn certificate_time(time: Timestamp) -> Result<OffsetDateTime, SignError> {
    const FIRST: i64 = -631_152_000; // 1950-01-01
    const LAST: i64 = 253_402_300_799; // 9999-12-31T23:59:59
    let seconds = time.as_second();
    if !(FIRST..=LAST).contains(&seconds) {
        return Err(SignError::Time(time));
    }
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| SignError::Time(time))
}

fn serial(given: Option<[u8; 16]>) -> Result<SerialNumber, SignError> {
    let mut bytes = match given {
        Some(bytes) => bytes,
        None => {
            let mut bytes = [0; 16];
            rand::fill(&mut bytes).map_err(|_| SignError::Random)?;
            // Never zero, and always 16 bytes long.
            bytes[0] |= 0x40;
            bytes
        }
    };
    // A set top bit would cost one more byte, since the number must be positive.
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

fn key_spec(spki_der: &[u8]) -> Result<KeySpec, SignError> {
    use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};
    let (_, spki) = SubjectPublicKeyInfo::from_der(spki_der).map_err(|_| SignError::PublicKey)?;
    KeySpec::of_spki(&spki).ok_or(SignError::PublicKey)
}

fn failed(error: rcgen::Error) -> SignError {
    match library(error) {
        SubjectError::Library(text) => SignError::Library(printable(&text)),
        other => SignError::Subject(other),
    }
}
