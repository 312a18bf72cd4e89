//! Whether clients would trust a chain: path building with webpki, and pinning.

use std::{sync::LazyLock, time::Duration};

use k8s_openapi::jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{
    cert::{CertError, Certificate},
    chain::Chain,
    names::{covers, printable, to_ascii},
};

static MOZILLA: LazyLock<Vec<TrustAnchor<'static>>> = LazyLock::new(|| {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|c| webpki::anchor_from_trusted_cert(c).ok()).collect()
});

/// Whom to trust: the Mozilla roots that this release carries, own certificates, or both.
#[derive(Debug, Clone)]
pub struct Anchors {
    mozilla: bool,
    own: Vec<Own>,
}

#[derive(Debug, Clone)]
struct Own {
    certificate: Certificate,
    /// `None` when webpki cannot build paths to it, as for some self-signed leaves; it is still good for pinning.
    anchor: Option<TrustAnchor<'static>>,
}

impl Anchors {
    /// The Mozilla roots only.
    pub fn mozilla() -> Self {
        Self { mozilla: true, own: Vec::new() }
    }

    /// Own certificates: roots, intermediates, or self-signed leaves that are pinned as they are.
    pub fn own(certificates: impl IntoIterator<Item = Certificate>) -> Self {
        Self { mozilla: false, own: Vec::new() }.with(certificates)
    }

    /// These anchors and `certificates`.
    pub fn with(mut self, certificates: impl IntoIterator<Item = Certificate>) -> Self {
        self.own.extend(certificates.into_iter().map(|certificate| {
            let anchor = webpki::anchor_from_trusted_cert(certificate.der()).ok().map(|a| a.to_owned());
            // A leaf vouches for itself only; as an anchor it would vouch for whatever its key signs.
            Own { anchor: anchor.filter(|_| certificate.is_ca), certificate }
        }));
        self
    }

    /// Whether nothing is trusted.
    pub fn is_empty(&self) -> bool {
        !self.mozilla && self.own.is_empty()
    }
}

/// The Mozilla roots as certificates, to write a trust bundle.
pub fn mozilla_roots() -> &'static [CertificateDer<'static>] {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
}

static MOZILLA_CERTIFICATES: LazyLock<Vec<Certificate>> =
    LazyLock::new(|| mozilla_roots().iter().filter_map(|der| Certificate::read(der).ok()).collect());

/// The Mozilla root that signed `certificate`, if one did.
pub(super) fn mozilla_issuer(certificate: &Certificate) -> Option<Certificate> {
    MOZILLA_CERTIFICATES.iter().find(|root| certificate.signed_by(root).is_ok()).cloned()
}

/// The Mozilla roots, read. Kept in memory from the first time on.
pub fn mozilla_certificates() -> &'static [Certificate] {
    static READ: LazyLock<Vec<Certificate>> = LazyLock::new(|| {
        let read = |der: &CertificateDer<'static>| Chain::from_ders(&[der]).ok().map(|chain| chain.leaf().clone());
        mozilla_roots().iter().filter_map(read).collect()
    });
    &READ
}

/// Why a client refuses a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainVerdict {
    /// A certificate is over.
    #[error("the certificate {subject} expired at {not_after}; renew it, or make the server load the new one")]
    Expired {
        /// Whose, or "of the chain" for one behind the leaf.
        subject: String,
        /// Since when.
        not_after: Timestamp,
    },
    /// A certificate has not begun.
    #[error(
        "the certificate {subject} is not valid before {not_before}; check the server's certificate and the clocks"
    )]
    NotYetValid {
        /// Whose.
        subject: String,
        /// From when on.
        not_before: Timestamp,
    },
    /// No path to a trust anchor.
    #[error("the certificate is not trusted: {0}")]
    NotTrusted(String),
    /// The name is not among the certificate's.
    #[error("the certificate does not cover {wanted}; it names {}", listed(.presented))]
    HostMismatch {
        /// What the client asked for.
        wanted: String,
        /// Every dNSName of the leaf.
        presented: Vec<String>,
    },
}

