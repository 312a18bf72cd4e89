//! What is asked of DNS: of a real BIND 9, whose zones are changed with signed updates, and of servers that fail or
//! lie.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "dns/ground.rs"]
mod ground;
#[path = "dns/hostile.rs"]
mod hostile;
#[path = "dns/lookups.rs"]
mod lookups;
#[path = "dns/propagation.rs"]
mod propagation;
#[path = "dns/server.rs"]
mod server;
#[path = "dns/tlsa.rs"]
mod tlsa;
#[path = "dns/updates.rs"]
mod updates;
#[path = "dns/wildcard.rs"]
mod wildcard;
