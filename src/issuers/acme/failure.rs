//! What went wrong with an ACME request, as data: a class to act upon and words to show.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use instant_acme::{Error, Problem};

use super::http::Seen;

/// The longest text that is taken over from a CA, in characters.
pub const MAX_WORDS: usize = 500;

/// What a failure asks of the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing is wrong with the request; the same step may succeed later. What is not known belongs here.
    Transient {
        /// What the server asked for in `Retry-After`, at most [`super::MAX_RETRY_AFTER`].
        retry_after: Option<Duration>,
    },
    /// A limit of the CA is reached (RFC 8555 section 6.6).
    RateLimited {
        /// What the server asked for in `Retry-After`, at most [`super::MAX_RETRY_AFTER`].
        retry_after: Option<Duration>,
    },
    /// Only a change of the issuer's settings, or an act at the CA, helps.
    NeedsUser,
    /// The server does not know this order (any more); a new one is needed.
    OrderLost,
    /// The server does not know this account (any more); it has to be registered again.
    AccountGone,
    /// The CA says no to these names or to this certificate request.
    Refused,
}

/// A failed ACME step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeFailure {
    /// What to do about it.
    pub class: Class,
    /// The CA's own words out of its problem document, or our sentence; at most [`MAX_WORDS`] printable characters.
    /// Never any other part of an answer's body.
    pub words: String,
}

impl fmt::Display for AcmeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for AcmeFailure {}

impl AcmeFailure {
    /// A failure in our own words.
    pub(crate) fn new(class: Class, words: impl AsRef<str>) -> Self {
        Self { class, words: printable(words.as_ref(), MAX_WORDS) }
    }

    /// A failure that may pass by itself.
    pub(crate) fn transient(retry_after: Option<Duration>, words: impl AsRef<str>) -> Self {
        Self::new(Class::Transient { retry_after }, words)
    }

    /// A failure that only the user can mend.
    pub(crate) fn needs_user(words: impl AsRef<str>) -> Self {
        Self::new(Class::NeedsUser, words)
    }

    /// Carries this failure through code that speaks [`instant_acme::Error`].
    pub(crate) fn into_error(self) -> Error {
        Error::Other(Box::new(self))
    }
}

/// What the failed request was about: the same answer means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// The directory or the account.
    Account,
    /// Placing an order.
    NewOrder,
    /// An order that exists, its authorizations or its certificate.
    Order,
}

/// Turns the library's error into a failure; `seen` is what the HTTP layer noted in the same step.
pub(crate) fn failure_of(error: Error, seen: &Seen, about: About) -> AcmeFailure {
    match error {
        Error::Api(problem) => of_problem(&problem, seen, about),
        Error::Other(other) => match other.downcast::<AcmeFailure>() {
            // An order's URL that answers 404 and nothing else is how a CA without problem documents says "unknown".
            Ok(_) if about == About::Order && seen.status == Some(StatusCode::NOT_FOUND) && seen.empty => {
                AcmeFailure::new(Class::OrderLost, "the ACME server does not know this order any more (404)")
            }
            Ok(failure) => *failure,
            Err(other) => AcmeFailure::transient(None, format!("the ACME request failed: {other}")),
        },
        Error::Json(error) => AcmeFailure::transient(None, json_words(&error)),
        Error::KeyRejected => AcmeFailure::needs_user("the ACME account key is not an EC P-256 key in PKCS#8"),
        Error::Unsupported(what) => AcmeFailure::needs_user(format!("the ACME server does not support {what}")),
        Error::InvalidUri(_) | Error::Http(_) if about == About::Order => {
            AcmeFailure::new(Class::OrderLost, "the order's URL is not a valid URL")
        }
        Error::InvalidUri(_) | Error::Http(_) => AcmeFailure::needs_user("the ACME server's URL is not a valid URL"),
        Error::Str(what) => AcmeFailure::transient(None, format!("the ACME server's answer is incomplete: {what}")),
        Error::Timeout(_) => AcmeFailure::transient(None, "the ACME server did not finish in time"),
        other => AcmeFailure::transient(None, format!("the ACME request failed: {other}")),
    }
}

/// serde's messages quote the values they stumble over, so only the name of a missing field is taken from them.
fn json_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => format!("the ACME server's answer lacks the field {field}"),
        None => "the ACME server's answer is JSON, but not what ACME (RFC 8555) says it is".into(),
    }
}

fn of_problem(problem: &Problem, seen: &Seen, about: About) -> AcmeFailure {
    let words = problem_words(problem);
    let retry_after = seen.retry_after;
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let class = match short_type(kind) {
        "rateLimited" => Class::RateLimited { retry_after },
        _ if seen.status == Some(StatusCode::TOO_MANY_REQUESTS) => Class::RateLimited { retry_after },
        "accountDoesNotExist" => Class::AccountGone,
        "badNonce" | "serverInternal" | "orderNotReady" => Class::Transient { retry_after },
        // "No order for this ID", "order is expired": CAs word and type it differently, but all say 404.
        _ if about == About::Order && seen.status == Some(StatusCode::NOT_FOUND) => Class::OrderLost,
        "externalAccountRequired"
        | "userActionRequired"
        | "invalidContact"
        | "unsupportedContact"
        | "invalidProfile"
        | "unauthorized"
        | "badSignatureAlgorithm" => Class::NeedsUser,
        "badPublicKey" | "malformed" if about == About::Account => Class::NeedsUser,
        "compound" => of_subproblems(problem, retry_after),
        kind if refuses(kind) => Class::Refused,
        _ => Class::Transient { retry_after },
    };
    AcmeFailure { class, words }
}

