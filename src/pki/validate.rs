//! Whether an issued or imported certificate is what we asked for: every defect at once.

use k8s_openapi::jiff::Timestamp;

use super::{
    cert::{Certificate, LinkError},
    chain::Chain,
    key::PrivateKey,
    names::{covers, printable, to_ascii, to_ascii_email},
    subject::Usage,
    trust::{Anchors, ChainVerdict, judge_path, listed},
};

/// What the certificate must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Names that must be covered.
    pub dns_names: Vec<String>,
    /// The common name that was asked for, if any. The CA may leave it out.
    pub common_name: Option<String>,
    /// Addresses that must stand among the rfc822Names.
    pub emails: Vec<String>,
    /// Purposes that must be allowed.
    pub usages: Vec<Usage>,
    /// Whether the certificate may hold more names than these, as an imported one may.
    pub allow_extra_names: bool,
}

/// One thing that is wrong with a certificate. Certificates of a chain are counted from 1, the leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Another key.
    #[error("the private key does not belong to the certificate; use the key that the certificate was requested with")]
    KeyMismatch,
    /// Names that are not covered.
    #[error("the certificate does not cover {}; have it issued again with every name", listed(.0))]
    MissingNames(Vec<String>),
    /// Names that nobody asked for.
    #[error("the certificate holds names that were not asked for: {}; check what the CA adds", listed(.0))]
    UnexpectedNames(Vec<String>),
    /// A common name outside the SANs (CA/Browser Forum Baseline Requirements, section 7.1.4.3).
    #[error(
        "the common name \"{0}\" is not among the certificate's alternative names; leave the common name out or add the name"
    )]
    CommonNameNotInSans(String),
    /// Addresses that are missing.
    #[error("the certificate lacks the e-mail addresses {}; have it issued again with every address", listed(.0))]
    MissingEmails(Vec<String>),
    /// URIs, otherNames and the like, or malformed names.
    #[error("the certificate holds names of kinds that were not asked for: {}; check the CA's template", .0.join(", "))]
    UnknownNameKinds(Vec<&'static str>),
    /// Over.
    #[error("certificate {number} ({subject}) expired at {not_after}; renew it")]
    Expired {
        /// Which.
        number: usize,
        /// Whose.
        subject: String,
        /// When.
        not_after: Timestamp,
    },
    /// Not begun.
    #[error("certificate {number} ({subject}) is not valid before {not_before}; wait until then, or check the clocks")]
    NotYetValid {
        /// Which.
        number: usize,
        /// Whose.
        subject: String,
        /// When.
        not_before: Timestamp,
    },
    /// A CA certificate as leaf.
    #[error("the first certificate is a CA certificate; put the server's own certificate first")]
    LeafIsCa,
    /// Two neighbours that do not belong together.
    #[error(
        "certificate {number} ({subject}) is not signed by certificate {} ({issuer}): {reason}; put the leaf first, then each issuer in turn", .number + 1
    )]
    ChainBroken {
        /// The lower one.
        number: usize,
        /// The lower one's subject.
        subject: String,
        /// The upper one's subject.
        issuer: String,
        /// Why.
        reason: LinkError,
    },
    /// A purpose is not allowed.
    #[error("the certificate's extended key usage lacks {0}; have it issued with that usage")]
    MissingUsage(Usage),
    /// The key usage forbids TLS.
    #[error("the certificate's key usage lacks digitalSignature, without which TLS 1.3 cannot use it")]
    NoDigitalSignature,
    /// A key that clients refuse.
    #[error(
        "certificate {number} ({subject}) has a key that clients refuse ({kind}); use RSA from 2048 bits on, ECDSA or Ed25519"
    )]
    WeakKey {
        /// Which.
        number: usize,
        /// Whose.
        subject: String,
        /// What it is.
        kind: String,
    },
    /// A signature that clients refuse.
    #[error(
        "certificate {number} ({subject}) is signed with an algorithm that clients refuse, such as SHA-1; have it issued again with SHA-256"
    )]
    WeakSignature {
        /// Which.
        number: usize,
        /// Whose.
        subject: String,
    },
    /// No path to the given anchors.
    #[error("{0}")]
    NotTrusted(ChainVerdict),
}

/// Every defect of `chain` with `key` against `expected` at `now`; none when the certificate is right.
///
/// With `anchors` the chain must also lead to one of them. A certificate without a common name is right.
pub fn validate_issued(
    chain: &Chain,
    key: &PrivateKey,
    expected: &Expected,
    anchors: Option<&Anchors>,
    now: Timestamp,
) -> Vec<Defect> {
    let leaf = chain.leaf();
    let mut defects = Vec::new();
    if leaf.spki_der() != key.spki_der() {
        defects.push(Defect::KeyMismatch);
    }
    defects.extend(defects_of_chain(chain, expected, now));
    if let Some(anchors) = anchors {
        check_trust(chain, anchors, now, &mut defects);
    }
    defects
}

/// Every defect of the certificates alone, without their key and without trust.
pub(super) fn defects_of_chain(chain: &Chain, expected: &Expected, now: Timestamp) -> Vec<Defect> {
    let leaf = chain.leaf();
    let mut defects = Vec::new();
    check_names(leaf, expected, &mut defects);
    check_common_names(leaf, expected, &mut defects);
    check_dates(chain, now, &mut defects);
    if leaf.is_ca {
        defects.push(Defect::LeafIsCa);
    }
    check_usages(leaf, expected, &mut defects);
    check_strength(chain, &mut defects);
    check_links(chain, &mut defects);
    defects
}

