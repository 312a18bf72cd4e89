//! Chains of certificates: bounded reading from PEM and from a TLS handshake, writing as PEM.

use rustls_pki_types::CertificateDer;

use super::{
    cert::{CertError, Certificate},
    pem_blocks,
};

/// How much PEM is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PemLimits {
    /// For the whole text, in bytes.
    pub text_bytes: usize,
    /// For one certificate's PEM block, in bytes.
    pub certificate_bytes: usize,
    /// How many certificates.
    pub certificates: usize,
}

impl PemLimits {
    /// A leaf and its chain: 95 KiB, each certificate 36 KiB, at most 10 certificates.
    pub const CHAIN: Self = Self { text_bytes: 95 * 1024, certificate_bytes: 36 * 1024, certificates: 10 };
    /// A bundle of trust anchors: 1 MiB (what a ConfigMap holds), each certificate 36 KiB, at most 500 certificates.
    pub const BUNDLE: Self = Self { text_bytes: 1024 * 1024, certificate_bytes: 36 * 1024, certificates: 500 };
}

/// At least one certificate, the leaf first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    leaf: Certificate,
    rest: Vec<Certificate>,
}

impl Chain {
    /// A chain of certificates at hand.
    pub fn new(leaf: Certificate, rest: Vec<Certificate>) -> Self {
        Self { leaf, rest }
    }

    /// Reads every CERTIFICATE block of a PEM text, in order. Other blocks and text between them are skipped.
    /// Whether the certificates belong together is for [`super::validate_issued`] to say.
    ///
    /// # Errors
    /// Says which block or certificate is damaged or too large, or that there is none.
    pub fn from_pem(input: &[u8], limits: &PemLimits) -> Result<Self, CertError> {
        if input.len() > limits.text_bytes {
            return Err(CertError::TooLarge { bytes: input.len(), limit: limits.text_bytes });
        }
        let blocks = pem_blocks::blocks(input)?;
        let blocks: Vec<_> = blocks.iter().filter(|b| matches!(b.label, "CERTIFICATE" | "X509 CERTIFICATE")).collect();
        if blocks.len() > limits.certificates {
            return Err(CertError::TooMany { count: blocks.len(), limit: limits.certificates });
        }
        let certificates = blocks.iter().enumerate().map(|(index, block)| {
            within(index + 1, block.len(), limits)?;
            read(index + 1, &block.decode()?)
        });
        Self::collect(certificates)
    }

    /// Reads a chain as a TLS handshake carries it: DER certificates, the leaf first.
    ///
    /// # Errors
    /// Says which certificate is damaged, or that there is none; the limits are those of [`PemLimits::CHAIN`].
    pub fn from_ders<D: AsRef<[u8]>>(ders: &[D]) -> Result<Self, CertError> {
        let limits = PemLimits::CHAIN;
        if ders.len() > limits.certificates {
            return Err(CertError::TooMany { count: ders.len(), limit: limits.certificates });
        }
        if ders.is_empty() {
            return Err(CertError::Empty);
        }
        let certificates = ders.iter().enumerate().map(|(index, der)| {
            within(index + 1, der.as_ref().len(), &limits)?;
            read(index + 1, der.as_ref())
        });
        Self::collect(certificates)
    }

    fn collect(certificates: impl Iterator<Item = Result<Certificate, CertError>>) -> Result<Self, CertError> {
        let mut certificates = certificates.collect::<Result<Vec<_>, _>>()?.into_iter();
        let leaf = certificates.next().ok_or(CertError::NoCertificate)?;
        Ok(Self { leaf, rest: certificates.collect() })
    }

    /// The first certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The certificates behind the leaf.
    pub fn rest(&self) -> &[Certificate] {
        &self.rest
    }

    /// Every certificate, the leaf first.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.rest)
    }

    /// Every certificate's DER, the leaf first.
    pub fn ders(&self) -> Vec<CertificateDer<'static>> {
        self.iter().map(|c| c.der().clone()).collect()
    }

    /// Every certificate as PEM, the leaf first, with a final newline.
    pub fn to_pem(&self) -> String {
        self.iter().map(Certificate::to_pem).collect()
    }
}

fn within(number: usize, bytes: usize, limits: &PemLimits) -> Result<(), CertError> {
    let limit = limits.certificate_bytes;
    if bytes > limit { Err(CertError::CertificateTooLarge { number, bytes, limit }) } else { Ok(()) }
}

fn read(number: usize, der: &[u8]) -> Result<Certificate, CertError> {
    Certificate::read(der).map_err(|reason| CertError::Der { number, reason })
}
