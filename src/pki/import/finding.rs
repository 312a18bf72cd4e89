//! What is found in a certificate: one finding for each defect.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::api::reasons::import;
use crate::pki::names::printable;

/// The stable word for a kind of finding: one of [`import::ALL`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(&'static str);

impl Code {
    /// The code of that word, when there is one.
    pub fn of(word: &str) -> Option<Self> {
        import::ALL.iter().find(|known| **known == word).map(|known| Self(known))
    }

    /// The word.
    pub fn word(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl PartialEq<&str> for Code {
    fn eq(&self, word: &&str) -> bool {
        self.0 == *word
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Severity {
    /// The certificate must not be used.
    Error,
    /// It can be used, and somebody should do something.
    Warning,
    /// Something was put right.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One thing that is wrong, or was put right. It never holds any part of a key or of a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which kind.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: the name of an input, or a certificate's subject.
    pub about: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Where the missing issuer says it can be had: the `caIssuers` addresses of the certificate that lacks it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issuer_urls: Vec<String>,
}

impl Finding {
    /// Whether the certificate must not be used because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub(super) fn new(code: &'static str, severity: Severity, about: &str, message: impl Into<String>) -> Self {
        Self { code: Code(code), severity, about: printable(about), message: message.into(), issuer_urls: Vec::new() }
    }

    pub(super) fn error(code: &'static str, about: &str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, about, message)
    }

    pub(super) fn warning(code: &'static str, about: &str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, about, message)
    }

    pub(super) fn info(code: &'static str, about: &str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Info, about, message)
    }
}
