//! The operator binary on a real API server, with an ACME server that does what a test says.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the helpers here are tests too")]

#[path = "acme_faults/server.rs"]
mod server;
