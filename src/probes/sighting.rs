//! What a look saw.

use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;

/// How many certificates of a chain are kept: no path that verifies is longer.
pub(super) const CHAIN_MAX: usize = 10;

/// What an endpoint served. The server proved that it holds the leaf's private key; nothing else is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The address that answered.
    pub address: SocketAddr,
    /// The certificates as the server sent them, leaf first. Never empty, at most 10; rustls bounds them to 64 KiB
    /// together.
    pub chain: Vec<CertificateDer<'static>>,
    /// `TLS 1.2` or `TLS 1.3`.
    pub tls_version: String,
    /// The cipher suite by rustls' name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: String,
}