impl ChainVerdict {
    /// The result type of RFC 8460, section 4.3.2.
    pub fn result_type(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "certificate-expired",
            Self::NotYetValid { .. } | Self::NotTrusted(_) => "certificate-not-trusted",
            Self::HostMismatch { .. } => "certificate-host-mismatch",
        }
    }
}

/// At most ten names for a message.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    match names.len() {
        0 => "no host".to_owned(),
        n if n <= SHOWN => printable(&names.join(", ")),
        n => format!("{} and {} more", printable(&names[..SHOWN].join(", ")), n - SHOWN),
    }
}

/// Judges a served chain (DER, the leaf first) as a client would that knows `anchors` and asks for `server_name`.
///
/// The order of the checks is the order of the answer: the leaf's dates, the path, the name. A leaf that is itself
/// among the own anchors, byte by byte, needs no path. Every certificate behind the leaf may help to build the path.
///
/// # Errors
/// The first check that fails.
pub fn judge_chain<D: AsRef<[u8]>>(
    chain: &[D],
    anchors: &Anchors,
    server_name: &str,
    now: Timestamp,
) -> Result<(), ChainVerdict> {
    let chain = Chain::from_ders(chain).map_err(unreadable)?;
    judge_path(&chain, anchors, now)?;
    judge_name(chain.leaf(), server_name)
}

/// Judges whether the leaf's dNSNames cover `server_name` (RFC 9525); the common name does not count.
///
/// # Errors
/// [`ChainVerdict::HostMismatch`].
pub fn judge_name(leaf: &Certificate, server_name: &str) -> Result<(), ChainVerdict> {
    let wanted = to_ascii(server_name).unwrap_or_else(|_| printable(server_name));
    if leaf.dns_names.iter().any(|presented| covers(presented, &wanted)) {
        return Ok(());
    }
    Err(ChainVerdict::HostMismatch { wanted, presented: leaf.dns_names.clone() })
}

/// Judges dates and path without a name.
///
/// # Errors
/// The first check that fails.
pub fn judge_path(chain: &Chain, anchors: &Anchors, now: Timestamp) -> Result<(), ChainVerdict> {
    path(chain, anchors, now).map_err(PathFailure::into_verdict)
}

/// What kind of thing is wrong with a path, for those who must tell them apart.
pub(super) enum PathFailure {
    /// A certificate is over or has not begun.
    Dates(ChainVerdict),
    /// The path ends before a trust anchor is reached.
    UnknownIssuer(ChainVerdict),
    /// A CA must not vouch for the names.
    NameConstraints(ChainVerdict),
    /// Anything else.
    Other(ChainVerdict),
}

impl PathFailure {
    fn into_verdict(self) -> ChainVerdict {
        match self {
            Self::Dates(v) | Self::UnknownIssuer(v) | Self::NameConstraints(v) | Self::Other(v) => v,
        }
    }
}

/// As [`judge_path`], with the kind of failure.
pub(super) fn path(chain: &Chain, anchors: &Anchors, now: Timestamp) -> Result<(), PathFailure> {
    let leaf = chain.leaf();
    if now > leaf.not_after {
        return Err(PathFailure::Dates(ChainVerdict::Expired { subject: leaf.label(), not_after: leaf.not_after }));
    }
    if now < leaf.not_before {
        let not_before = leaf.not_before;
        return Err(PathFailure::Dates(ChainVerdict::NotYetValid { subject: leaf.label(), not_before }));
    }
    if anchors.own.iter().any(|own| own.certificate.der() == leaf.der()) {
        return Ok(());
    }
    let end = EndEntityCert::try_from(leaf.der()).map_err(|e| PathFailure::Other(not_trusted(&e, leaf)))?;
    let rest: Vec<CertificateDer<'static>> = chain.rest().iter().map(|c| c.der().clone()).collect();
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let verify = |anchors: &[TrustAnchor<'_>]| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let usage = KeyUsage::server_auth();
        end.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, anchors, &rest, time, usage, None, None).map(|_| ())
    };
    // webpki takes an anchor as trusted for ever; clients built on OpenSSL or GnuTLS refuse an expired one.
    let (current, expired): (Vec<&Own>, Vec<&Own>) = anchors.own.iter().partition(|o| now <= o.certificate.not_after);
    let own: Vec<TrustAnchor<'static>> = current.iter().filter_map(|o| o.anchor.clone()).collect();
    let result = match verify(&own) {
        Err(error) if anchors.mozilla => match verify(&MOZILLA) {
            // The own anchor got further than the Mozilla roots: its error says more.
            Err(webpki::Error::UnknownIssuer) => Err(error),
            other => other,
        },
        other => other,
    };
    match result {
        Ok(()) => Ok(()),
        Err(webpki::Error::UnknownIssuer) => Err(unknown_issuer(chain, &expired)),
        Err(error @ webpki::Error::NameConstraintViolation) => {
            Err(PathFailure::NameConstraints(not_trusted(&error, leaf)))
        }
        Err(error) => Err(match path_verdict(&error, chain, now) {
            verdict @ (ChainVerdict::Expired { .. } | ChainVerdict::NotYetValid { .. }) => PathFailure::Dates(verdict),
            verdict => PathFailure::Other(verdict),
        }),
    }
}

