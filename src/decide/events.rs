//! Events: what is new between two statuses. Derived, so that nothing is told twice and nothing is kept in memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::reasons::{certificate, condition};

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
        if notes.iter().any(|n| n.reason == c.reason) {
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

/// Reasons of a `Ready` that is False only because it takes its time.
const UNDER_WAY: [&str; 3] = [certificate::NOT_ISSUED, certificate::ISSUING, certificate::ORDER_PENDING];

fn is_bad(c: &Condition) -> bool {
    match c.type_.as_str() {
        condition::STALLED => c.status == "True",
        condition::ISSUING => false,
        _ => c.status == "False" && !UNDER_WAY.contains(&c.reason.as_str()),
    }
}
