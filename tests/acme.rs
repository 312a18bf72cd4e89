//! The ACME client and the http-01 solver against Pebble, and against servers that misbehave as Pebble cannot.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "acme/accounts.rs"]
mod accounts;
#[path = "acme/certificates.rs"]
mod certificates;
#[path = "acme/faults.rs"]
mod faults;
#[path = "acme/lifecycle.rs"]
mod lifecycle;
#[path = "acme/refusals.rs"]
mod refusals;
#[path = "acme/selfcheck.rs"]
mod selfcheck;
#[path = "acme/server.rs"]
mod server;
