//! What a look into DNS came to when it came to nothing.

use std::fmt;

/// The longest message, in characters. Names and servers' answers in it are bounded on their own.
const MAX_WORDS: usize = 1000;

/// Why DNS did not say what was asked: no answer in time, SERVFAIL, REFUSED, an answer that makes no sense.
/// That a name or a record does not exist is an answer, not a failure, unless something needs it to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsFailure {
    /// What is wrong and where, printable, at most 1000 characters.
    pub words: String,
    /// Whether the same question may be answered later without anybody changing anything.
    pub transient: bool,
}

impl DnsFailure {
    /// One that may pass by itself.
    pub(crate) fn transient(words: impl Into<String>) -> Self {
        Self::new(words.into(), true)
    }

    /// One that lasts until somebody changes something.
    pub(crate) fn lasting(words: impl Into<String>) -> Self {
        Self::new(words.into(), false)
    }

    pub(super) fn new(words: String, transient: bool) -> Self {
        let mut words = words;
        if let Some((end, _)) = words.char_indices().nth(MAX_WORDS) {
            words.truncate(end);
            words.pop();
            words.push('…');
        }
        Self { words, transient }
    }
}

impl fmt::Display for DnsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for DnsFailure {}
