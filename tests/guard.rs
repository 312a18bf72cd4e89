//! The guard with the operator binary: an order too many is never asked for, whatever is killed, deleted or made again.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the helpers here are tests too")]
#![allow(dead_code, reason = "the helpers are those of the ACME tests")]

#[path = "guard/limits.rs"]
mod limits;
#[path = "acme_operator/proxy.rs"]
mod proxy;
#[path = "acme_operator/world.rs"]
mod world;
