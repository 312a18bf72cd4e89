//! Tables and properties of the decisions about a MailDomain.

mod conditions;
pub(super) mod fixtures;
mod names;
mod probes;
mod properties;
mod rollout;
mod verdicts;
