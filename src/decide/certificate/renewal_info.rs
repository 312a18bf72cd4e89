//! When the CA is asked about the active certificate's renewal (RFC 9773), and what is made of its answer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::ari::{self, Window};
use super::checks::Trigger;
use super::state::State;
use super::world::{AcmeView, Action, RenewalAnswer};
use crate::api::certificate::RenewalInfo;
use crate::api::reasons::{certificate as reason, finding};

/// Asks the CA, where it is time to. At most once in a pass.
pub fn ask(state: &State<'_>) -> Option<Action> {
    let due = next(state)?;
    let asked = state.world.learnt.renewal_info.is_some();
    let certificate_id = state.active.as_ref()?.ari_id.clone()?;
    (!asked && due <= state.world.now).then_some(Action::FetchRenewalInfo { certificate_id })
}

/// When the CA is asked next; `None` where it has nothing to say.
pub fn next(state: &State<'_>) -> Option<Timestamp> {
    let world = state.world;
    let acme = world.issuer.acme().filter(|a| a.renewal_info && state.spec.options.renewal.ari)?;
    let active = state.active.as_ref().filter(|a| a.issuer_ref == state.issuer_ref())?;
    let id = active.ari_id.as_deref()?;
    if acme.account_uri.is_none() || world.now >= active.not_after.0 {
        return None;
    }
    Some(match &world.learnt.renewal_info {
        Some(answer) if answer.certificate_id == id => next_after(world.now, answer, &uid(state)),
        // What is known is about the certificate before.
        _ if world.learnt.activated.is_some() => world.now,
        _ => world.next_renewal_check.unwrap_or(world.now),
    })
}

/// When the CA is asked again after this answer.
pub fn next_after(now: Timestamp, answer: &RenewalAnswer, uid: &str) -> Timestamp {
    ari::next_check(now, answer.retry_after, uid, &answer.certificate_id)
}

/// Takes in the CA's answer. One that makes no sense changes nothing but the findings.
pub fn take_in(state: &mut State<'_>) {
    let known = state.active.as_ref().and_then(|a| a.ari_id.clone());
    state.renewal_info.take_if(|info| Some(&info.certificate_id) != known.as_ref());
    let (Some(answer), Some(active)) = (&state.world.learnt.renewal_info, state.active.clone()) else { return };
    if active.ari_id.as_ref() != Some(&answer.certificate_id) {
        return;
    }
    let judged = answer.window.clone().and_then(|w| {
        let window = Window { start: w.start, end: w.end };
        ari::sensible(&window, active.not_before.0, active.not_after.0)?;
        Ok((window, w.explanation_url))
    });
    let problem = judged
        .as_ref()
        .err()
        .map(|words| format!("the CA's renewal information is not used, so a share of the lifetime decides: {words}"));
    state.find(finding::RENEWAL_INFO_IGNORED, "renewalInfo", problem);
    if let Ok((window, explanation_url)) = judged {
        let renew_at = ari::renewal_moment(&window, &uid(state), &answer.certificate_id);
        state.renewal_info = Some(RenewalInfo {
            certificate_id: answer.certificate_id.clone(),
            start: Time(window.start),
            end: Time(window.end),
            renew_at: Time(renew_at),
            explanation_url,
        });
    }
}

/// The moment that the CA's suggestion gives, in place of `fallback`.
pub fn effective(state: &State<'_>, fallback: Timestamp) -> Timestamp {
    let (Some(active), Some(info)) = (&state.active, &state.renewal_info) else { return fallback };
    if !state.spec.options.renewal.ari || active.ari_id.as_ref() != Some(&info.certificate_id) {
        return fallback;
    }
    let options = &state.spec.options.renewal;
    let window = Window { start: info.start.0, end: info.end.0 };
    let validity = (active.not_before.0, active.not_after.0);
    let moment = ari::effective(fallback, Some(&window), validity, &uid(state), &info.certificate_id).at;
    // Who sets a time of their own gets it, or an earlier one.
    let own = options.before.is_some() || options.before_percentage.is_some();
    if own { moment.min(fallback) } else { moment }
}

/// The certificate that an order for these names replaces, and whether the CA asked for that.
pub fn replaced(state: &State<'_>, acme: &AcmeView, trigger: &Trigger, names: &[String]) -> (Option<String>, bool) {
    let active = state.active.as_ref().filter(|a| acme.renewal_info && a.issuer_ref == state.issuer_ref());
    let Some(active) = active.filter(|a| a.dns_names.iter().any(|n| names.contains(n))) else { return (None, false) };
    let due = trigger.reason == reason::RENEWAL_DUE;
    let suggested = state.renewal_info.as_ref().is_some_and(|i| i.start.0 <= state.world.now);
    (active.ari_id.clone(), active.ari_id.is_some() && due && suggested)
}

fn uid(state: &State<'_>) -> String {
    state.world.object.uid().unwrap_or_default()
}