fn unknown_issuer(chain: &Chain, expired: &[&Own]) -> PathFailure {
    let top = chain.rest().last().unwrap_or(chain.leaf());
    if let Some(own) = expired.iter().find(|o| o.certificate.subject_der() == top.issuer_der()) {
        let (subject, not_after) = (own.certificate.label(), own.certificate.not_after);
        return PathFailure::Dates(ChainVerdict::Expired { subject, not_after });
    }
    let leaf = chain.leaf();
    PathFailure::UnknownIssuer(ChainVerdict::NotTrusted(if leaf.self_issued {
        "it is self-signed; clients trust it only when it is pinned itself".to_owned()
    } else if chain.rest().is_empty() {
        format!("its issuer {} is no trust anchor and the server sends no intermediate certificate", leaf.issuer)
    } else {
        format!("the chain ends at the issuer {}, which is no trust anchor, or a link in it is missing", top.issuer)
    }))
}

fn path_verdict(error: &webpki::Error, chain: &Chain, now: Timestamp) -> ChainVerdict {
    // webpki's times do not say whose they are.
    let behind = |wrong: fn(&Certificate, Timestamp) -> bool| chain.rest().iter().find(|c| wrong(c, now));
    match error {
        webpki::Error::CertExpired { .. } => match behind(|c, now| c.not_after < now) {
            Some(c) => ChainVerdict::Expired { subject: c.label(), not_after: c.not_after },
            None => not_trusted(error, chain.leaf()),
        },
        webpki::Error::CertNotValidYet { .. } => match behind(|c, now| c.not_before > now) {
            Some(c) => ChainVerdict::NotYetValid { subject: c.label(), not_before: c.not_before },
            None => not_trusted(error, chain.leaf()),
        },
        _ => not_trusted(error, chain.leaf()),
    }
}

fn not_trusted(error: &webpki::Error, leaf: &Certificate) -> ChainVerdict {
    use webpki::Error;
    ChainVerdict::NotTrusted(match error {
        Error::CaUsedAsEndEntity => {
            format!("{} is a CA certificate; a server needs a leaf certificate (CA:FALSE)", leaf.label())
        }
        Error::RequiredEkuNotFoundContext(_) => {
            "its extended key usage, or that of a CA above it, lacks serverAuth".to_owned()
        }
        Error::NameConstraintViolation => "a CA above it must not vouch for its names (name constraints)".to_owned(),
        Error::InvalidSignatureForPublicKey => {
            "a signature in the chain is wrong, or a CA that has several certificates of one name is limited in names or \
             path length"
                .to_owned()
        }
        Error::UnsupportedCertVersion => "it is not an X.509 version 3 certificate".to_owned(),
        Error::PathLenConstraintViolated => "there are more CAs in the chain than one of them allows".to_owned(),
        other => printable(&other.to_string()),
    })
}

fn unreadable(error: CertError) -> ChainVerdict {
    ChainVerdict::NotTrusted(error.to_string())
}
