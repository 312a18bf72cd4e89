//! The operator binary on a real API server, with an ACME server that does what a test says.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the helpers here are tests too")]

mod common;

#[path = "acme_faults/faults.rs"]
mod faults;
#[path = "acme_faults/killed.rs"]
mod killed;
#[path = "acme_faults/scene.rs"]
mod scene;
#[path = "acme_faults/server.rs"]
mod server;
