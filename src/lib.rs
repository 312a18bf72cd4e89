//! mailcert: keeps the TLS certificates of mail servers right.

pub mod pki;
