//! How a server behaves as long as nothing goes wrong.

use std::fmt;
use std::sync::Arc;

use super::limits::Limits;

/// A certificate profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// For the directory.
    pub description: String,
    /// How long its certificates are valid, in seconds.
    pub lifetime: i64,
}

impl Profile {
    /// A profile whose certificates are valid for so many seconds.
    pub fn new(name: &str, lifetime: i64) -> Self {
        Self { name: name.to_owned(), description: format!("valid for {lifetime} s"), lifetime }
    }
}

/// A challenge that is to be validated.
#[derive(Clone, Debug)]
pub struct ChallengeView {
    /// The DNS name, without `*.`.
    pub name: String,
    /// Whether the authorization is for the names below it.
    pub wildcard: bool,
    /// `http-01` and so on.
    pub kind: String,
    /// Empty for types that have none.
    pub token: String,
    /// Empty for types that have no token.
    pub key_authorization: String,
    /// The account's URL.
    pub account: String,
}

/// Says whether a challenge is met; the error is what the CA says.
pub type Judge = dyn Fn(&ChallengeView) -> Result<(), String> + Send + Sync;

/// Who says whether a challenge is met.
#[derive(Clone)]
pub enum Validation {
    /// It always is.
    Always,
    /// A request to this port of 127.0.0.1, for http-01 only. Other types are always met.
    Http(u16),
    /// This function, on a thread of its own.
    By(Arc<Judge>),
}

impl fmt::Debug for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => write!(f, "Always"),
            Self::Http(port) => write!(f, "Http({port})"),
            Self::By(_) => write!(f, "By(..)"),
        }
    }
}

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Script {
    /// Seconds since 1970 at which its clock stands still; the machine's clock when none.
    pub clock: Option<i64>,
    /// The first one is what orders get that name none. Without any the directory names none either, and
    /// certificates are valid for 90 days.
    pub profiles: Vec<Profile>,
    /// For CAA records, and for dns-persist-01.
    pub caa_identities: Vec<String>,
    /// Key identifiers and base64url MAC keys; when there are any, a new account needs one.
    pub external_accounts: Vec<(String, String)>,
    /// Rate limits.
    pub limits: Limits,
    /// Challenge types that are offered. Wildcards get those that begin with `dns-` only.
    pub challenges: Vec<String>,
    /// Who says whether a challenge is met.
    pub validation: Validation,
    /// Seconds from the answer to a challenge to its validation.
    pub validation_delay: i64,
    /// Seconds from the CSR to the certificate.
    pub issuance_delay: i64,
    /// For how many seconds a valid authorization is used again by other orders.
    pub authorization_reuse: i64,
    /// Whether a new order for the names, profile and replacement of one that is pending or ready is that one, as at
    /// Let's Encrypt.
    pub order_reuse: bool,
    /// `Retry-After` of what is not done yet, in seconds.
    pub retry_after: Option<u32>,
    /// How many alternate chains are offered.
    pub alternates: usize,
    /// How many seconds before their issuance certificates begin to be valid.
    pub backdating: i64,
    /// Whether there is renewal information.
    pub renewal_info: bool,
    /// `Retry-After` of renewal information, in seconds.
    pub renewal_retry_after: u32,
    /// Names for which no order is accepted.
    pub blocked: Vec<String>,
    /// For faults that happen by chance.
    pub seed: u64,
}

impl Default for Script {
    fn default() -> Self {
        let challenges = ["http-01", "dns-01", "tls-alpn-01", "dns-persist-01", "carrier-pigeon-01"];
        Self {
            clock: None,
            profiles: vec![Profile::new("classic", 90 * 86_400), Profile::new("shortlived", 160 * 3600)],
            caa_identities: vec!["ca.test".to_owned()],
            external_accounts: Vec::new(),
            limits: Limits::default(),
            challenges: challenges.map(str::to_owned).to_vec(),
            validation: Validation::Always,
            validation_delay: 0,
            issuance_delay: 0,
            authorization_reuse: 0,
            order_reuse: false,
            retry_after: Some(1),
            alternates: 1,
            backdating: 3600,
            renewal_info: true,
            renewal_retry_after: 6 * 3600,
            blocked: Vec::new(),
            seed: 1,
        }
    }
}
