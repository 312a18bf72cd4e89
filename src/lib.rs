//! mailcert: keeps the TLS certificates of mail servers right.

pub mod aia;
pub mod api;
pub mod cli;
pub mod controller;
pub mod decide;
pub mod dns;
pub mod issuers;
pub mod operating;
pub mod pki;
pub mod probes;
pub mod solvers;
