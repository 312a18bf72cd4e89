//! Problem documents (RFC 9457, RFC 8555 section 6.7): how an ACME server says no.

use serde::Deserialize;

use super::failure::{MAX_WORDS, printable};

/// A problem document (RFC 9457) as ACME uses it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    detail: Option<String>,
    /// Where a person can do what `userActionRequired` asks for (RFC 8555 section 7.3.3).
    pub(crate) instance: Option<String>,
    #[serde(default)]
    pub(crate) subproblems: Vec<Subproblem>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Subproblem {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    detail: Option<String>,
    identifier: Option<ProblemIdentifier>,
}

#[derive(Clone, Debug, Deserialize)]
struct ProblemIdentifier {
    value: String,
}

impl Problem {
    /// Whether an account is refused because it is deactivated (RFC 8555 section 7.3.6).
    pub(crate) fn says_deactivated(&self) -> bool {
        let said = self.detail.as_deref().is_some_and(|detail| detail.to_ascii_lowercase().contains("deactivated"));
        said && self.short_type() == "unauthorized"
    }

    /// `caa` of `urn:ietf:params:acme:error:caa`; empty for a type that is not ACME's.
    pub(crate) fn short_type(&self) -> &str {
        short_type(self.kind.as_deref())
    }
}

/// As [`Problem::short_type`].
pub(crate) fn short_type(kind: Option<&str>) -> &str {
    kind.and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:")).unwrap_or_default()
}

/// A CA's problem document in one line: detail, type, and the same for each of its parts.
pub(crate) fn problem_words(problem: &Problem) -> String {
    let mut words = part(problem.detail.as_deref(), problem.kind.as_deref());
    for sub in problem.subproblems.iter().take(20) {
        words.push_str("; ");
        if let Some(identifier) = &sub.identifier {
            words.push_str(&format!("for {}: ", printable(&identifier.value, 253)));
        }
        words.push_str(&part(sub.detail.as_deref(), sub.kind.as_deref()));
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
