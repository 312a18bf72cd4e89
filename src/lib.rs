//! mailcert: keeps the TLS certificates of mail servers right.

pub mod api;
pub mod issuers;
pub mod solvers;
