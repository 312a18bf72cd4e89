//! Conditions as `metav1.Condition` wants them: the transition time moves only when the status does.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::api::reasons::condition;

/// Longest message on a condition, in characters: far below the API's limit, and readable.
pub const LONGEST_MESSAGE: usize = 1024;

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody can tell yet.
    Unknown,
}

impl State {
    /// As the API spells it.
    pub fn word(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for State {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// The conditions of one object, built anew in every pass on top of those it has.
#[derive(Clone, Debug)]
pub struct Conditions {
    old: Vec<Condition>,
    new: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// Starts from the conditions that the object has.
    pub fn on(old: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { old: old.to_vec(), new: Vec::new(), generation, now }
    }

    /// Sets a condition. One that is not set in this pass is dropped.
    pub fn set(&mut self, type_: &str, state: State, reason: &str, message: &str) {
        let old = self.old.iter().find(|c| c.type_ == type_);
        let last_transition_time = match old {
            Some(c) if c.status == state.word() => c.last_transition_time.clone(),
            _ => Time(self.now),
        };
        self.new.retain(|c| c.type_ != type_);
        self.new.push(Condition {
            type_: type_.to_owned(),
            status: state.word().to_owned(),
            reason: reason.to_owned(),
            message: shortened(message),
            last_transition_time,
            observed_generation: self.generation,
        });
    }

    /// Sets `Stalled`, which GitOps tools read as failed (kstatus). Absent means not stalled.
    pub fn stalled(&mut self, reason: &str, message: &str) {
        self.set(condition::STALLED, State::True, reason, message);
    }

    /// Sets `Reconciling`, which GitOps tools read as in progress (kstatus). Absent means at rest.
    pub fn reconciling(&mut self, reason: &str, message: &str) {
        self.set(condition::RECONCILING, State::True, reason, message);
    }

    /// The conditions, in the order in which they were set, and then those that other controllers have set: gates.
    pub fn finish(self) -> Vec<Condition> {
        let mut all = self.new;
        let others = self.old.into_iter().filter(|c| is_foreign(&c.type_));
        let others: Vec<Condition> = others.filter(|c| !all.iter().any(|n| n.type_ == c.type_)).collect();
        all.extend(others);
        all
    }
}

/// Whether conditions of that type are set by other controllers.
pub fn is_foreign(type_: &str) -> bool {
    !condition::ALL.contains(&type_)
}

/// The condition of that type, if it is set.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether the condition of that type is True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

/// A message, cut where it would be too long.
pub fn shortened(message: &str) -> String {
    if message.chars().count() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    message.chars().take(LONGEST_MESSAGE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::SignedDuration;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let t0 = Timestamp::from_second(1_800_000_000).unwrap();
        let t1 = t0 + SignedDuration::from_secs(60);
        let mut first = Conditions::on(&[], Some(1), t0);
        first.set("Ready", State::False, "NotIssued", "nothing yet");
        let first = first.finish();
        let mut same = Conditions::on(&first, Some(2), t1);
        same.set("Ready", State::False, "Expired", "gone");
        let same = same.finish();
        assert_eq!((same[0].last_transition_time.0, same[0].observed_generation), (t0, Some(2)));
        let mut other = Conditions::on(&same, Some(2), t1);
        other.set("Ready", State::True, "Active", "");
        assert_eq!(other.finish()[0].last_transition_time.0, t1);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut conditions = Conditions::on(&[], None, Timestamp::UNIX_EPOCH);
        conditions.set("Ready", State::False, "X", &"ü".repeat(5000));
        assert_eq!(conditions.finish()[0].message.chars().count(), LONGEST_MESSAGE);
    }
}
