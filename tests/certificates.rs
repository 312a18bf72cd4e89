//! MailCertificates with the operator on a real API server, over their whole life.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests too")]

mod common;

#[path = "certificates/expiry.rs"]
mod expiry;
#[path = "certificates/files.rs"]
mod files;
#[path = "certificates/idle.rs"]
mod idle;
#[path = "certificates/leaders.rs"]
mod leaders;
#[path = "certificates/outputs.rs"]
mod outputs;
#[path = "certificates/ownership.rs"]
mod ownership;
#[path = "certificates/renewal.rs"]
mod renewal;
#[path = "certificates/repair.rs"]
mod repair;
#[path = "certificates/secrecy.rs"]
mod secrecy;
#[path = "certificates/spec.rs"]
mod spec;
