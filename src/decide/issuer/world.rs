//! What is known about a MailIssuer, what can be done about it, and what doing it brings to light.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::issuer::{MacAlgorithm, MailIssuer};
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
    /// As `account_thumbprint`, for the key to which the account is being rolled over. `None` when there is none.
    pub next_thumbprint: Option<Result<String, String>>,
    /// What the Secret notes of the last rollover: see [`super::rollover_note`].
    pub rollover_done: Option<String>,
    /// The MailIssuer that has begun the rollover, when it is another one that uses the same Secret.
    pub rollover_by_other: Option<String>,
    /// The Secret of an external account binding.
    pub binding_secret: SecretState,
    /// Why the binding's key ID or MAC key cannot be used.
    pub binding_problem: Option<String>,
    /// A certificate was told by the CA that the account does not exist.
    pub doubted: bool,
    /// The operator's default domain, for the default contact.
    pub default_domain: Option<String>,
    /// The domain of a MailDomain that uses this issuer.
    pub domain_hint: Option<String>,
    /// Set when the operator may not read Secrets in this namespace. Says which RoleBinding to make.
    pub forbidden: Option<String>,
    /// What the ACME server's directory said in this pass, or not long before.
    pub directory: Option<DirectoryFact>,
    /// Whether it could not be read in this pass, though it is not needed.
    pub no_directory: bool,
    /// The account that was registered in this pass.
    pub registered: Option<AccountFact>,
    /// The URL of the account that the server has for the key, when it was asked in this pass.
    pub own_account: Option<Option<String>>,
    /// As `own_account`, for the key to which the account is being rolled over.
    pub next_account: Option<Option<String>>,
    /// The account's URL, when the next key has become the account key in this pass.
    pub promoted: Option<String>,
    /// Whether the account was deactivated in this pass.
    pub deactivated: bool,
    /// What failed in this pass: then nothing more is asked in it, but which key counts after a rollover.
    pub failure: Option<StepFailure>,
    /// Whether `failure` is a rollover's.
    pub rollover_failed: bool,
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
            next_thumbprint: None,
            rollover_done: None,
            rollover_by_other: None,
            binding_secret: SecretState::NotLooked,
            binding_problem: None,
            doubted: false,
            default_domain: None,
            domain_hint: None,
            forbidden: None,
            directory: None,
            no_directory: false,
            registered: None,
            own_account: None,
            next_account: None,
            promoted: None,
            deactivated: false,
            failure: None,
            rollover_failed: false,
        }
    }

    /// Takes in the Secret with the account key.
    pub fn see(&mut self, secret: KeySecret) {
        self.account_secret = SecretState::Found(secret.data);
        self.account_thumbprint = Some(secret.thumbprint);
        self.next_thumbprint = secret.next_thumbprint;
        self.rollover_done = secret.note;
    }

    /// Takes in what an action brought to light.
    pub fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Directory(directory) => self.directory = Some(directory),
            Fact::NoDirectory => self.no_directory = true,
            Fact::KeyStored(secret) => self.see(secret),
            Fact::Promoted(secret) => {
                self.see(secret);
                self.promoted = self.next_account.take().flatten();
                // That a request failed does not matter any more.
                (self.failure, self.rollover_failed) = (None, false);
            }
            Fact::OwnAccount(uri) => self.own_account = Some(uri),
            Fact::NextAccount(uri) => self.next_account = Some(uri),
            Fact::RolledOver(uri) => self.next_account = Some(Some(uri)),
            Fact::RolloverFailed(failure) => {
                (self.failure, self.rollover_failed) = (Some(failure), true);
                self.next_account = None;
            }
            Fact::Deactivated => self.deactivated = true,
            Fact::Registered(account) => self.registered = Some(account),
            Fact::Failed(failure) => (self.failure, self.rollover_failed) = (Some(failure), false),
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
    /// The profiles that an order may ask for.
    pub profiles: Vec<String>,
    /// The domains that stand for the CA in CAA records.
    pub caa_identities: Vec<String>,
    /// Whether the CA suggests when to renew (RFC 9773).
    pub renewal_info: bool,
}

