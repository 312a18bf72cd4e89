//! Tables and properties of the decisions about a MailIssuer.

mod acme;
mod fixtures;
mod others;
mod properties;
