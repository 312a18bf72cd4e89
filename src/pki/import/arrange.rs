//! Puts what was found in order: which key, which leaf, its issuers, its root, and what is left over.

use std::sync::Arc;

use super::{
    Finding, Imported, Request,
    material::{FoundCertificate, FoundKey, Material},
    names::is_for_roots,
};
use crate::api::reasons::import as code;
use crate::pki::{
    cert::Certificate,
    chain::Chain,
    key::PrivateKey,
    trust::{listed, mozilla_issuer},
};

/// The most issuers above a leaf.
const DEPTH: usize = 10;
/// How many certificates of the same name are tried as issuer of one.
pub(super) const CANDIDATES: usize = 16;

pub(super) fn arrange(material: Material, request: &Request<'_>) -> (Imported, Vec<Finding>) {
    let Material { certificates, keys, mut findings, closed, .. } = material;
    if certificates.is_empty() && !closed {
        let message = "there is no certificate in it; give the file with -----BEGIN CERTIFICATE----- too";
        findings.push(Finding::error(code::NO_CERTIFICATE, &inputs(request), message));
    }
    if keys.is_empty() && !closed {
        let message = "there is no private key in it; give the file with -----BEGIN PRIVATE KEY----- too";
        findings.push(Finding::error(code::NO_KEY, &inputs(request), message));
    }
    let own = leaf(&certificates, &keys);
    let only_cas = own.and_then(|leaf| only_cas(leaf, &certificates, &keys, closed));
    let Some(leaf) = own.filter(|_| only_cas.is_none()) else {
        findings.extend(only_cas.map(|message| Finding::error(code::NO_CERTIFICATE, &inputs(request), message)));
        let key = keys.into_iter().next().map(|k| k.key);
        let left_out = certificates.into_iter().map(|found| found.certificate).collect();
        return (Imported { key, left_out, ..Imported::default() }, findings);
    };
    let key = key_of(&certificates[leaf], &certificates, &keys, &mut findings);
    let path = Path::build(leaf, &certificates, request, &mut findings);
    tell_order(&path, &certificates, &mut findings);
    let imported = path.into_imported(&certificates, key, request, &mut findings);
    (imported, findings)
}

fn inputs(request: &Request<'_>) -> String {
    request.inputs.iter().map(|i| i.name).collect::<Vec<_>>().join(", ")
}

/// Which certificate is the server's own: the one that a key belongs to, before all others.
fn leaf(certificates: &[FoundCertificate], keys: &[FoundKey]) -> Option<usize> {
    let has_key = |c: &Certificate| keys.iter().any(|k| k.key.spki_der() == c.spki_der());
    let rank = |index: &usize| {
        let c = &certificates[*index].certificate;
        // Of several for one key, as after a renewal with the same key, the one that lasts longest.
        let lasts = has_key(c).then_some(c.not_after);
        (has_key(c), !c.is_ca, lasts, std::cmp::Reverse(*index))
    };
    (0..certificates.len()).max_by_key(rank)
}

/// What to say where all there is besides a key, or besides what could not be read, are certificates of CAs: none of them is the
/// server's own, and to judge one as if it were would mislead.
fn only_cas(leaf: usize, certificates: &[FoundCertificate], keys: &[FoundKey], closed: bool) -> Option<String> {
    let chosen = &certificates[leaf].certificate;
    let key_is_elsewhere = keys.iter().all(|k| k.key.spki_der() != chosen.spki_der()) && (closed || !keys.is_empty());
    // One that is signed by itself may well be the server's, made with the defaults of `openssl req -x509`.
    let single = certificates.len() == 1 && chosen.self_issued;
    if !chosen.is_ca || !key_is_elsewhere || single {
        return None;
    }
    let labels: Vec<String> = certificates.iter().map(|found| found.certificate.label()).collect();
    Some(format!(
        "there are only CA certificates in what can be read ({}), and none belongs to a key; give the server's own certificate too",
        listed(&labels)
    ))
}

/// What a certificate is called among others: with more than its name where another one has the same, as after a renewal.
fn told_apart(certificate: &Certificate, certificates: &[FoundCertificate]) -> String {
    let label = certificate.label();
    let namesake = |found: &FoundCertificate| {
        found.certificate.fingerprint != certificate.fingerprint && found.certificate.label() == label
    };
    match certificates.iter().any(namesake) {
        true => format!("{label} (serial {}, valid until {})", certificate.serial, certificate.not_after),
        false => label,
    }
}

