//! Why a record could not be published or removed through the Kubernetes API.

use std::fmt;

use crate::issuers::acme::failure::printable;

/// The longest text of a failure, in characters.
pub const MAX_WORDS: usize = 700;

/// A failed step of a dns-01 solver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong, where, and what to do; printable, at most [`MAX_WORDS`] characters.
    pub words: String,
    /// Whether the same step may succeed later without anyone doing anything.
    pub transient: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// One that may pass by itself.
    pub(super) fn passing(words: impl AsRef<str>) -> Self {
        Self { words: printable(words.as_ref(), MAX_WORDS), transient: true }
    }

    /// One that stays until somebody changes something.
    pub(super) fn lasting(words: impl AsRef<str>) -> Self {
        Self { words: printable(words.as_ref(), MAX_WORDS), transient: false }
    }
}
