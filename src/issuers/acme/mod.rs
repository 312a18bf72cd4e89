//! The client side of ACME (RFC 8555), as single steps.
//!
//! Each function asks the server once about one thing (an order with its authorizations counts as one) and returns
//! what it saw. Nothing here sleeps, polls or decides: the caller stores the outcome and comes back. Every request is
//! bounded in time and bytes, and so is every step as a whole ([`http::Limits`]).

pub mod account;
mod answer;
pub mod challenge;
mod client;
pub mod directory;
pub mod external;
pub mod failure;
pub mod http;
mod jws;
mod library;
pub mod order;
mod problem;
pub mod renewal;
pub mod revoke;
pub mod rollover;

pub use answer::MAX_RETRY_AFTER;
