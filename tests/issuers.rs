//! MailIssuers with the operator on a real API server: who can sign, who may have it sign, and what is said otherwise.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests too")]

mod common;

#[path = "issuers/allowed.rs"]
mod allowed;
#[path = "issuers/authority.rs"]
mod authority;
#[path = "issuers/signing.rs"]
mod signing;
#[path = "issuers/without_cert_manager.rs"]
mod without_cert_manager;
