//! The dns-01 challenge (RFC 8555, section 8.4): a TXT record at `_acme-challenge.<name>`. One file per way of
//! publishing it.

pub mod dns_endpoint;
mod failure;
pub mod rfc2136;
pub mod webhook;

pub use failure::Failure;