fn check_names(leaf: &Certificate, expected: &Expected, defects: &mut Vec<Defect>) {
    let wanted: Vec<String> = expected.dns_names.iter().map(|n| to_ascii(n).unwrap_or_else(|_| n.clone())).collect();
    let emails: Vec<String> = expected.emails.iter().map(|e| normal_email(e)).collect();
    let missing: Vec<String> =
        wanted.iter().filter(|name| !leaf.dns_names.iter().any(|p| covers(p, name))).cloned().collect();
    if !missing.is_empty() {
        defects.push(Defect::MissingNames(missing));
    }
    let has_email = |e: &String| leaf.emails.iter().any(|p| normal_email(p) == *e);
    let missing: Vec<String> = emails.iter().filter(|e| !has_email(e)).cloned().collect();
    if !missing.is_empty() {
        defects.push(Defect::MissingEmails(missing));
    }
    if expected.allow_extra_names {
        return;
    }
    let asked = |name: &str| wanted.iter().any(|w| w.eq_ignore_ascii_case(name));
    let mut extra: Vec<String> = leaf.dns_names.iter().filter(|n| !asked(n)).map(|n| printable(n)).collect();
    extra.extend(leaf.emails.iter().filter(|e| !emails.contains(&normal_email(e))).map(|e| printable(e)));
    extra.extend(leaf.ip_addresses.iter().map(ToString::to_string));
    if !extra.is_empty() {
        defects.push(Defect::UnexpectedNames(extra));
    }
    if !leaf.other_names.is_empty() {
        let mut kinds = leaf.other_names.clone();
        kinds.sort_unstable();
        kinds.dedup();
        defects.push(Defect::UnknownNameKinds(kinds));
    }
}

fn normal_email(address: &str) -> String {
    to_ascii_email(address).unwrap_or_else(|_| address.to_owned())
}

fn check_common_names(leaf: &Certificate, expected: &Expected, defects: &mut Vec<Defect>) {
    for name in &leaf.common_names {
        let normal = to_ascii(name).unwrap_or_else(|_| name.clone());
        let among_sans = leaf.dns_names.iter().any(|n| n.eq_ignore_ascii_case(&normal))
            || leaf.emails.iter().any(|e| normal_email(e) == normal_email(name))
            || leaf.ip_addresses.iter().any(|ip| ip.to_string() == *name);
        // A certificate for people, without any host name, carries a person's name when it was asked for.
        let person = leaf.dns_names.is_empty() && expected.common_name.as_deref() == Some(name.as_str());
        if !among_sans && !person {
            defects.push(Defect::CommonNameNotInSans(printable(name)));
        }
    }
}

fn check_dates(chain: &Chain, now: Timestamp, defects: &mut Vec<Defect>) {
    for (number, cert) in (1..).zip(chain.iter()) {
        let subject = || cert.label();
        if now > cert.not_after {
            defects.push(Defect::Expired { number, subject: subject(), not_after: cert.not_after });
        }
        if now < cert.not_before {
            defects.push(Defect::NotYetValid { number, subject: subject(), not_before: cert.not_before });
        }
    }
}

fn check_usages(leaf: &Certificate, expected: &Expected, defects: &mut Vec<Defect>) {
    if let Some(found) = &leaf.extended_usages {
        let missing = expected.usages.iter().filter(|u| !found.usages.contains(u));
        defects.extend(missing.map(|u| Defect::MissingUsage(*u)));
    }
    if leaf.key_usage.is_some_and(|u| !u.digital_signature) {
        defects.push(Defect::NoDigitalSignature);
    }
}

fn check_strength(chain: &Chain, defects: &mut Vec<Defect>) {
    for (number, cert) in (1..).zip(chain.iter()) {
        let subject = || cert.label();
        if !cert.public_key.is_some_and(|k| k.is_strong()) {
            let kind = cert.public_key.map_or("of an unknown kind".to_owned(), |k| k.to_string());
            defects.push(Defect::WeakKey { number, subject: subject(), kind });
        }
        // Nobody checks the signature of a root on itself.
        let root = number > 1 && cert.is_root();
        if !cert.signature_accepted && !root {
            defects.push(Defect::WeakSignature { number, subject: subject() });
        }
    }
}

fn check_links(chain: &Chain, defects: &mut Vec<Defect>) {
    for (number, (cert, issuer)) in (1..).zip(chain.iter().zip(chain.rest())) {
        // What cannot be checked because of a weak key or signature is reported as such already.
        let uncheckable = !cert.is_verifiable_by(issuer);
        match cert.signed_by(issuer) {
            Ok(()) => {}
            Err(LinkError::Algorithm | LinkError::Signature) if uncheckable => {}
            Err(reason) => {
                defects.push(Defect::ChainBroken { number, subject: cert.label(), issuer: issuer.label(), reason })
            }
        }
    }
}

fn check_trust(chain: &Chain, anchors: &Anchors, now: Timestamp, defects: &mut Vec<Defect>) {
    let dates_known = defects.iter().any(|d| matches!(d, Defect::Expired { .. } | Defect::NotYetValid { .. }));
    match judge_path(chain, anchors, now) {
        Ok(()) => {}
        // The dates are reported once.
        Err(ChainVerdict::Expired { .. } | ChainVerdict::NotYetValid { .. }) if dates_known => {}
        Err(verdict) => defects.push(Defect::NotTrusted(verdict)),
    }
}
