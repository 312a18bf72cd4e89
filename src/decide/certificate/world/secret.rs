//! The Secrets of a MailCertificate, as they were read, and what is in them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::certificate::{IssuerRef, Temporary};
use crate::pki::{Certificate, Chain, Password, PrivateKey};

/// The active Secret.
#[derive(Clone, Debug)]
pub enum SecretView {
    /// Its resourceVersion is the one that the status knows: it holds what the status says.
    Unchanged,
    /// It may have changed since the status was written.
    NotRead,
    /// There is none.
    Absent,
    /// It belongs to something else; to what, and what to do.
    Foreign(String),
    /// It is this MailCertificate's.
    Ours(ActiveSecret),
    /// It is this MailCertificate's, and holds a self-signed certificate until one is issued.
    Temporary(Temporary),
    /// It holds a copy of the system certificate, for the MailDomain that this MailCertificate belongs to.
    Copy {
        /// Precondition of the next write.
        resource_version: String,
        /// The keys of the system certificate's outputs.
        outputs: BTreeSet<String>,
        /// The MailDomain's certificate is disabled: the copy stays, and this MailCertificate is about to go.
        stays: bool,
    },
}

/// The active Secret, read.
#[derive(Clone, Debug)]
pub struct ActiveSecret {
    /// Precondition of the next write.
    pub resource_version: String,
    /// The revision that it says it holds.
    pub revision: Option<i64>,
    /// What it holds, or what is wrong with it.
    pub content: Result<KeyPair, String>,
    /// What its annotations say about its making.
    pub origin: Origin,
    /// The further keys in it that mailcert wrote.
    pub outputs: BTreeSet<String>,
}

/// The password of PKCS#12 stores.
#[derive(Clone, Debug, Default)]
pub enum PasswordView {
    /// No store is asked for.
    #[default]
    NotWanted,
    /// Its Secret is as the status knows it.
    Unchanged,
    /// Its Secret may have changed since the status was written.
    Changed,
    /// It was read in this pass.
    Read {
        /// The Secret's resourceVersion; none: there is no such Secret.
        version: Option<String>,
        /// The password, or what is wrong and what to do.
        password: Result<Password, String>,
    },
}

/// A revision Secret, read.
#[derive(Clone, Debug)]
pub struct RevisionSecret {
    /// Its key; the certificate comes later, for ACME.
    pub key: Result<Arc<PrivateKey>, String>,
    /// Key and certificate, once both are there.
    pub content: Option<KeyPair>,
    /// What its annotations say about its making.
    pub origin: Origin,
}

/// The Secret with the key that was made ahead, read.
#[derive(Clone, Debug)]
pub enum StoredKey {
    /// There is none.
    Absent,
    /// It belongs to something else, or holds no key; why.
    Broken(String),
    /// The key.
    Key(Arc<PrivateKey>),
}

/// A key with its chain.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The private key.
    pub key: Arc<PrivateKey>,
    /// Leaf first.
    pub chain: Arc<Chain>,
    /// For `ca.crt`.
    pub ca: Arc<Vec<Certificate>>,
    /// Whether every Secret key is byte by byte as it would be written now.
    pub canonical: bool,
}

/// How a revision came about: what a certificate does not say itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The MailIssuer.
    pub issuer: Option<IssuerRef>,
    /// SHA-256 over the SPKI of the signing CA, for `ca` issuers.
    pub authority_spki: Option<String>,
    /// Digest of subject and usages asked for.
    pub request: Option<String>,
}

/// A certificate just issued.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Its revision.
    pub revision: i64,
    /// Key and chain.
    pub pair: KeyPair,
    /// Issuer and request.
    pub origin: Origin,
}
