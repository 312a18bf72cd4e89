//! Tables and properties of the decisions about a MailDomain.

mod conditions;
mod fallback;
pub(super) mod fixtures;
mod hold;
mod in_place;
mod names;
mod pods;
mod probes;
mod properties;
mod rollout;
mod sni;
mod targets;
mod urgency;
mod verdicts;
