//! The tls-alpn-01 challenge (RFC 8737): a certificate shown on port 443 to who asks for the protocol `acme-tls/1`.
//!
//! The operator answers it itself, from every replica, on a port of its own ([`responder`]). A Service, a
//! LoadBalancer or a proxy has to bring port 443 of the name there with TLS passed through: what ends TLS in front
//! answers with its own certificate, and the CA says no. [`selfcheck`] finds that out before the CA is asked, because
//! a failed look of the CA counts against its limits.

pub mod responder;
pub mod selfcheck;

use crate::pki::Fingerprint;

/// The protocol that a CA asks for in the ALPN extension, alone (RFC 8737, section 6.2).
pub const PROTOCOL: &[u8] = b"acme-tls/1";

/// What the certificate of a challenge carries: SHA-256 over the key authorization.
pub fn digest(key_authorization: &str) -> [u8; 32] {
    Fingerprint::of(key_authorization.as_bytes()).0
}
