//! An order that waits for its authorizations: challenges are shown, looked at, and answered.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

use super::super::Step;
use super::super::names::Wanted;
use super::super::state::State;
use super::super::world::{AcmeView, Action, Asked, Check, How, OrderView, Routed, SolverView};
use super::{fail, omit, solvers, waiting_text};
use crate::api::certificate::{Challenge, ChallengeType, Failure, Order};
use crate::api::reasons::certificate as reason;
use crate::decide::backoff::{self, Pace};

/// Self-checks of a legacy name before it is left out.
const LEGACY_PATIENCE: i32 = 3;
/// Looks for a TXT record before its absence is called a failure: secondaries take their time.
const DNS_PATIENCE: i32 = 10;

/// The next step of an order that is pending.
pub fn step(state: &mut State<'_>, wanted: &Wanted, acme: &AcmeView, order: &Order, view: &OrderView) -> Step {
    let open = view.authorizations.iter().filter(|a| !a.valid);
    if let Some(lacking) = open.clone().find(|a| solvers::chosen(acme, a).is_none()) {
        let problem = solvers::not_offered(acme, lacking);
        if wanted.legacy.contains_key(&lacking.name) {
            return omit(state, vec![(lacking.name.clone(), problem)]);
        }
        return fail(state, reason::ORDER_REFUSED, problem);
    }
    let ways: Vec<Way<'_>> = open
        .filter_map(|a| {
            let (solver, shown) = solvers::chosen(acme, a)?;
            let challenge = order.challenges.iter().find(|c| c.name == a.name && !c.answered)?;
            Some(Way { solver, challenge, dns_value: shown.dns_value.as_deref() })
        })
        .collect();
    if let Some(step) = show(state, order, &ways) {
        return step;
    }
    if state.world.learnt.presented.values().any(Result::is_ok) {
        // The status first: a record that it does not know would never be removed.
        return Step::working(reason::ORDER_PENDING, waiting_text(order), state.soon(1));
    }
    let checks: Vec<Action> = ways.iter().filter_map(|way| way.check(state)).collect();
    if !checks.is_empty() {
        return Step::act(checks);
    }
    let asked: Vec<Asked> = ways
        .iter()
        .filter(|way| way.passes(state))
        .map(|way| Asked { name: way.challenge.name.clone(), kind: way.challenge.type_ })
        .collect();
    if !asked.is_empty() {
        return Step::act(vec![Action::Answer { url: order.url.clone(), asked }]);
    }
    let hopeless = |c: &&Challenge| wanted.legacy.contains_key(&c.name) && c.failures >= patience(c, LEGACY_PATIENCE);
    match ways.iter().map(|w| w.challenge).find(hopeless) {
        Some(legacy) => omit(state, vec![(legacy.name.clone(), legacy.problem.clone().unwrap_or_default())]),
        None => wait(state, order, view, &ways),
    }
}

/// A challenge that the CA was not told of yet, and how it is answered.
struct Way<'a> {
    solver: &'a SolverView,
    challenge: &'a Challenge,
    dns_value: Option<&'a str>,
}

impl Way<'_> {
    /// The look to take before the CA does, if it has not been taken in this pass.
    fn check(&self, state: &State<'_>) -> Option<Action> {
        let c = self.challenge;
        if !self.solver.self_check || state.world.learnt.self_checks.contains_key(&c.name) {
            return None;
        }
        let check = match c.type_ {
            ChallengeType::Http01 => {
                Check::Http01 { token: c.token.clone(), key_authorization: c.key_authorization.clone() }
            }
            ChallengeType::TlsAlpn01 => Check::TlsAlpn01 { key_authorization: c.key_authorization.clone() },
            ChallengeType::Dns01 => Check::Dns01 { record: c.record.clone()? },
            // Looked at before the order was made.
            ChallengeType::DnsPersist01 => return None,
        };
        Some(Action::SelfCheck { name: c.name.clone(), check })
    }

    /// Whether the CA can be told of it.
    fn passes(&self, state: &State<'_>) -> bool {
        let c = self.challenge;
        let shown = c.type_ != ChallengeType::Dns01 || c.record.is_some();
        let checked = || state.world.learnt.self_checks.get(&c.name).is_some_and(Result::is_ok);
        shown && (!self.solver.self_check || c.type_ == ChallengeType::DnsPersist01 || checked())
    }
}

