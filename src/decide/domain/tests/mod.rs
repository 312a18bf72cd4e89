//! Tables and properties of the decisions about a MailDomain.

mod conditions;
mod fixtures;
mod names;
mod probes;
mod properties;
mod rollout;
mod sni;
mod verdicts;