/// The key that belongs to the leaf, with what is wrong about keys.
fn key_of(
    leaf: &FoundCertificate,
    certificates: &[FoundCertificate],
    keys: &[FoundKey],
    findings: &mut Vec<Finding>,
) -> Option<Arc<PrivateKey>> {
    let owner = |key: &FoundKey| certificates.iter().find(|c| c.certificate.spki_der() == key.key.spki_der());
    let own = keys.iter().find(|k| k.key.spki_der() == leaf.certificate.spki_der());
    if keys.len() > 1 {
        let belongs = |key: &FoundKey| match owner(key) {
            Some(found) => format!("{} belongs to {}", key.origin, told_apart(&found.certificate, certificates)),
            None => format!("{} belongs to no certificate here", key.origin),
        };
        let told = keys.iter().take(10).map(belongs).collect::<Vec<_>>().join("; ");
        let message = format!("there are {} private keys: {told}", keys.len());
        findings.push(match keys.iter().filter(|k| owner(k).is_some_and(|c| !c.certificate.is_ca)).count() {
            1 => Finding::warning(
                code::SEVERAL_KEYS,
                &leaf.input_name,
                format!("{message}. The one with a certificate is taken; remove the others"),
            ),
            _ => Finding::error(
                code::SEVERAL_KEYS,
                &leaf.input_name,
                format!("{message}. Keep only the one that the server shall use"),
            ),
        });
    }
    let Some(own) = own else {
        let key = keys.first()?;
        let message = format!(
            "the private key in {} belongs to none of the {} certificates; give the key that {} was requested with (its public key \
             has the SHA-256 {}), or the certificate of this key ({})",
            key.origin,
            certificates.len(),
            told_apart(&leaf.certificate, certificates),
            leaf.certificate.spki_sha256,
            key.key.spki_sha256()
        );
        findings.push(Finding::error(code::KEY_MISMATCH, &leaf.certificate.label(), message));
        return Some(key.key.clone());
    };
    // A server that is given this file takes its first certificate. An issuer that stands first is put behind; a
    // second server certificate there is more likely a mistake of the one who made the file.
    let first = certificates.iter().find(|c| c.ordered && !c.certificate.is_ca);
    if let Some(first) = first.filter(|f| f.certificate.spki_der() != leaf.certificate.spki_der()) {
        let message = format!(
            "the private key in {} does not belong to the first certificate, {}, but to {} in {}; remove the certificate that is not meant, \
             or give the other key",
            own.origin,
            told_apart(&first.certificate, certificates),
            told_apart(&leaf.certificate, certificates),
            leaf.input_name
        );
        findings.push(Finding::error(code::KEY_MISMATCH, &first.certificate.label(), message));
    }
    Some(own.key.clone())
}

/// The way from the leaf upwards, as far as it is known.
struct Path {
    /// The certificates of the inputs in it, the leaf first.
    found: Vec<usize>,
    /// All of it, the leaf first, without a root.
    chain: Vec<Certificate>,
    root: Option<Certificate>,
}

impl Path {
    fn build(
        leaf: usize,
        certificates: &[FoundCertificate],
        request: &Request<'_>,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut path = Self { found: vec![leaf], chain: vec![certificates[leaf].certificate.clone()], root: None };
        while path.chain.len() <= DEPTH {
            let Some(top) = path.chain.last().filter(|top| !top.is_root() || path.chain.len() > 1) else { break };
            let unused = certificates.iter().enumerate().filter(|(i, _)| !path.found.contains(i));
            let given = named(top, unused.map(|(i, c)| (Some(i), &c.certificate)));
            let further = named(top, request.extra_issuers.iter().map(|c| (None, c)));
            let Some((index, next)) = issuer(top, given.chain(further)) else { break };
            if path.chain.iter().any(|c| c.fingerprint == next.fingerprint) {
                break;
            }
            let next = next.clone();
            path.found.extend(index);
            if next.is_root() {
                path.root = Some(next);
                break;
            }
            if index.is_none() {
                let message = format!("the missing issuer {} was added to the chain", next.label());
                findings.push(Finding::info(code::CHAIN_COMPLETED, &next.label(), message));
            }
            path.chain.push(next);
        }
        path
    }

