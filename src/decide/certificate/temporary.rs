//! A self-signed certificate in the Secret until one is issued, so that pods that mount it can start.

use k8s_openapi::jiff::SignedDuration;

use super::Step;
use super::names::{self, Wanted};
use super::state::State;
use super::world::{Action, IssuerView, SecretView};
use crate::api::reasons::certificate as reason;
use crate::pki::{KeySpec, LeafSpec, SubjectSpec};

/// Its validity: long enough for an issuance that takes a person, short enough to be noticed.
const VALIDITY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Puts one in place where the spec asks for it and there is nothing in the Secret, or one that is nearly over.
pub fn step(state: &State<'_>, wanted: &Wanted) -> Option<Step> {
    let now = state.world.now;
    if !state.spec.options.issue_temporary || state.active.is_some() || state.world.learnt.temporary.is_some() {
        return None;
    }
    // These issue at once; and no key is made for what is imported.
    if matches!(state.world.issuer, IssuerView::SelfSigned | IssuerView::Ca(_) | IssuerView::Import(_)) {
        return None;
    }
    let over = match &state.world.secret {
        SecretView::Absent => None,
        SecretView::Temporary(t) if t.not_after.0.duration_since(now) < VALIDITY / 3 => {
            t.secret_resource_version.clone()
        }
        _ => return None,
    };
    let names = wanted.without([]);
    let leaf = LeafSpec {
        subject: SubjectSpec { dns_names: names.into_iter().collect(), ..SubjectSpec::default() },
        usages: names::usages(state.spec),
        not_before: now,
        not_after: now.checked_add(VALIDITY).unwrap_or(now),
        serial: None,
    };
    let key = match names::key_spec(&state.spec.options.private_key) {
        // RSA keys take seconds to make, and this one is to be replaced.
        spec if spec == KeySpec::ED25519 => spec,
        _ => KeySpec::P256,
    };
    Some(Step::act(vec![Action::WriteTemporary { key, leaf: Box::new(leaf), over }]))
}

/// What Ready says while it is in place.
pub fn said(state: &State<'_>, message: &str) -> Option<(&'static str, String)> {
    let temporary = state.temporary.as_ref().filter(|_| state.active.is_none())?;
    Some((
        reason::TEMPORARY,
        format!(
            "a self-signed certificate, valid until {}, stands in for the first one: {message}",
            temporary.not_after.0
        ),
    ))
}
