//! Problem documents (RFC 9457, RFC 8555 section 6.7): how an ACME server says no.

use instant_acme::Problem;
use serde::Deserialize;

use super::failure::{MAX_WORDS, printable};

/// The body of a refusal.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Refusal {
    #[serde(flatten)]
    pub(crate) problem: Problem,
    /// Where a person can do what `userActionRequired` asks for (RFC 8555 section 7.3.3).
    pub(crate) instance: Option<String>,
}

impl Refusal {
    /// Whether an account is refused because it is deactivated (RFC 8555 section 7.3.6).
    pub(crate) fn says_deactivated(&self) -> bool {
        let said =
            self.problem.detail.as_deref().is_some_and(|detail| detail.to_ascii_lowercase().contains("deactivated"));
        said && self.short_type() == "unauthorized"
    }

    /// `caa` of `urn:ietf:params:acme:error:caa`; empty for a type that is not ACME's.
    pub(crate) fn short_type(&self) -> &str {
        short_type(self.problem.r#type.as_deref())
    }
}

/// As [`Refusal::short_type`].
pub(crate) fn short_type(kind: Option<&str>) -> &str {
    kind.and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:")).unwrap_or_default()
}

/// A CA's problem document in one line: detail, type, and the same for each of its parts.
pub(crate) fn problem_words(problem: &Problem) -> String {
    let mut words = part(problem.detail.as_deref(), problem.r#type.as_deref());
    for sub in problem.subproblems.iter().take(20) {
        words.push_str("; ");
        if let Some(identifier) = &sub.identifier {
            words.push_str(&format!("for {}: ", printable(&identifier.authorized(false).to_string(), 253)));
        }
        words.push_str(&part(sub.detail.as_deref(), sub.r#type.as_deref()));
    }
    printable(&words, MAX_WORDS)
}

fn part(detail: Option<&str>, kind: Option<&str>) -> String {
    // Cut before formatting: a detail may be as long as an answer may be.
    let detail = detail.map(|text| printable(text, MAX_WORDS));
    let kind = kind.map(|text| printable(text, 100));
    match (detail, kind) {
        (Some(detail), Some(kind)) => format!("{detail} ({kind})"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => "the CA gave no reason".into(),
    }
}
