//! The controllers: what is watched, what a change concerns, and the pass over an object.
//!
//! ```text
//! watch ─ relations ─▶ pass(object): observe ─▶ decide ─▶ act ─▶ learn ─▶ decide ─▶ … ─▶ report
//! ```
//! `observe` and `act` are the only places with IO, and `act` makes no choices. A pass writes the object's status once,
//! and only when it has changed.

mod account;
mod authority;
mod certificate;
mod context;
mod domain;
mod exposures;
mod index;
mod issuer;
mod operator;
mod order;
mod pass;
mod relations;
mod report;
mod secrets;
mod watches;
mod workloads;

pub use context::{Context, Identity};
pub use operator::{OperatorError, run};
pub use pass::{Subject, plan};
