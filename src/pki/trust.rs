//! Whether clients would trust a chain: whom they trust, and what they say.

use std::sync::LazyLock;

use k8s_openapi::jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use super::{
    cert::{CertError, Certificate, LinkError},
    chain::Chain,
    names::{covers, printable, to_ascii},
    paths::{PathFailure, path},
};

pub(super) static MOZILLA: LazyLock<Vec<TrustAnchor<'static>>> = LazyLock::new(|| {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|c| webpki::anchor_from_trusted_cert(c).ok()).collect()
});

/// Whom to trust: the Mozilla roots that this release carries, own certificates, or both.
#[derive(Debug, Clone)]
pub struct Anchors {
    pub(super) mozilla: bool,
    pub(super) own: Vec<Own>,
}

#[derive(Debug, Clone)]
pub(super) struct Own {
    pub certificate: Certificate,
    /// `None` when webpki cannot build paths to it, as for some self-signed leaves; it is still good for pinning.
    pub anchor: Option<TrustAnchor<'static>>,
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

    /// Whether the leaf is itself among the own anchors, byte by byte.
    pub(super) fn pin(&self, leaf: &Certificate) -> bool {
        self.own.iter().any(|own| own.certificate.der() == leaf.der())
    }

    /// Whether `certificate` is a current anchor or is signed by one. Where one has only the name of its issuer, that
    /// one's label and why it is not the issuer.
    pub(super) fn vouch_for(
        &self,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<(), Option<(String, LinkError)>> {
        let own = self.own.iter().filter(|own| own.anchor.is_some()).map(|own| &own.certificate);
        let mozilla = if self.mozilla { mozilla_certificates() } else { &[] };
        let mut namesake = None;
        for anchor in own.chain(mozilla).filter(|anchor| now <= anchor.not_after) {
            if anchor.der() == certificate.der() {
                return Ok(());
            }
            match certificate.signed_by(anchor) {
                Ok(()) => return Ok(()),
                Err(LinkError::Name) => {}
                Err(reason) => namesake = Some((anchor.label(), reason)),
            }
        }
        Err(namesake)
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

fn unreadable(error: CertError) -> ChainVerdict {
    ChainVerdict::NotTrusted(error.to_string())
}