/// The Secret with an account key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    /// Its data.
    pub data: SecretData,
    /// The thumbprint (RFC 7638) of the key in it, or why it cannot be read.
    pub thumbprint: Result<String, String>,
    /// As `thumbprint`, for the next key.
    pub next_thumbprint: Option<Result<String, String>>,
    /// What it notes of the last rollover: see [`super::rollover_note`].
    pub note: Option<String>,
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
    /// Read the ACME directory. Brings [`Fact::Directory`], or [`Fact::Failed`] when it is needed, else
    /// [`Fact::NoDirectory`].
    FetchDirectory {
        /// Its URL.
        server: String,
        /// Whether the pass cannot go on without it.
        is_needed: bool,
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
        /// The account elsewhere that a new account is bound to.
        binding: Option<Binding>,
    },
    /// Ask which account the server has for a key. Brings [`Fact::OwnAccount`], [`Fact::NextAccount`] or
    /// [`Fact::Failed`].
    FindAccount {
        /// URL of the directory.
        server: String,
        /// The key in PEM.
        key: AccountKey,
        /// Whether it is the next key, not the present one.
        of_next_key: bool,
    },
    /// Make the next key and store it next to the present one, with this note. Brings [`Fact::KeyStored`] or
    /// [`Fact::Failed`].
    StoreNextKey {
        /// The Secret.
        secret_name: String,
        /// See [`super::rollover_note`].
        note: String,
    },
    /// Make the next key the key of the account. Nothing else is asked with this account meanwhile. Brings
    /// [`Fact::RolledOver`] or [`Fact::RolloverFailed`].
    RollOver {
        /// URL of the directory.
        server: String,
        /// The account.
        account_uri: String,
        /// Its key in PEM.
        old: AccountKey,
        /// The next key in PEM.
        new: AccountKey,
    },
    /// The next key is the account's now: it takes the place of the present one in the Secret, which keeps that as the
    /// previous one. Brings [`Fact::Promoted`].
    PromoteNextKey {
        /// The Secret.
        secret_name: String,
    },
    /// The server does not know the next key: it is removed from the Secret. Brings [`Fact::KeyStored`].
    DropNextKey {
        /// The Secret.
        secret_name: String,
    },
    /// Give the account up for good. Brings [`Fact::Deactivated`] or [`Fact::Failed`].
    Deactivate {
        /// URL of the directory.
        server: String,
        /// The account.
        account_uri: String,
        /// Its key in PEM.
        key: AccountKey,
    },
}

impl Action {
    /// Whether an ACME server is asked: not before the time to try again has come.
    pub fn asks_server(&self) -> bool {
        match self {
            Self::FetchDirectory { .. }
            | Self::Register { .. }
            | Self::FindAccount { .. }
            // What it is made for asks.
            | Self::StoreNextKey { .. }
            | Self::RollOver { .. }
            | Self::Deactivate { .. } => true,
            Self::CreateAccountKey { .. } | Self::PromoteNextKey { .. } | Self::DropNextKey { .. } => false,
        }
    }
}

/// An account elsewhere that an ACME account is bound to (RFC 8555, section 7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The key identifier that the CA gave.
    pub key_id: String,
    /// How the binding is signed.
    pub algorithm: MacAlgorithm,
    /// The MAC key as it is in the Secret.
    pub mac: AccountKey,
}

/// Key material of an account. `Debug` does not show it.
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
    /// The directory could not be read, and is not needed.
    NoDirectory,
    /// The Secret with the account key, as it is now (also when it turned out to exist already).
    KeyStored(KeySecret),
    /// The same, after the next key has become the account key.
    Promoted(KeySecret),
    /// The URL of the account that the server has for the account key.
    OwnAccount(Option<String>),
    /// The URL of the account that the server has for the next key.
    NextAccount(Option<String>),
    /// The next key is that of the account with this URL.
    RolledOver(String),
    /// Whether the server has taken the next key is not known.
    RolloverFailed(StepFailure),
    /// The account is deactivated.
    Deactivated,
    /// The account.
    Registered(AccountFact),
    /// The action failed. The pass goes on, to say so.
    Failed(StepFailure),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FetchDirectory { server, .. } => write!(f, "read the ACME directory {server}"),
            Self::CreateAccountKey { secret_name } => write!(f, "make an ACME account key in Secret {secret_name}"),
            Self::Register { server, .. } => write!(f, "register the ACME account at {server}"),
            Self::FindAccount { server, .. } => write!(f, "ask {server} for the account of a key"),
            Self::StoreNextKey { secret_name, .. } => {
                write!(f, "make the next ACME account key in Secret {secret_name}")
            }
            Self::RollOver { account_uri, .. } => write!(f, "give the ACME account {account_uri} a new key"),
            Self::PromoteNextKey { secret_name } => {
                write!(f, "make the next key the account key in Secret {secret_name}")
            }
            Self::DropNextKey { secret_name } => write!(f, "remove the next key from Secret {secret_name}"),
            Self::Deactivate { account_uri, .. } => write!(f, "deactivate the ACME account {account_uri}"),
        }
    }
}
