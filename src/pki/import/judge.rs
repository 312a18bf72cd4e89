//! What is wrong with an imported certificate for a mail server.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Code, Finding, Imported, Severity, arrange::CANDIDATES};
use crate::api::reasons::import as code;
use crate::pki::{
    cert::{Certificate, LinkError},
    chain::Chain,
    names::{covers, to_ascii},
    paths::{PathFailure, path, path_apart_from_defects},
    subject::Usage,
    trust::Anchors,
    validate::{Defect, Expected, defects_of_chain},
};

/// What a certificate is wanted for.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The host of the mail server's external URL.
    pub external_host: Option<String>,
    /// Other names that must be covered.
    pub names: Vec<String>,
    /// Names that old clients still use: not being covered is a warning.
    pub legacy: Vec<String>,
    /// Purposes that must be allowed.
    pub usages: Vec<Usage>,
    /// Whom to trust.
    pub anchors: Anchors,
    /// Errors that are accepted: they become warnings.
    pub allow: Vec<Code>,
    /// How long before the end of validity to warn; the longest counts.
    pub warn_before: Vec<SignedDuration>,
}

impl Default for Expectation {
    /// Any name, `serverAuth`, the Mozilla roots, a warning 30 days before the end.
    fn default() -> Self {
        Self {
            external_host: None,
            names: Vec::new(),
            legacy: Vec::new(),
            usages: vec![Usage::ServerAuth],
            anchors: Anchors::mozilla(),
            allow: Vec::new(),
            warn_before: vec![SignedDuration::from_hours(30 * 24)],
        }
    }
}

/// What is wrong with certificates themselves: a path may fail because of it before it is known where it leads.
const OF_CERTIFICATES: &[&str] = &[
    code::EXPIRED,
    code::NOT_YET_VALID,
    code::LEAF_IS_CA,
    code::USAGE_MISSING,
    code::CHAIN_BROKEN,
    code::WEAK_KEY,
    code::WEAK_SIGNATURE,
    code::UNKNOWN_CRITICAL_EXTENSION,
];
/// Because of which of them a link of a chain cannot be verified.
const OF_LINKS: &[&str] = &[code::CHAIN_BROKEN, code::WEAK_KEY, code::WEAK_SIGNATURE];

/// Everything that is wrong with the imported chain at `now`. What is wrong with the key, [`super::read`] has said.
pub fn judge(imported: &Imported, expectation: &Expectation, now: Timestamp) -> Vec<Finding> {
    let Some(chain) = &imported.chain else { return Vec::new() };
    let mut findings = Vec::new();
    names(chain.leaf(), expectation, &mut findings);
    let expected = Expected { usages: expectation.usages.clone(), allow_extra_names: true, ..Expected::default() };
    for defect in defects_of_chain(chain, &expected, now) {
        let number = number_of(&defect);
        let about = chain.iter().nth(number - 1).unwrap_or(chain.leaf()).label();
        findings.push(Finding::error(code_of(&defect), &about, words_of(&defect, chain)));
    }
    for certificate in chain.iter() {
        if !certificate.unknown_critical.is_empty() {
            let message = format!(
                "{} has critical extensions that clients do not know and therefore refuse: {}; have it issued without them",
                certificate.label(),
                certificate.unknown_critical.join(", ")
            );
            findings.push(Finding::error(code::UNKNOWN_CRITICAL_EXTENSION, &certificate.label(), message));
        }
    }
    trust(imported, chain, expectation, now, &mut findings);
    ends(imported, chain, expectation, now, &mut findings);
    for finding in &mut findings {
        if finding.is_error() && expectation.allow.contains(&finding.code) {
            finding.severity = Severity::Warning;
        }
    }
    findings
}

fn names(leaf: &Certificate, expectation: &Expectation, findings: &mut Vec<Finding>) {
    let covered = |name: &str| {
        let wanted = to_ascii(name).unwrap_or_else(|_| name.to_owned());
        leaf.dns_names.iter().any(|presented| covers(presented, &wanted))
    };
    let presented = crate::pki::trust::listed(&leaf.dns_names);
    let label = leaf.label();
    if let Some(host) = expectation.external_host.as_deref().filter(|host| !covered(host)) {
        let message = format!(
            "the certificate does not cover {host}, the host of the external URL; it names {presented}. Have it issued again \
             with that name, or correct the URL"
        );
        findings.push(Finding::error(code::EXTERNAL_URL_NOT_COVERED, &label, message));
    }
    let other = |name: &&String| expectation.external_host.as_ref() != Some(*name) && !covered(name);
    for name in expectation.names.iter().filter(other) {
        let message = format!(
            "the certificate does not cover {name}; it names {presented}. Have it issued again with that name, or remove the name"
        );
        findings.push(Finding::error(code::NAME_NOT_COVERED, &label, message));
    }
    for name in expectation.legacy.iter().filter(other) {
        let message = format!(
            "the certificate does not cover the legacy name {name}; clients that still use it will refuse the server. Have it \
             issued again with that name, or remove the name when nobody uses it any more"
        );
        findings.push(Finding::warning(code::LEGACY_NAME_NOT_COVERED, &label, message));
    }
}

