//! The tls-alpn-01 solver: its responder in front of Pebble and of clients that are no CA, and its self check.
#![allow(clippy::unwrap_used)]

#[path = "tls_alpn01/client.rs"]
mod client;
#[path = "tls_alpn01/pebble.rs"]
mod pebble;
#[path = "tls_alpn01/responder.rs"]
mod responder;
#[path = "tls_alpn01/selfcheck.rs"]
mod selfcheck;
