//! Revoking the active certificate when it is asked for (RFC 8555, section 7.6).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Step;
use super::state::State;
use super::world::{Action, IssuerView, SecretView};
use crate::api::certificate::Revocation;
use crate::api::keys;
use crate::api::reasons::finding;
use crate::api::revocation::RevocationReason;
use crate::decide::backoff;

/// The step towards a revocation that was asked for and has not happened yet.
pub fn step(state: &mut State<'_>) -> Option<Step> {
    let asked = state.revocation_asked()?.to_owned();
    let Some(reason) = reason_of(&asked) else {
        let known: Vec<&str> = RevocationReason::ALL.iter().map(|r| r.as_str()).collect();
        let message = format!(
            "the annotation {} does not name a reason, so nothing is revoked: use one of {}",
            keys::REVOKE,
            known.join(", ")
        );
        state.find(finding::NOT_REVOKED, keys::REVOKE, Some(message));
        return None;
    };
    match &state.world.issuer {
        IssuerView::Acme(_) => {}
        // They revoke nothing: another certificate with another key is all there is.
        IssuerView::SelfSigned | IssuerView::Ca(_) | IssuerView::CertManager(_) => return None,
        // Their words are shown already.
        IssuerView::Import(_) | IssuerView::NotFound | IssuerView::NotAllowed(_) | IssuerView::NotReady(_) => {
            return None;
        }
    }
    state.find(finding::NOT_REVOKED, keys::REVOKE, None);
    let waits = state.attempt.as_ref().and_then(|a| a.retry_time.as_ref()).map(|t| t.0);
    let failed_before = state.attempt.as_ref().is_some_and(|a| a.reason == super::reason::REVOCATION_REQUESTED);
    if failed_before && backoff::waits(waits, state.world.now) {
        return Some(Step::failing(state));
    }
    match &state.world.secret {
        SecretView::Ours(secret) if state.holds_active(secret) => {
            let pair = secret.content.as_ref().ok()?.clone();
            Some(Step::act(vec![Action::Revoke { pair, reason }]))
        }
        SecretView::Unchanged => Some(Step::act(vec![Action::ReadSecret])),
        // A Secret that was damaged is put right first.
        _ => None,
    }
}

impl State<'_> {
    /// The annotation's value, where it was not acted upon yet.
    pub(super) fn revocation_asked(&self) -> Option<&str> {
        let asked = self.world.object.metadata.annotations.as_ref()?.get(keys::REVOKE)?;
        let new = self.revoke_seen.as_ref() != Some(asked) && !asked.is_empty();
        (new && self.active.is_some()).then_some(asked.as_str())
    }

    /// The annotation's value, where the issuer cannot revoke and the active revision is only to be replaced.
    pub(super) fn replacement_asked(&self) -> Option<&str> {
        let local =
            matches!(self.world.issuer, IssuerView::SelfSigned | IssuerView::Ca(_) | IssuerView::CertManager(_));
        self.revocation_asked().filter(|asked| local && reason_of(asked).is_some())
    }

    /// Remembers that the revision was replaced, and says what that does not do.
    pub(super) fn take_in_replacement(&mut self, asked: Option<String>) {
        let Some(asked) = asked else { return };
        let message = "this kind of issuer revokes nothing: the certificate was replaced by one with another key, and \
                       counts until it expires wherever it was copied to"
            .to_owned();
        self.find(finding::NOT_REVOKED, keys::REVOKE, Some(message));
        self.revoke_seen = Some(asked);
    }

    /// Whether the active revision is to be replaced because it was revoked.
    pub(super) fn is_revoked(&self) -> bool {
        let (Some(active), Some(revocation)) = (&self.active, &self.revocation) else { return false };
        active.serial == revocation.serial
    }

    /// Remembers that the active revision was revoked.
    pub(super) fn take_in_revocation(&mut self) {
        let annotation = self.world.object.metadata.annotations.as_ref().and_then(|a| a.get(keys::REVOKE));
        if annotation.is_none() {
            // Asked for once more with the same words, it is done once more.
            self.revoke_seen = None;
        }
        let asked = self.revocation_asked().map(str::to_owned).filter(|_| self.world.learnt.revoked);
        let (Some(asked), Some(active)) = (asked, &self.active) else { return };
        let Some(reason) = reason_of(&asked) else { return };
        self.revocation = Some(Revocation {
            revision: active.revision,
            serial: active.serial.clone(),
            reason: reason.as_str().to_owned(),
            time: Time(self.world.now),
        });
        self.revoke_seen = Some(asked);
        // What is done now has nothing to do with what an earlier attempt waited for.
        if let Some(attempt) = &mut self.attempt {
            attempt.retry_time = None;
        }
    }
}

/// The reason in the annotation's value; what stands behind a colon only makes it another value.
fn reason_of(asked: &str) -> Option<RevocationReason> {
    RevocationReason::named(asked.split(':').next().unwrap_or_default().trim())
}
