//! Who signs: one folder per kind of issuer.

pub mod acme;
pub mod cert_manager;
