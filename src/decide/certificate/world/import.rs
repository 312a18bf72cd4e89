//! The source of an import, as the watch shows it and as it was read.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::certificate::LegacyName;
use crate::pki::Certificate;
use crate::pki::import::{Finding, Imported, Limits};

/// What a MailCertificate imports from, as far as the watch shows it.
#[derive(Clone, Debug, Default)]
pub struct ImportView {
    /// The source's resourceVersion; `None`: there is no such Secret.
    pub source: Option<String>,
    /// The resourceVersion of the Secret with the password; `None`: there is none, or none is named.
    pub password: Option<String>,
    /// What the MailDomains that use the certificate need.
    pub demands: Vec<Demand>,
    /// Whether the operator may fetch issuers that are missing.
    pub may_fetch: bool,
    /// How much is read.
    pub limits: Limits,
}

/// What a MailDomain needs of a certificate that it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Its name.
    pub domain: String,
    /// The external URL's host.
    pub external_host: Option<String>,
    /// Every name, the external URL's host among them, in A-labels.
    pub names: BTreeSet<String>,
    /// Old names.
    pub legacy: Vec<LegacyName>,
}

/// The source as it was read. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct SourceRead {
    /// Its resourceVersion.
    pub version: Option<String>,
    /// The resourceVersion of the Secret with the password.
    pub password: Option<String>,
    /// What is in it, and what is wrong with that; or what is not there.
    pub content: Result<(Arc<Imported>, Vec<Finding>), Lacking>,
    /// How many certificates were offered as missing issuers.
    pub issuers: usize,
}

/// Something that the spec names is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// One of [`reasons::finding`](crate::api::reasons::finding) or [`reasons::import`](crate::api::reasons::import).
    pub reason: &'static str,
    /// The Secret.
    pub about: String,
    /// What is missing and what to do.
    pub message: String,
}

/// What acting has brought to light about the source.
#[derive(Clone, Debug)]
pub enum SourceFact {
    /// It was read.
    Read(SourceRead),
    /// Addresses of a missing issuer were asked: what they gave, or why they gave nothing.
    Issuer(Vec<String>, Result<Box<Certificate>, String>),
}

/// Addresses of a missing issuer, and what they gave, or why they gave nothing.
pub type Fetched = (Vec<String>, Result<Box<Certificate>, String>);

/// What is known of the source in this pass.
#[derive(Clone, Debug, Default)]
pub struct SourceLearnt {
    /// It was read.
    pub read: Option<SourceRead>,
    /// Addresses of missing issuers that were asked, and what they gave.
    pub fetched: Vec<Fetched>,
}

impl SourceLearnt {
    /// Takes in what an action brought to light.
    pub fn learn(&mut self, fact: SourceFact) {
        match fact {
            SourceFact::Read(read) => self.read = Some(read),
            SourceFact::Issuer(urls, result) => self.fetched.push((urls, result)),
        }
    }

    /// The issuers that were fetched.
    pub fn issuers(&self) -> Vec<Certificate> {
        self.fetched.iter().filter_map(|(_, got)| got.as_deref().ok().cloned()).collect()
    }
}
