//! The operator binary on a real API server, with Pebble behind a proxy that can misbehave as Pebble cannot.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the helpers here are tests too")]

#[path = "acme_operator/failing.rs"]
mod failing;
#[path = "acme_operator/faults.rs"]
mod faults;
#[path = "acme_operator/forged.rs"]
mod forged;
#[path = "acme_operator/hung.rs"]
mod hung;
#[path = "acme_operator/issuers.rs"]
mod issuers;
#[path = "acme_operator/issuing.rs"]
mod issuing;
#[path = "acme_operator/proxy.rs"]
mod proxy;
#[path = "acme_operator/required.rs"]
mod required;
#[path = "acme_operator/resume.rs"]
mod resume;
#[path = "acme_operator/routes.rs"]
mod routes;
#[path = "acme_operator/world.rs"]
mod world;