/// Whether a problem type is a no to the names or to the request itself (RFC 8555 section 6.7, RFC 9773 section 5).
fn refuses(kind: &str) -> bool {
    ["rejectedIdentifier", "unsupportedIdentifier", "caa", "malformed", "badCSR", "badPublicKey", "alreadyReplaced"]
        .contains(&kind)
}

fn of_subproblems(problem: &Problem, retry_after: Option<Duration>) -> Class {
    let has = |wanted: &dyn Fn(&str) -> bool| {
        problem.subproblems.iter().filter_map(|sub| sub.r#type.as_deref()).any(|kind| wanted(short_type(kind)))
    };
    if has(&|kind| kind == "rateLimited") {
        Class::RateLimited { retry_after }
    } else if has(&refuses) {
        Class::Refused
    } else {
        Class::Transient { retry_after }
    }
}

/// Whether `error` is the server's problem document of this type.
pub(crate) fn is_type(error: &Error, kind: &str) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref().map(short_type) == Some(kind))
}

/// `caa` of `urn:ietf:params:acme:error:caa`; empty for a type that is not ACME's.
fn short_type(kind: &str) -> &str {
    kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or_default()
}

/// A CA's problem document in one line: detail, type, and the same for each of its parts.
pub(crate) fn problem_words(problem: &Problem) -> String {
    let mut words = part(problem.detail.as_deref(), problem.r#type.as_deref());
    for sub in problem.subproblems.iter().take(20) {
        words.push_str("; ");
        if let Some(identifier) = &sub.identifier {
            words.push_str(&format!("for {}: ", identifier.authorized(false)));
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

/// At most `max` characters of `text`, on one line, without control characters and without the invisible ones that
/// reorder text on a terminal.
pub(crate) fn printable(text: &str, max: usize) -> String {
    let hidden =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let mut out = String::new();
    let mut kept = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            gap = kept > 0;
        } else if !hidden(c) {
            if kept + usize::from(gap) >= max {
                out.pop();
                out.push('…');
                break;
            }
            if std::mem::take(&mut gap) {
                out.push(' ');
                kept += 1;
            }
            out.push(c);
            kept += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(json: &str, status: u16, retry_after: Option<u64>, about: About) -> AcmeFailure {
        let problem: Problem = serde_json::from_str(json).unwrap();
        let seen = Seen {
            status: StatusCode::from_u16(status).ok(),
            retry_after: retry_after.map(Duration::from_secs),
            ..Seen::default()
        };
        failure_of(Error::Api(problem), &seen, about)
    }

    fn typed(kind: &str, status: u16, about: About) -> Class {
        failed(&format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"d"}}"#), status, None, about).class
    }

    #[test]
    fn classes_follow_the_problem_type_and_what_was_asked() {
        let transient = Class::Transient { retry_after: None };
        let limited = Class::RateLimited { retry_after: None };
        for (kind, status, about, class) in [
            ("rateLimited", 429, About::NewOrder, &limited),
            ("malformed", 429, About::NewOrder, &limited),
            ("serverInternal", 500, About::Order, &transient),
            ("badNonce", 400, About::Order, &transient),
            ("orderNotReady", 403, About::Order, &transient),
            ("somethingNew", 400, About::Order, &transient),
            ("accountDoesNotExist", 400, About::NewOrder, &Class::AccountGone),
            ("malformed", 404, About::Order, &Class::OrderLost),
            ("malformed", 404, About::NewOrder, &Class::Refused),
            ("malformed", 400, About::NewOrder, &Class::Refused),
            ("malformed", 400, About::Account, &Class::NeedsUser),
            ("rejectedIdentifier", 400, About::NewOrder, &Class::Refused),
            ("caa", 403, About::Order, &Class::Refused),
            ("badCSR", 400, About::Order, &Class::Refused),
            ("externalAccountRequired", 403, About::Account, &Class::NeedsUser),
            ("userActionRequired", 403, About::NewOrder, &Class::NeedsUser),
            ("unauthorized", 403, About::NewOrder, &Class::NeedsUser),
        ] {
            assert_eq!(&typed(kind, status, about), class, "{kind} {status} {about:?}");
        }
        assert_eq!(
            failed("{}", 500, Some(9), About::Order).class,
            Class::Transient { retry_after: Some(Duration::from_secs(9)) }
        );
    }

    #[test]
    fn words_hold_every_part_of_the_problem_and_nothing_else() {
        let failure = failed(
            r#"{"type":"urn:ietf:params:acme:error:compound","detail":"Some names\nwere   rejected","subproblems":[
                {"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids","identifier":{"type":"dns","value":"a.example"}},
                {"detail":"bad\u001b[31m name"}]}"#,
            400,
            None,
            About::NewOrder,
        );
        assert_eq!(failure.class, Class::Refused);
        assert_eq!(
            failure.words,
            "Some names were rejected (urn:ietf:params:acme:error:compound); \
             for a.example: CAA forbids (urn:ietf:params:acme:error:caa); bad [31m name"
        );
    }

    #[test]
    fn words_are_bounded_and_printable() {
        let words = printable(&"ä\u{202e}b\u{0} \n".repeat(10_000), MAX_WORDS);
        assert_eq!(words.chars().count(), MAX_WORDS);
        assert!(words.starts_with("äb äb") && words.ends_with('…'), "{words}");
        assert_eq!(printable("  exact ", 5), "exact");
    }

    #[test]
    fn json_errors_never_quote_the_answer() {
        let error = serde_json::from_str::<Vec<u8>>(r#""SECRET""#).unwrap_err();
        assert!(error.to_string().contains("SECRET"));
        assert!(!json_words(&error).contains("SECRET"));
        let missing = serde_json::from_str::<instant_acme::OrderState>("{}").unwrap_err();
        assert_eq!(json_words(&missing), "the ACME server's answer lacks the field status");
    }
}
