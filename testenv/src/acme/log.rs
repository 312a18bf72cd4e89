//! What has happened.

use std::collections::BTreeMap;

use serde_json::Value;

use super::faults::Kind;
use super::limits::Limit;

/// A request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Seconds since 1970 by the server's clock.
    pub at: i64,
    /// What it was about.
    pub kind: Kind,
    /// Its path.
    pub path: String,
    /// What was signed; null when there was nothing.
    pub payload: Value,
    /// What it was answered; none while it is not, and when the connection was closed instead.
    pub status: Option<u16>,
    /// The type of the problem, when the server itself (no fault) had one.
    pub problem: Option<String>,
    /// The name of the fault that happened to it.
    pub fault: Option<&'static str>,
}

/// An order.
#[derive(Clone, Debug)]
pub struct OrderRecord {
    /// Its URL.
    pub url: String,
    /// When it was made, in seconds since 1970 by the server's clock.
    pub at: i64,
    /// The account's URL.
    pub account: String,
    /// In lower case.
    pub names: Vec<String>,
    /// As asked for.
    pub profile: Option<String>,
    /// The ARI identifier of the certificate that it replaces.
    pub replaces: Option<String>,
    /// `pending`, `ready`, `processing`, `valid` or `invalid`.
    pub status: &'static str,
    /// Whether a CSR was accepted.
    pub finalized: bool,
}

/// A certificate.
#[derive(Clone, Debug)]
pub struct CertificateRecord {
    /// When it was issued, in seconds since 1970 by the server's clock.
    pub at: i64,
    /// Names of its order.
    pub names: Vec<String>,
    /// Big-endian.
    pub serial: Vec<u8>,
    /// The DER of the SPKI that the CSR had.
    pub spki: Vec<u8>,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// RFC 9773, section 4.1.
    pub ari_id: String,
    /// Whether a later order replaced it.
    pub replaced: bool,
    /// The reason code of its revocation.
    pub revoked: Option<u8>,
    /// Leaf alone, PEM.
    pub pem: String,
}

/// Everything that has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Requests in the order in which they came.
    pub requests: Vec<Entry>,
    /// Orders in the order in which they were made.
    pub orders: Vec<OrderRecord>,
    /// Certificates in the order in which they were issued.
    pub certificates: Vec<CertificateRecord>,
    /// New orders refused, by limit.
    pub limited: BTreeMap<Limit, usize>,
}

impl Log {
    /// How many requests of this kind came.
    pub fn count(&self, kind: Kind) -> usize {
        self.requests.iter().filter(|r| r.kind == kind).count()
    }

    /// How many requests of this kind succeeded.
    pub fn succeeded(&self, kind: Kind) -> usize {
        let good = |status: Option<u16>| status.is_some_and(|s| (200..300).contains(&s));
        self.requests.iter().filter(|r| r.kind == kind && good(r.status)).count()
    }

    /// How often each fault happened.
    pub fn faults(&self) -> BTreeMap<&'static str, usize> {
        let mut faults = BTreeMap::new();
        for fault in self.requests.iter().filter_map(|r| r.fault) {
            *faults.entry(fault).or_default() += 1;
        }
        faults
    }
}
