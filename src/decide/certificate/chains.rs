//! Which of the chains that a CA offers is taken (RFC 8555, section 7.4.2).

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::world::{AcmeView, Download, Fresh, KeyPair};
use crate::api::certificate::{Finding, IssuedChain};
use crate::api::reasons::finding as reason;
use crate::pki::{Anchors, Chain, judge_path};

/// The chain to take: the first that leads to an anchor and is the preferred one, else the first that leads to an
/// anchor, else the CA's own choice.
pub fn choose(download: Download, acme: Option<&AcmeView>, now: Timestamp) -> (Fresh, Vec<Finding>) {
    let Download { revision, key, origin, chains } = download;
    let preferred = acme.and_then(|a| a.preferred_chain.as_deref());
    let anchors = anchors(acme);
    let anchored = |chain: &Chain| judge_path(chain, &anchors, now).is_ok();
    let is_preferred = |chain: &Chain| preferred.is_none_or(|name| leads_to(chain, name));
    let best = chains.iter().position(|c| is_preferred(c) && anchored(c));
    let best = best.or_else(|| chains.iter().position(is_preferred));
    let best = best.or_else(|| chains.iter().position(anchored)).unwrap_or(0);
    let mut findings = Vec::new();
    if let Some(name) = preferred.filter(|name| !chains.iter().any(|c| leads_to(c, name))) {
        let offered: Vec<String> = chains.iter().filter_map(|c| issuers(c).pop()).collect();
        findings.push(Finding {
            reason: reason::CHAIN_NOT_OFFERED.to_owned(),
            about: name.to_owned(),
            message: format!(
                "the CA offers no chain to {name}: it offers {}; its own choice was taken. Correct preferredChain",
                offered.join(", ")
            ),
        });
    }
    let mut chains = chains;
    let chain = chains.swap_remove(best.min(chains.len().saturating_sub(1)));
    // What readers may take as trust anchor: the topmost certificate that the CA sent.
    let ca = chain.rest().last().cloned().into_iter().collect();
    let pair = KeyPair { key, chain: Arc::new(chain), ca: Arc::new(ca), canonical: true };
    (Fresh { revision, pair, origin }, findings)
}

/// What chains are verified to.
fn anchors(acme: Option<&AcmeView>) -> Anchors {
    acme.and_then(|a| a.trust_anchors.as_deref().cloned()).unwrap_or_else(Anchors::mozilla)
}

/// Whether a certificate of the chain, or the issuer of its topmost one, has this common name.
fn leads_to(chain: &Chain, name: &str) -> bool {
    let top = chain.rest().last().unwrap_or(chain.leaf());
    top.issuer_common_names.iter().chain(chain.rest().iter().flat_map(|c| &c.common_names)).any(|n| n == name)
}

/// The issuers' names, from the leaf's upwards.
fn issuers(chain: &Chain) -> Vec<String> {
    let all = std::iter::once(chain.leaf()).chain(chain.rest());
    all.map(|c| c.issuer_common_names.first().unwrap_or(&c.issuer).clone()).collect()
}

/// What the status says of a chain, and why it leads to no anchor, if it does not.
pub fn described(chain: &Chain, acme: Option<&AcmeView>, now: Timestamp) -> (IssuedChain, Option<String>) {
    let issuers = issuers(chain);
    match judge_path(chain, &anchors(acme), now) {
        Ok(()) => (IssuedChain { anchor: issuers.last().cloned(), issuers }, None),
        Err(verdict) => {
            let message = format!(
                "the chain leads to no root of Mozilla's list, so clients must be told to trust it ({verdict}). Where that \
                 is intended, name the CA's roots in the MailIssuer's trustAnchors"
            );
            (IssuedChain { anchor: None, issuers }, Some(message))
        }
    }
}
