//! The ACME client and the http-01 solver against Pebble, and against servers that misbehave as Pebble cannot.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "acme/faults.rs"]
mod faults;
#[path = "acme/lifecycle.rs"]
mod lifecycle;
#[path = "acme/selfcheck.rs"]
mod selfcheck;
#[path = "acme/server.rs"]
mod server;
