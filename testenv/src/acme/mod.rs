//! A scriptable ACME server (RFC 8555, RFC 9773) in this process, for what Pebble cannot do: faults by request, a clock
//! of its own, Let's Encrypt's rate limits, and a log of everything.
//!
//! It keeps the rules as strictly as a CA does: signatures, nonces, URLs, ownership, states. What it bends is named by a
//! [`Fault`]. Time goes lazily: what is due by the clock happens when the next request comes.

mod accounts;
mod answer;
mod certificates;
mod core;
mod faults;
mod issue;
mod jws;
mod limits;
mod log;
mod orders;
mod script;
mod server;
mod validate;

pub use answer::Problem;
pub use faults::{Effect, Fault, Kind, Rule};
pub use limits::{Limit, Limits};
pub use log::{CertificateRecord, Entry, Log, OrderRecord};
pub use script::{ChallengeView, Judge, Profile, Script, Validation};
pub use server::AcmeServer;
