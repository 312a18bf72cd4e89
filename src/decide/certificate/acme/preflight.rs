//! What DNS says of the names before an order is made. Each problem is a finding; only what is certain to fail stops.

use super::super::Step;
use super::super::names::Wanted;
use super::super::state::State;
use super::super::world::{AcmeView, NameLook, StepFailure};
use super::{omit, persist, solvers};
use crate::api::certificate::{ChallengeType, TxtRecord};
use crate::api::reasons::{certificate as reason, finding};
use crate::decide::backoff::Pace;
use crate::decide::caa::{self, Verdict};

/// What was found out before an order.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Names for which the CA would refuse, and why.
    stops: Vec<(String, String)>,
    /// Records that a person has to set.
    records: Vec<TxtRecord>,
}

/// Takes in what DNS says: each problem becomes a finding.
pub fn take_in(state: &mut State<'_>) {
    let world = state.world;
    let (Some(looks), Some(acme)) = (&world.learnt.preflight, world.issuer.acme()) else { return };
    let mut found = Found::default();
    for look in looks {
        address(state, look);
        if let Some(words) = caa(state, acme, look).filter(|_| acme.caa_required) {
            found.stops.push((look.name.clone(), words));
        }
        if let Some((record, words)) = persistent(state, acme, look) {
            found.records.push(record);
            found.stops.push((look.name.clone(), words));
        }
    }
    state.preflight = found;
}

/// The step to take where an order would be in vain.
pub fn judge(state: &mut State<'_>, wanted: &Wanted) -> Option<Step> {
    let Found { stops, records } = std::mem::take(&mut state.preflight);
    state.attempt.as_mut()?.wanted_records = records;
    let (legacy, required): (Vec<_>, Vec<_>) =
        stops.into_iter().partition(|(name, _)| wanted.legacy.contains_key(name));
    if !required.is_empty() {
        let words: Vec<String> = required.into_iter().map(|(name, words)| format!("{name}: {words}")).take(5).collect();
        let message = format!("the CA would refuse, so it was not asked: {}", words.join("; "));
        let why = reason::PREFLIGHT_FAILED;
        let failure = StepFailure { pace: Pace::Transient, reason: why, message, retry_after: None, order_lost: false };
        state.fail(&failure);
        return Some(Step::failing(state));
    }
    (!legacy.is_empty()).then(|| omit(state, legacy))
}

fn address(state: &mut State<'_>, look: &NameLook) {
    let (missing, failed) = match &look.has_address {
        Some(Ok(false)) => (
            Some(format!(
                "{} has no A or AAAA record, so the CA cannot connect to it: add one, or use a dns01 solver",
                look.name
            )),
            None,
        ),
        Some(Err(words)) => (None, Some(format!("the addresses of {} cannot be looked up: {words}", look.name))),
        Some(Ok(true)) | None => (None, None),
    };
    state.find(finding::NO_ADDRESS, &look.name, missing);
    state.find(finding::DNS_FAILED, &look.name, failed);
}

/// Why a CAA record forbids the CA, if one does.
fn caa(state: &mut State<'_>, acme: &AcmeView, look: &NameLook) -> Option<String> {
    let method = solvers::best(acme, &look.name).map(|s| s.how.kind().as_str()).unwrap_or_default();
    let (forbids, unclear) = match &look.caa {
        None => (None, None),
        Some(Err(words)) => (
            None,
            Some(format!(
                "the CAA records of {} cannot be looked up, and a CA that cannot either refuses: {words}",
                look.name
            )),
        ),
        Some(Ok((at, records))) => {
            let uri = acme.account_uri.as_deref();
            let at = at.as_deref().unwrap_or(&look.name);
            let wildcard = look.name.starts_with("*.");
            match caa::verdict(records, at, &acme.caa_identities, uri, method, wildcard) {
                Verdict::Allows => (None, None),
                Verdict::Refuses(words) => (Some(words), None),
                Verdict::Unsure(words) => (None, Some(words)),
            }
        }
    };
    state.find(finding::CAA_FORBIDS, &look.name, forbids.clone());
    state.find(finding::CAA_UNCLEAR, &look.name, unclear);
    forbids
}

/// The record that has to be set for DNS-PERSIST-01, and what is wrong, where it is not there.
fn persistent(state: &State<'_>, acme: &AcmeView, look: &NameLook) -> Option<(TxtRecord, String)> {
    let solver = solvers::best(acme, &look.name).filter(|s| s.how.kind() == ChallengeType::DnsPersist01)?;
    let wanted = persist::Wanted::of(acme, &look.name, &solver.how)?;
    let found = look.persist.as_ref()?;
    let problem = match found {
        Err(words) => format!("its TXT records cannot be looked up: {words}"),
        Ok(values) => wanted.problem(values, state.world.now)?,
    };
    let record = wanted.record();
    let words = format!("{problem}; set once: {}. IN TXT \"{}\"", record.name, record.value);
    solver.self_check.then_some((record, words))
}