/// Makes challenges reachable: routes to the operator, TXT records.
fn show(state: &State<'_>, order: &Order, ways: &[Way<'_>]) -> Option<Step> {
    let learnt = &state.world.learnt;
    let routed = |way: &&Way<'_>| matches!(way.solver.how, How::Http01 { exposes: true });
    if !order.exposed && !learnt.unexposed && ways.iter().any(|w| routed(&w)) {
        let challenges = ways.iter().filter(routed);
        let challenges = challenges.map(|w| Routed {
            name: w.challenge.name.clone(),
            token: w.challenge.token.clone(),
            solver: w.solver.index,
        });
        return Some(Step::act(vec![Action::Expose { challenges: challenges.collect() }]));
    }
    let present: Vec<Action> = ways
        .iter()
        .filter(|w| w.challenge.type_ == ChallengeType::Dns01 && w.challenge.record.is_none())
        .filter(|w| !learnt.presented.contains_key(&w.challenge.name))
        .filter_map(|w| {
            let value = w.dns_value?.to_owned();
            Some(Action::Present { name: w.challenge.name.clone(), solver: w.solver.index, value })
        })
        .collect();
    (!present.is_empty()).then(|| Step::act(present))
}

fn patience(challenge: &Challenge, otherwise: i32) -> i32 {
    match challenge.type_ {
        ChallengeType::Dns01 | ChallengeType::DnsPersist01 => DNS_PATIENCE,
        ChallengeType::Http01 | ChallengeType::TlsAlpn01 => otherwise,
    }
}

fn wait(state: &mut State<'_>, order: &Order, view: &OrderView, ways: &[Way<'_>]) -> Step {
    let problems = ways.iter().filter_map(|w| Some((w.challenge, w.challenge.problem.as_ref()?)));
    let failing: Vec<String> = problems.clone().map(|(c, p)| format!("{}: {p}", c.name)).take(3).collect();
    let poll = state.poll(order, view);
    let now = state.world.now;
    let Some(attempt) = &mut state.attempt else { return Step::default() };
    if failing.is_empty() {
        attempt.last_failure.take_if(|f| f.reason == reason::SELF_CHECK_FAILED);
        return Step::working(reason::ORDER_PENDING, waiting_text(order), poll);
    }
    // Records that are on their way to the secondaries are no failure yet.
    let on_their_way = problems.clone().all(|(c, _)| c.record.is_some() && c.failures < DNS_PATIENCE);
    let failures = ways.iter().map(|w| w.challenge.failures).max().unwrap_or(1);
    let pause = match on_their_way {
        true => SignedDuration::from_secs(2 * i64::from(failures.max(1))),
        false => backoff::pause(Pace::Transient, failures, None).min(SignedDuration::from_mins(5)),
    };
    let unpublished = problems.clone().any(|(c, _)| c.type_ == ChallengeType::Dns01 && c.record.is_none());
    let (why, message) = if on_their_way {
        (
            reason::ORDER_PENDING,
            format!("waiting for the TXT record on every authoritative server: {}", failing.join("; ")),
        )
    } else if unpublished {
        (reason::PRESENT_FAILED, format!("the TXT record cannot be published: {}", failing.join("; ")))
    } else {
        (reason::SELF_CHECK_FAILED, unreachable(&failing, problems.map(|(c, _)| c.type_).collect()))
    };
    // No failure of the attempt, but no pass before that time looks again, whatever woke it.
    attempt.last_failure = Some(Failure { reason: why.to_owned(), message });
    attempt.retry_time = now.checked_add(pause).ok().map(Time);
    Step::failing(state)
}

fn unreachable(failing: &[String], types: Vec<ChallengeType>) -> String {
    let what = match types.first() {
        Some(ChallengeType::Http01) => "Let port 80 of the name lead to the operator's challenge Service",
        Some(ChallengeType::TlsAlpn01) => {
            "Let port 443 of the name lead to the operator's challenge Service, with nothing that ends TLS on the way"
        }
        _ => "See that every authoritative server of the zone gets its changes",
    };
    format!(
        "the challenge cannot be reached from the operator, so the CA was not asked: {}. {what}, or set selfCheck: Skip \
         where only this look fails",
        failing.join("; ")
    )
}
