//! What is known about a MailTrustBundle, what can be done about it, and what doing it brings to light.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::api::MailTrustBundle;
use crate::pki::{Certificate, Password};

/// Everything that is known about one MailTrustBundle in one pass.
#[derive(Clone, Debug)]
pub struct World {
    /// The object, with the status that it has.
    pub object: Arc<MailTrustBundle>,
    /// The time of this pass.
    pub now: Timestamp,
    /// What the operator is not allowed to do here, and what to do about it. Nothing else was looked at then.
    pub forbidden: Option<String>,
    /// The sources of own anchors, in the spec's order.
    pub sources: Vec<SourceView>,
    /// The password of the trust store, where one is asked for.
    pub password: Option<PasswordView>,
    /// Why the target namespaces are not known, if they are not.
    pub unknown_targets: Option<String>,
    /// The target namespaces, and those that had the ConfigMap before.
    pub targets: Vec<TargetView>,
    /// What was done in this pass.
    pub done: Done,
}

/// What was done in this pass.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Targets that could not be written, and why.
    pub failed: BTreeMap<String, String>,
    /// Somebody else wrote a target meanwhile.
    pub overtaken: bool,
    /// Whether the finalizer is on the object now.
    pub held: Option<bool>,
}

/// A source of own anchors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceView {
    /// How messages and the status call it (`ConfigMap corporate-ca/ca.crt`).
    pub label: String,
    /// Its text, or why it cannot be had.
    pub content: Result<Vec<u8>, String>,
}

/// The password of a trust store.
#[derive(Clone, Debug)]
pub struct PasswordView {
    /// It, or why it cannot be had.
    pub password: Result<Password, String>,
    /// Changes when the Secret that it comes from does. Says nothing about the password.
    pub version: String,
}

/// A target namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetView {
    /// The namespace.
    pub namespace: String,
    /// It is a target no longer.
    pub is_former: bool,
    /// What was found there.
    pub found: TargetFound,
}

/// What was found under a target's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetFound {
    /// No ConfigMap.
    Absent,
    /// The ConfigMap that this MailTrustBundle wrote.
    Ours(TargetContent),
    /// It belongs to something else; to what, and what to do.
    Foreign(String),
    /// This MailTrustBundle may not write there.
    NotAllowed(String),
    /// There is no such namespace, or the operator does not serve it.
    NoNamespace(String),
    /// The operator may not read or write ConfigMaps there.
    Forbidden(String),
}

/// A ConfigMap of ours, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetContent {
    /// resourceVersion.
    pub resource_version: String,
    /// SHA-256 over each text in it, by key.
    pub data: BTreeMap<String, String>,
    /// The keys of its binary data.
    pub binary_data: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What a ConfigMap is to hold.
#[derive(Clone)]
pub struct Content {
    /// The key of the certificates.
    pub key: String,
    /// The certificates, PEM.
    pub pem: String,
    /// The trust store.
    pub truststore: StoreWanted,
    /// Labels that it must have.
    pub labels: BTreeMap<String, String>,
    /// Annotations that it must have.
    pub annotations: BTreeMap<String, String>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("key", &self.key)
            .field("annotations", &self.annotations)
            .finish_non_exhaustive()
    }
}

/// What becomes of a trust store.
#[derive(Clone, Debug)]
pub enum StoreWanted {
    /// There is to be none.
    No,
    /// It stays as it is: its password cannot be read.
    Keep,
    /// One is to be made.
    Make {
        /// Its key.
        key: String,
        /// Its password.
        password: Password,
        /// The anchors in it.
        anchors: Arc<Vec<Certificate>>,
    },
}

/// Something to do about a MailTrustBundle.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write the ConfigMap of a namespace. Brings [`Fact::Written`], [`Fact::Failed`] or [`Fact::Overtaken`].
    Write {
        /// The namespace.
        namespace: String,
        /// The ConfigMap that is there: its resourceVersion must still hold, and keys that are not wanted go.
        over: Option<TargetContent>,
        /// What it is to hold.
        content: Arc<Content>,
    },
    /// Delete the ConfigMap of a namespace. Brings [`Fact::Removed`], [`Fact::Failed`] or [`Fact::Overtaken`].
    Remove {
        /// The namespace.
        namespace: String,
        /// The resourceVersion that must still hold.
        resource_version: String,
    },
    /// Put the finalizer on: the ConfigMaps are to go with the object. Brings [`Fact::Held`].
    Hold,
    /// Take it off. Brings [`Fact::Held`].
    Release,
}

/// What an action brought to light.
#[derive(Clone, Debug)]
pub enum Fact {
    /// The ConfigMap as the API server has it now.
    Written(String, TargetContent),
    /// The ConfigMap is gone.
    Removed(String),
    /// It could not be written or deleted; why.
    Failed(String, String),
    /// Somebody else wrote it meanwhile.
    Overtaken,
    /// The finalizer was put on (`true`) or taken off.
    Held(bool),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { namespace, .. } => write!(f, "write the ConfigMap in namespace {namespace}"),
            Self::Remove { namespace, .. } => write!(f, "delete the ConfigMap in namespace {namespace}"),
            Self::Hold => write!(f, "hold it back from deletion until its ConfigMaps are gone"),
            Self::Release => write!(f, "no longer hold it back from deletion"),
        }
    }
}

impl World {
    /// Takes in what an action brought to light.
    pub fn learn(&mut self, fact: Fact) {
        let mut set = |namespace: String, found: TargetFound| {
            if let Some(target) = self.targets.iter_mut().find(|t| t.namespace == namespace) {
                target.found = found;
            }
        };
        match fact {
            Fact::Written(namespace, content) => set(namespace, TargetFound::Ours(content)),
            Fact::Removed(namespace) => set(namespace, TargetFound::Absent),
            Fact::Failed(namespace, why) => {
                self.done.failed.insert(namespace, why);
            }
            Fact::Overtaken => self.done.overtaken = true,
            Fact::Held(is_held) => self.done.held = Some(is_held),
        }
    }
}
