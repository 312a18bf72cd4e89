//! MailDomains with the operator on a real API server: names, restarts, and what endpoints prove.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers panic as the tests that call them do")]

mod common;
#[path = "domains/dane.rs"]
mod dane;
#[path = "domains/dane_ground.rs"]
mod dane_ground;
#[path = "domains/dane_others.rs"]
mod dane_others;
#[path = "domains/dane_rollover.rs"]
mod dane_rollover;
#[path = "domains/fallback.rs"]
mod fallback;
#[path = "domains/held.rs"]
mod held;
#[path = "domains/names.rs"]
mod names;
#[path = "domains/pods.rs"]
mod pods;
#[path = "domains/rollout.rs"]
mod rollout;
#[path = "domains/scene.rs"]
mod scene;
#[path = "domains/served.rs"]
mod served;
#[path = "domains/server.rs"]
mod server;
#[path = "domains/sni.rs"]
mod sni;
#[path = "domains/taken_back.rs"]
mod taken_back;
