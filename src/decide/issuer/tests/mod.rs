//! Tables and properties of the decisions about a MailIssuer.

mod account;
mod acme;
mod fixtures;
mod others;
mod properties;
