//! Activation with the operator on a real API server: gates, the way back, keys made ahead, and who is told.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests too")]

mod common;

#[path = "activation/commands.rs"]
mod commands;
#[path = "activation/gates.rs"]
mod gates;
#[path = "activation/gateway.rs"]
mod gateway;
#[path = "activation/keys.rs"]
mod keys;
#[path = "activation/killed.rs"]
mod killed;
#[path = "activation/mistakes.rs"]
mod mistakes;
#[path = "activation/proposed.rs"]
mod proposed;
#[path = "activation/server.rs"]
mod server;
#[path = "activation/told.rs"]
mod told;
