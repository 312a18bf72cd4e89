//! Paths from a leaf to a trust anchor: built by webpki, and followed by hand where it goes no further.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};

use super::{
    cert::{Certificate, LinkError},
    chain::Chain,
    names::printable,
    subject::Usage,
    trust::{Anchors, ChainVerdict, MOZILLA},
};

/// What kind of thing is wrong with a path, for those who must tell them apart.
pub(super) enum PathFailure {
    /// A certificate is over or has not begun.
    Dates(ChainVerdict),
    /// The path ends before a trust anchor is reached.
    UnknownIssuer(ChainVerdict),
    /// The path ends at an own anchor that is over.
    AnchorExpired {
        /// Which.
        anchor: String,
        /// Since when.
        not_after: Timestamp,
    },
    /// A CA must not vouch for the names.
    NameConstraints(ChainVerdict),
    /// A link of the chain is wrong, or of a kind that is not verified, so that nothing shows where the path ends.
    Unverified(ChainVerdict),
    /// Anything else.
    Other(ChainVerdict),
}

impl PathFailure {
    pub fn into_verdict(self) -> ChainVerdict {
        match self {
            Self::Dates(v)
            | Self::UnknownIssuer(v)
            | Self::NameConstraints(v)
            | Self::Unverified(v)
            | Self::Other(v) => v,
            Self::AnchorExpired { anchor, not_after } => ChainVerdict::Expired { subject: anchor, not_after },
        }
    }
}

/// Judges dates and path, with the kind of failure.
pub(super) fn path(chain: &Chain, anchors: &Anchors, now: Timestamp) -> Result<(), PathFailure> {
    let leaf = chain.leaf();
    if now > leaf.not_after {
        return Err(PathFailure::Dates(ChainVerdict::Expired { subject: leaf.label(), not_after: leaf.not_after }));
    }
    if now < leaf.not_before {
        let not_before = leaf.not_before;
        return Err(PathFailure::Dates(ChainVerdict::NotYetValid { subject: leaf.label(), not_before }));
    }
    if anchors.pin(leaf) {
        return Ok(());
    }
    search(chain, anchors, (now, now), &KeyUsage::server_auth()).map_err(|error| failure(&error, chain, anchors, now))
}

/// As [`path`], for a chain of which the caller has told what is wrong with its certificates themselves, such as their
/// dates, their purpose or their signatures: whether the chain would lead to an anchor were it not for that. A defect
/// that somebody accepts is no reason to trust anyone.
pub(super) fn path_apart_from_defects(chain: &Chain, anchors: &Anchors, now: Timestamp) -> Result<(), PathFailure> {
    let leaf = chain.leaf();
    if anchors.pin(leaf) {
        return Ok(());
    }
    // When all of the chain is valid at once, as close to now as can be.
    let begin = chain.iter().map(|c| c.not_before).max().unwrap_or(now);
    let end = chain.iter().map(|c| c.not_after).min().unwrap_or(now);
    let times = (now, now.max(begin).min(end));
    let serves = leaf.extended_usages.as_ref().is_none_or(|found| found.usages.contains(&Usage::ServerAuth));
    let result = match serves {
        true => search(chain, anchors, times, &KeyUsage::server_auth()),
        false => search(chain, anchors, times, &AnyUsage),
    };
    use webpki::Error;
    match result {
        Ok(()) => Ok(()),
        Err(
            error @ (Error::NameConstraintViolation
            | Error::PathLenConstraintViolated
            | Error::RequiredEkuNotFoundContext(_)),
        ) => Err(failure(&error, chain, anchors, now)),
        // It stops at the first thing that it does not like.
        Err(_) => follow(chain, anchors, now),
    }
}