    fn into_imported(
        self,
        certificates: &[FoundCertificate],
        key: Option<Arc<PrivateKey>>,
        request: &Request<'_>,
        findings: &mut Vec<Finding>,
    ) -> Imported {
        let mut ca: Vec<Certificate> = self.root.into_iter().collect();
        if ca.is_empty() {
            ca.extend(self.chain.last().and_then(|top| root_of(top, findings)));
        }
        let (mut left_out, mut labels) = (Vec::new(), Vec::new());
        for (_, found) in certificates.iter().enumerate().filter(|(i, _)| !self.found.contains(i)) {
            let c = &found.certificate;
            let known = ca.iter().any(|k| k.fingerprint == c.fingerprint);
            let kept = c.is_ca && c.is_root() && is_for_roots(&found.input_name);
            match (known, kept) {
                (true, _) => {}
                (false, true) => ca.push(c.clone()),
                (false, false) => {
                    left_out.push(c.clone());
                    // No more than these are shown.
                    labels.push(if labels.len() < 10 { told_apart(c, certificates) } else { c.label() });
                }
            }
        }
        if !left_out.is_empty() {
            let message = format!("certificates that do not belong to the chain were left out: {}", listed(&labels));
            findings.push(Finding::info(code::CERTIFICATES_LEFT_OUT, &self.chain[0].label(), message));
        }
        let mut chain = self.chain.into_iter();
        let chain = chain.next().map(|leaf| Chain::new(leaf, chain.collect()));
        if let Some(bytes) = chain.as_ref().map(|c| c.to_pem().len()).filter(|bytes| *bytes > request.limits.chain) {
            let message = format!("the chain has {bytes} bytes of PEM; at most {} are taken", request.limits.chain);
            findings.push(Finding::error(code::TOO_LARGE, &inputs(request), message));
        }
        Imported { key, chain, ca, left_out }
    }
}

/// The root of a chain that comes without it: the leaf itself when it is self-signed, or one of the Mozilla roots.
fn root_of(top: &Certificate, findings: &mut Vec<Finding>) -> Option<Certificate> {
    if top.is_root() {
        return Some(top.clone());
    }
    let root = mozilla_issuer(top)?;
    let message = format!("the root {} was added for ca.crt from the Mozilla roots", root.label());
    findings.push(Finding::info(code::ROOT_ADDED, &root.label(), message));
    Some(root)
}

/// Those of some certificates that have the name of `top`'s issuer, as many as are tried.
fn named<'c>(
    top: &Certificate,
    candidates: impl Iterator<Item = (Option<usize>, &'c Certificate)>,
) -> impl Iterator<Item = (Option<usize>, &'c Certificate)> {
    candidates
        .filter(move |(_, c)| c.subject_der() == top.issuer_der() && c.fingerprint != top.fingerprint)
        .take(CANDIDATES)
}

/// Which of the candidates issued `top`: before all others one whose key made the signature; then one that lasts as long as
/// `top` does, as a CA that has a newer certificate for the same key means that one to be used; then one of the inputs,
/// a root, and the one that lasts longest.
fn issuer<'c>(
    top: &Certificate,
    candidates: impl Iterator<Item = (Option<usize>, &'c Certificate)>,
) -> Option<(Option<usize>, &'c Certificate)> {
    candidates.max_by_key(|(index, c)| {
        let lasts = c.not_after >= top.not_after;
        (top.signed_by(c).is_ok(), lasts, index.is_some(), c.is_root(), c.not_after)
    })
}

/// Tells when a PEM input had the chain in another order.
fn tell_order(path: &Path, certificates: &[FoundCertificate], findings: &mut Vec<Finding>) {
    let disordered = path.found.windows(2).any(|pair| {
        let (lower, upper) = (&certificates[pair[0]], &certificates[pair[1]]);
        lower.ordered && lower.input == upper.input && pair[0] > pair[1]
    });
    if disordered {
        let leaf = &certificates[path.found[0]];
        let message = "the certificates were not in the order in which a server sends them, each followed by its issuer; they \
                       have been put in order";
        findings.push(Finding::info(code::CHAIN_REORDERED, &leaf.input_name, message));
    }
}
