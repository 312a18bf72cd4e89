//! Events: what is new between two statuses. Derived, so that nothing is told twice and nothing is kept in memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::reasons::{certificate, condition, domain};

/// An Event to publish about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Normal, or Warning.
    pub warning: bool,
    /// The condition's reason.
    pub reason: String,
    /// What was being done: the condition's type.
    pub action: String,
    /// The condition's message.
    pub message: String,
}

/// One Note for every condition whose status or reason has changed, except where one says only what another says too.
pub fn of_conditions(old: &[Condition], new: &[Condition]) -> Vec<Note> {
    let changed =
        |c: &&Condition| !old.iter().any(|o| o.type_ == c.type_ && o.status == c.status && o.reason == c.reason);
    let mut notes: Vec<Note> = Vec::new();
    for c in new.iter().filter(changed) {
        if c.message.is_empty() || c.type_ == condition::RECONCILING || c.status == "Unknown" {
            continue;
        }
        if let Some(told) = notes.iter_mut().find(|n| n.reason == c.reason) {
            told.warning |= is_bad(c);
            continue;
        }
        notes.push(Note {
            warning: is_bad(c),
            reason: c.reason.clone(),
            action: c.type_.clone(),
            message: c.message.clone(),
        });
    }
    notes
}

/// Reasons for which a condition is False on the way to where it should be: nothing to be warned of.
const ON_THE_WAY: &[&str] = &[
    certificate::NOT_ISSUED,
    certificate::GATE_UNMET,
    certificate::ISSUING,
    certificate::ORDER_PENDING,
    // The MailIssuer itself warns, and says more.
    certificate::ISSUER_NOT_READY,
    domain::CERTIFICATE_NOT_READY,
    domain::COPY_PENDING,
    domain::ROLLING_OUT,
    domain::ROLLOUT_WAITING,
    domain::NOT_PROBED,
];

fn is_bad(c: &Condition) -> bool {
    if ON_THE_WAY.contains(&c.reason.as_str()) {
        return false;
    }
    match c.type_.as_str() {
        condition::STALLED | condition::RENEWAL_OVERDUE => c.status == "True",
        condition::ISSUING => false,
        condition::STAGED => c.reason == certificate::GATE_OVERDUE,
        _ => c.status == "False",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::conditions::{Conditions, State};
    use k8s_openapi::jiff::Timestamp;

    fn conditions(set: &[(&str, State, &str)]) -> Vec<Condition> {
        let mut conditions = Conditions::on(&[], None, Timestamp::UNIX_EPOCH);
        set.iter().for_each(|(type_, state, reason)| conditions.set(type_, *state, reason, "why"));
        conditions.finish()
    }

    fn told(old: &[Condition], new: &[Condition]) -> Vec<(String, bool)> {
        of_conditions(old, new).into_iter().map(|n| (n.reason, n.warning)).collect()
    }

    #[test]
    fn only_what_is_new_is_told_and_once() {
        let old = conditions(&[("Ready", State::False, "Expired"), ("Served", State::True, "Served")]);
        assert!(told(&old, &old).is_empty());
        let new = conditions(&[("Ready", State::False, "RateLimited"), ("Stalled", State::True, "RateLimited")]);
        assert_eq!(told(&old, &new), [("RateLimited".to_owned(), true)]);
    }

    #[test]
    fn what_is_under_way_is_no_warning() {
        let new = conditions(&[("Ready", State::False, "OrderPending"), ("RolledOut", State::False, "RollingOut")]);
        assert!(told(&[], &new).iter().all(|(_, warning)| !warning));
    }
}
