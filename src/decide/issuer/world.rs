//! What is known about a MailIssuer, what can be done about it, and what doing it brings to light.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::issuer::MailIssuer;
use crate::decide::backoff::Pace;

/// Everything that is known about one MailIssuer in one pass.
#[derive(Clone, Debug)]
pub struct World {
    /// The MailIssuer, with the status that it has.
    pub object: Arc<MailIssuer>,
    /// The time of this pass.
    pub now: Timestamp,
    /// The Secret of a `ca` issuer.
    pub ca_secret: SecretState,
    /// The Secret of an ACME account key: see [`super::account_key_secret`].
    pub account_secret: SecretState,
    /// The thumbprint (RFC 7638) of the key in `account_secret`, or why it cannot be read. `None` when there is no
    /// such Secret.
    pub account_thumbprint: Option<Result<String, String>>,
    /// The operator's default domain, for the default contact.
    pub default_domain: Option<String>,
    /// The domain of a MailDomain that uses this issuer.
    pub domain_hint: Option<String>,
    /// Set when the operator may not read Secrets in this namespace. Says which RoleBinding to make.
    pub forbidden: Option<String>,
    /// What the ACME server's directory said in this pass.
    pub directory: Option<DirectoryFact>,
    /// The account that was registered in this pass.
    pub registered: Option<AccountFact>,
    /// What failed in this pass: then nothing more is asked in it.
    pub failure: Option<StepFailure>,
}

impl World {
    /// A world in which nothing but the object is known.
    pub fn new(object: Arc<MailIssuer>, now: Timestamp) -> Self {
        Self {
            object,
            now,
            ca_secret: SecretState::NotLooked,
            account_secret: SecretState::NotLooked,
            account_thumbprint: None,
            default_domain: None,
            domain_hint: None,
            forbidden: None,
            directory: None,
            registered: None,
            failure: None,
        }
    }

    /// Takes in what an action brought to light.
    pub fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Directory(directory) => self.directory = Some(directory),
            Fact::KeyStored { data, thumbprint } => {
                self.account_secret = SecretState::Found(data);
                self.account_thumbprint = Some(thumbprint);
            }
            Fact::Registered(account) => self.registered = Some(account),
            Fact::Failed(failure) => self.failure = Some(failure),
        }
    }
}

/// A Secret that an issuer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretState {
    /// Nobody has looked, because this kind of issuer has none or the operator may not.
    NotLooked,
    /// There is none of that name.
    Absent,
    /// It exists.
    Found(SecretData),
}

/// The data of a Secret. `Debug` shows its keys only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretData(pub BTreeMap<String, ByteString>);

impl SecretData {
    /// The value of a key, unless it is missing or empty.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(|v| v.0.as_slice()).filter(|v| !v.is_empty())
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What an ACME directory says (RFC 8555, section 7.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DirectoryFact {
    /// URL of the terms of service.
    pub terms_of_service: Option<String>,
    /// Whether an account needs an external account binding.
    pub external_account_required: bool,
}

/// A registered account. It has the contacts of the [`Action::Register`] that made or found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFact {
    /// Its URL.
    pub uri: String,
    /// The thumbprint (RFC 7638) of its key.
    pub thumbprint: String,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// How to try again.
    pub pace: Pace,
    /// One of [`reasons::issuer`](crate::api::reasons::issuer).
    pub reason: String,
    /// What is wrong and what to do, bounded, in the server's words where it had any.
    pub message: String,
    /// How long the server asks to wait.
    pub retry_after: Option<SignedDuration>,
}

/// Something to do about a MailIssuer. At most one in each decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the ACME directory. Brings [`Fact::Directory`] or [`Fact::Failed`].
    FetchDirectory {
        /// Its URL.
        server: String,
    },
    /// Make an account key and create the Secret, never replacing one. Brings [`Fact::KeyStored`] or [`Fact::Failed`].
    CreateAccountKey {
        /// The Secret.
        secret_name: String,
    },
    /// Register the account of a key, or find it, and tell the server the contacts. Brings [`Fact::Registered`] or
    /// [`Fact::Failed`].
    Register {
        /// URL of the directory.
        server: String,
        /// Mail addresses, without `mailto:`.
        contacts: Vec<String>,
        /// The account key in PEM, from the Secret.
        key: AccountKey,
    },
}

/// An account key in PEM. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountKey(pub Vec<u8>);

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey(…)")
    }
}

/// What an action brought to light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The directory.
    Directory(DirectoryFact),
    /// The Secret with the account key, as it is now (also when it turned out to exist already).
    KeyStored {
        /// Its data.
        data: SecretData,
        /// The thumbprint (RFC 7638) of the key in it, or why it cannot be read.
        thumbprint: Result<String, String>,
    },
    /// The account.
    Registered(AccountFact),
    /// The action failed. The pass goes on, to say so.
    Failed(StepFailure),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FetchDirectory { server } => write!(f, "read the ACME directory {server}"),
            Self::CreateAccountKey { secret_name } => write!(f, "make an ACME account key in Secret {secret_name}"),
            Self::Register { server, .. } => write!(f, "register the ACME account at {server}"),
        }
    }
}
