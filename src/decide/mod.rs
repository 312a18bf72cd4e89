//! Decisions: from what was observed to what is to be done. Pure: no IO, no clock, no client.
//!
//! A pass over an object goes `observe → decide → act → learn → decide → … → report`. [`Decision::actions`] are so
//! specific that acting on them takes no choice. What acting brought to light is a fact that the world learns before
//! `decide` is asked again, until there is nothing left to do in this pass. A failed check is data, never an `Err`.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod backoff;
pub mod caa;
pub mod certificate;
pub mod conditions;
pub mod domain;
pub mod events;
pub mod expiry;
pub mod guard;
pub mod issuer;
pub mod jitter;
pub mod system;
pub mod trust_bundle;
pub mod window;

use k8s_openapi::jiff::Timestamp;

/// What is to be done about an object, and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Decision<A, S> {
    /// In this order; the first one that fails ends the pass.
    pub actions: Vec<A>,
    /// The object's status once the actions are done.
    pub status: S,
    /// When to look again although nothing happened.
    pub wake: Option<Timestamp>,
}