fn code_of(defect: &Defect) -> &'static str {
    match defect {
        Defect::KeyMismatch => code::KEY_MISMATCH,
        Defect::MissingNames(_)
        | Defect::UnexpectedNames(_)
        | Defect::MissingEmails(_)
        | Defect::UnknownNameKinds(_) => code::NAME_NOT_COVERED,
        Defect::CommonNameNotInSans(_) => code::COMMON_NAME_NOT_IN_SANS,
        Defect::Expired { .. } => code::EXPIRED,
        Defect::NotYetValid { .. } => code::NOT_YET_VALID,
        Defect::LeafIsCa => code::LEAF_IS_CA,
        Defect::ChainBroken { .. } => code::CHAIN_BROKEN,
        Defect::MissingUsage(_) | Defect::NoDigitalSignature => code::USAGE_MISSING,
        Defect::WeakKey { .. } => code::WEAK_KEY,
        Defect::WeakSignature { .. } => code::WEAK_SIGNATURE,
        Defect::NotTrusted(_) => code::NOT_TRUSTED,
    }
}

/// What is wrong and what to do, where an import knows more of it than an issuer does.
fn words_of(defect: &Defect, chain: &Chain) -> String {
    match defect {
        Defect::Expired { number, subject, not_after } if *number > 1 => {
            format!("certificate {number} ({subject}) expired at {not_after}; replace it by the CA's current one")
        }
        Defect::LeafIsCa if chain.leaf().self_issued && chain.rest().is_empty() => {
            "the only certificate is a CA certificate (basicConstraints CA:TRUE), as `openssl req -x509` makes it unless it is told \
             otherwise; have it made with basicConstraints=CA:FALSE (-addext basicConstraints=critical,CA:FALSE)"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// Which certificate of the chain a defect is about, counted from 1.
fn number_of(defect: &Defect) -> usize {
    match defect {
        Defect::Expired { number, .. }
        | Defect::NotYetValid { number, .. }
        | Defect::ChainBroken { number, .. }
        | Defect::WeakKey { number, .. }
        | Defect::WeakSignature { number, .. } => *number,
        _ => 1,
    }
}

fn trust(imported: &Imported, chain: &Chain, expectation: &Expectation, now: Timestamp, findings: &mut Vec<Finding>) {
    let top = chain.rest().last().unwrap_or(chain.leaf());
    let named = imported.ca.iter().filter(|root| root.subject_der() == top.issuer_der()).take(CANDIDATES);
    // That it cannot be verified is another matter: it is there.
    let signed = |root: &Certificate| match top.signed_by(root) {
        Ok(()) => true,
        Err(LinkError::Algorithm | LinkError::Signature) => !top.is_verifiable_by(root),
        Err(LinkError::Name | LinkError::NotCa) => false,
    };
    let root = named.into_iter().any(|root| root.fingerprint == top.fingerprint || signed(root));
    let told = |codes: &[&str]| findings.iter().any(|f| codes.contains(&f.code.word()));
    let verdict = match path(chain, &expectation.anchors, now) {
        // A client that refuses a certificate for what it is looks no further; here everything is told at once. And a
        // defect that is allowed must not stand for trust.
        Err(_) if told(OF_CERTIFICATES) => path_apart_from_defects(chain, &expectation.anchors, now),
        verdict => verdict,
    };
    let failure = match verdict {
        Ok(()) if root => return,
        Ok(()) => return findings.push(root_missing(top)),
        Err(failure) => failure,
    };
    // What a link lacks is told already, unless that is allowed.
    let stays = |f: &Finding| OF_LINKS.contains(&f.code.word()) && !expectation.allow.contains(&f.code);
    let about = chain.leaf().label();
    let no_ca = imported.ca.iter().chain(&imported.left_out).find(|c| top.signed_by(c) == Err(LinkError::NotCa));
    match failure {
        PathFailure::Unverified(_) if findings.iter().any(stays) => {}
        PathFailure::Unverified(verdict) => {
            let message = format!(
                "{verdict}. Have it issued again so that clients can verify it, or allow untrusted certificates"
            );
            findings.push(Finding::error(code::NOT_TRUSTED, &about, message));
        }
        PathFailure::AnchorExpired { anchor, not_after } => {
            let message = format!(
                "the trust anchor {anchor} expired at {not_after}; name the current root of that CA as trust anchor"
            );
            findings.push(Finding::error(code::EXPIRED, &anchor, message));
        }
        PathFailure::NameConstraints(verdict) => findings.push(name_constraints(&about, &verdict.to_string())),
        PathFailure::Dates(verdict) | PathFailure::Other(verdict) => {
            findings.push(Finding::error(code::NOT_TRUSTED, &about, verdict.to_string()));
        }
        PathFailure::UnknownIssuer(verdict) if root => {
            let message = format!(
                "{verdict}. When this CA is meant to be trusted, name its root as trust anchor, or allow untrusted certificates"
            );
            findings.push(Finding::error(code::NOT_TRUSTED, &about, message));
            let own = Anchors::own(imported.ca.iter().cloned());
            if let Err(PathFailure::NameConstraints(verdict)) = path(chain, &own, now) {
                findings.push(name_constraints(&about, &verdict.to_string()));
            }
        }
        // A CA above the leaf that does not say where its issuer is may well be the last one below the root.
        PathFailure::UnknownIssuer(verdict)
            if no_ca.is_none() && !chain.rest().is_empty() && top.ca_issuers.is_empty() =>
        {
            findings.push(Finding::error(code::NOT_TRUSTED, &about, verdict.to_string()));
            findings.push(root_missing(top));
        }
        PathFailure::UnknownIssuer(verdict) => {
            let incomplete = chain_incomplete(top, no_ca);
            // Who sends no issuer on purpose must still say that nothing shows whom the chain leads to.
            if expectation.allow.contains(&incomplete.code) {
                findings.push(Finding::error(code::NOT_TRUSTED, &about, verdict.to_string()));
            }
            findings.push(incomplete);
        }
    }
}

fn name_constraints(about: &str, verdict: &str) -> Finding {
    let message = format!("{verdict}; have the certificate issued by a CA that may vouch for these names");
    Finding::error(code::NAME_CONSTRAINTS, about, message)
}

fn root_missing(top: &Certificate) -> Finding {
    let message = format!(
        "the issuer {} that signed {} is neither in the file nor among the Mozilla roots, so ca.crt will not have it; add its \
         certificate, and those above it, for clients that verify with ca.crt",
        top.issuer,
        top.label()
    );
    Finding::warning(code::ROOT_MISSING, &top.label(), message)
}

/// `no_ca` is a certificate of the issuer's name that is there and cannot be it.
fn chain_incomplete(top: &Certificate, no_ca: Option<&Certificate>) -> Finding {
    let place = match &top.ca_issuers[..] {
        [] => "the certificate does not say where it can be had; ask the CA for it".to_owned(),
        urls => format!("it can be had at {}", urls.join(" or ")),
    };
    let message = match no_ca {
        Some(no_ca) => format!(
            "the issuer of {}, {}, is in the file, but clients do not take it as a CA: {}. Give the certificate that this CA has for \
             clients, or have the server's issued by another CA ({place})",
            top.label(),
            top.issuer,
            match no_ca.is_ca {
                true => "its key usage lacks keyCertSign",
                false => "it is of X.509 version 1, or lacks basicConstraints with CA:TRUE",
            }
        ),
        None => format!(
            "the issuer of {}, {}, is missing, and clients do not look for it; add its certificate to the file ({place})",
            top.label(),
            top.issuer
        ),
    };
    let mut finding = Finding::error(code::CHAIN_INCOMPLETE, &top.label(), message);
    finding.issuer_urls.clone_from(&top.ca_issuers);
    finding
}

/// Warns before a certificate ends: those of the chain, and the roots for clients.
fn ends(imported: &Imported, chain: &Chain, expectation: &Expectation, now: Timestamp, findings: &mut Vec<Finding>) {
    let longest = expectation.warn_before.iter().max().copied().unwrap_or(SignedDuration::ZERO);
    let roots = imported.ca.iter().filter(|root| chain.iter().all(|c| c.fingerprint != root.fingerprint));
    for certificate in chain.iter().chain(roots.clone()) {
        let left = certificate.not_after.duration_since(now);
        if left.is_negative() || left > longest {
            continue;
        }
        let days = left.as_hours() / 24;
        let message = format!(
            "{} expires at {}, in {days} days; have it renewed and import the new one",
            certificate.label(),
            certificate.not_after
        );
        findings.push(Finding::warning(code::EXPIRES_SOON, &certificate.label(), message));
    }
    let told = |root: &Certificate| findings.iter().any(|f| f.code == code::EXPIRED && f.about == root.label());
    let over: Vec<&Certificate> = roots.filter(|root| root.not_after < now && !told(root)).collect();
    for root in over {
        let message = format!("the root {} expired at {}; replace it in ca.crt", root.label(), root.not_after);
        findings.push(Finding::warning(code::EXPIRED, &root.label(), message));
    }
}
