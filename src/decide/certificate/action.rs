//! What can be done about a MailCertificate.

use std::fmt;
use std::sync::Arc;

use super::world::{KeyPair, Origin};
use crate::pki::{CaKeyPair, KeySpec, LeafSpec, PrivateKey, SubjectSpec, Usage};

/// Where a key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A new one.
    Generate(KeySpec),
    /// One that is stored already.
    Keep(Arc<PrivateKey>),
}

/// A step to take. Each says exactly what to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Read the active Secret.
    ReadSecret,
    /// Read a revision Secret.
    ReadRevision {
        /// Its number.
        revision: i64,
        /// Its name.
        name: String,
    },
    /// Sign locally.
    Sign {
        /// The revision to be.
        revision: i64,
        /// Its key.
        key: KeySource,
        /// The CA, or none for a self-signed leaf.
        ca: Option<Arc<CaKeyPair>>,
        /// What to sign.
        leaf: Box<LeafSpec>,
        /// To be remembered with it.
        origin: Origin,
    },
    /// Store a key before anybody is asked to certify it.
    StoreKey {
        /// The revision to be.
        revision: i64,
        /// The revision Secret.
        name: String,
        /// The key.
        key: KeySource,
    },
    /// Store key and certificate of a revision in its own Secret.
    StoreRevision {
        /// The revision.
        revision: i64,
        /// The revision Secret.
        name: String,
        /// Whether the Secret exists (with the key in it).
        exists: bool,
        /// Key and certificate.
        pair: KeyPair,
        /// Issuer and request.
        origin: Origin,
    },
    /// Write the active Secret: everything in one update.
    WriteActive {
        /// The revision.
        revision: i64,
        /// Key and certificate.
        pair: KeyPair,
        /// Issuer and request.
        origin: Origin,
        /// The resourceVersion that it must still have; none: it must not exist.
        over: Option<String>,
    },
    /// Delete a revision Secret that history no longer covers.
    Prune {
        /// The revision.
        revision: i64,
        /// Its Secret.
        name: String,
    },
    /// Create an ACME order.
    CreateOrder {
        /// For these names.
        dns_names: Vec<String>,
    },
    /// Look at the ACME order.
    LookAtOrder {
        /// Its URL.
        url: String,
    },
    /// Make Ingresses or HTTPRoutes for challenges.
    Expose {
        /// Name and token of each.
        challenges: Vec<(String, String)>,
    },
    /// Remove them.
    Unexpose,
    /// Ask for a challenge as the CA would.
    SelfCheck {
        /// The name.
        name: String,
        /// The path's last segment.
        token: String,
        /// The body to expect.
        key_authorization: String,
    },
    /// Tell the CA that challenges can be looked at.
    Answer {
        /// The order.
        url: String,
        /// The names.
        names: Vec<String>,
    },
    /// Send the CSR.
    Finalize {
        /// The order.
        url: String,
        /// The key to certify.
        key: Arc<PrivateKey>,
        /// What to ask for.
        subject: Box<SubjectSpec>,
        /// And for which usages.
        usages: Vec<Usage>,
    },
    /// Fetch the certificate.
    Download {
        /// The order.
        url: String,
        /// The revision.
        revision: i64,
        /// The key that the CSR was made with.
        key: Arc<PrivateKey>,
        /// To be remembered with it.
        origin: Origin,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadSecret => write!(f, "read the active Secret"),
            Self::ReadRevision { name, .. } => write!(f, "read the revision Secret {name}"),
            Self::Sign { revision, leaf, .. } => {
                write!(f, "sign revision {revision} for {}", leaf.subject.dns_names.join(", "))
            }
            Self::StoreKey { revision, name, .. } => write!(f, "store the key of revision {revision} in Secret {name}"),
            Self::StoreRevision { revision, name, .. } => write!(f, "store revision {revision} in Secret {name}"),
            Self::WriteActive { revision, .. } => write!(f, "write revision {revision} to the active Secret"),
            Self::Prune { revision, name } => write!(f, "delete Secret {name} of revision {revision}"),
            Self::CreateOrder { dns_names } => write!(f, "create an ACME order for {}", dns_names.join(", ")),
            Self::LookAtOrder { url } => write!(f, "look at the ACME order {url}"),
            Self::Expose { challenges } => write!(f, "route {} challenges to the operator", challenges.len()),
            Self::Unexpose => write!(f, "remove the challenges' routes"),
            Self::SelfCheck { name, .. } => write!(f, "check the challenge of {name} from here"),
            Self::Answer { names, .. } => write!(f, "let the CA look at the challenges of {}", names.join(", ")),
            Self::Finalize { url, .. } => write!(f, "send the CSR to the ACME order {url}"),
            Self::Download { url, .. } => write!(f, "fetch the certificate of the ACME order {url}"),
        }
    }
}