/// For a leaf that is for something else.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// What webpki says of the path at the second of the `times`, to the anchors that are current at the first.
fn search(
    chain: &Chain,
    anchors: &Anchors,
    times: (Timestamp, Timestamp),
    usage: &impl ExtendedKeyUsageValidator,
) -> Result<(), webpki::Error> {
    let (now, at) = times;
    let end = EndEntityCert::try_from(chain.leaf().der())?;
    let rest: Vec<CertificateDer<'static>> = chain.rest().iter().map(|c| c.der().clone()).collect();
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let verify = |anchors: &[TrustAnchor<'_>]| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        end.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, anchors, &rest, time, usage, None, None).map(|_| ())
    };
    // webpki takes an anchor as trusted for ever; clients built on OpenSSL or GnuTLS refuse an expired one.
    let current = anchors.own.iter().filter(|own| now <= own.certificate.not_after);
    let own: Vec<TrustAnchor<'static>> = current.filter_map(|own| own.anchor.clone()).collect();
    match verify(&own) {
        Err(error) if anchors.mozilla => match verify(&MOZILLA) {
            // The own anchor got further than the Mozilla roots: its error says more.
            Err(webpki::Error::UnknownIssuer) => Err(error),
            other => other,
        },
        other => other,
    }
}

/// Follows the signatures upwards from the leaf, whatever else is wrong. A link that cannot be verified is none that
/// leads to an anchor; what is above it is looked at all the same, as it may be wrong, too.
fn follow(chain: &Chain, anchors: &Anchors, now: Timestamp) -> Result<(), PathFailure> {
    let mut unverified: Option<(String, String, LinkError)> = None;
    let mut rest = chain.rest().iter();
    let mut certificate = chain.leaf();
    loop {
        let namesake = match anchors.vouch_for(certificate, now) {
            Ok(()) => break,
            Err(namesake) => namesake,
        };
        let (issuer, reason, next) = match (rest.next(), namesake) {
            (Some(issuer), _) => match certificate.signed_by(issuer) {
                Ok(()) => {
                    certificate = issuer;
                    continue;
                }
                Err(reason) => (issuer.label(), reason, Some(issuer)),
            },
            (None, Some((anchor, reason))) => (anchor, reason, None),
            (None, None) => return Err(unknown_issuer(chain, anchors, now)),
        };
        unverified.get_or_insert((certificate.label(), issuer, reason));
        let unknown = matches!(reason, LinkError::Algorithm | LinkError::Signature);
        match next.filter(|issuer| unknown && !certificate.is_verifiable_by(issuer)) {
            Some(issuer) => certificate = issuer,
            None => break,
        }
    }
    let Some((subject, issuer, reason)) = unverified else { return Ok(()) };
    Err(PathFailure::Unverified(ChainVerdict::NotTrusted(format!(
        "that {subject} was signed by {issuer} cannot be verified ({reason}), so nothing shows that it leads to a trust anchor"
    ))))
}

fn failure(error: &webpki::Error, chain: &Chain, anchors: &Anchors, now: Timestamp) -> PathFailure {
    match error {
        webpki::Error::UnknownIssuer => unknown_issuer(chain, anchors, now),
        webpki::Error::NameConstraintViolation => PathFailure::NameConstraints(not_trusted(error, chain.leaf())),
        error => match path_verdict(error, chain, now) {
            verdict @ (ChainVerdict::Expired { .. } | ChainVerdict::NotYetValid { .. }) => PathFailure::Dates(verdict),
            verdict => PathFailure::Other(verdict),
        },
    }
}

fn unknown_issuer(chain: &Chain, anchors: &Anchors, now: Timestamp) -> PathFailure {
    let top = chain.rest().last().unwrap_or(chain.leaf());
    let expired = anchors.own.iter().map(|own| &own.certificate).filter(|anchor| now > anchor.not_after);
    if let Some(anchor) = expired.into_iter().find(|anchor| anchor.subject_der() == top.issuer_der()) {
        return PathFailure::AnchorExpired { anchor: anchor.label(), not_after: anchor.not_after };
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
