//! The CRDs on a real API server: what they refuse and with which words, what they fill in, and how they show.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests too")]

mod common;

#[path = "api/certificate.rs"]
mod certificate;
#[path = "api/definitions.rs"]
mod definitions;
#[path = "api/domain.rs"]
mod domain;
#[path = "api/issuer.rs"]
mod issuer;
#[path = "api/table.rs"]
mod table;
