//! What went wrong with an ACME request, as data: a class to act upon and words to show.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use instant_acme::Problem;
use serde::Deserialize;

use super::http::https_url;
use super::problem::{Refusal, problem_words, short_type};

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
    /// The answer is well-formed and makes no sense, or is beyond every bound (a renewal window that ends before it
    /// starts, a chain of twenty certificates). Asking again brings the same: say so, and do without it.
    Unusable,
}

/// A failed ACME step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeFailure {
    /// What to do about it.
    pub class: Class,
    /// The CA's own words out of its problem document, or our sentence; at most [`MAX_WORDS`] printable characters.
    /// Never any other part of an answer's body.
    pub words: String,
    /// Whether a signed request was sent and no whole answer came: the server may have done what it was asked to.
    pub unanswered: bool,
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
        Self { class, words: printable(words.as_ref(), MAX_WORDS), unanswered: false }
    }

    /// This failure, of a request that may have been carried out all the same.
    pub(crate) fn unanswered(self, unanswered: bool) -> Self {
        Self { unanswered, ..self }
    }

    /// A failure that may pass by itself.
    pub(crate) fn transient(retry_after: Option<Duration>, words: impl AsRef<str>) -> Self {
        Self::new(Class::Transient { retry_after }, words)
    }

    /// A failure that only the user can mend.
    pub(crate) fn needs_user(words: impl AsRef<str>) -> Self {
        Self::new(Class::NeedsUser, words)
    }

    /// A failure because an answer's JSON is not what it should be.
    pub(crate) fn misshapen(error: &serde_json::Error) -> Self {
        Self::transient(None, json_words(error))
    }

    /// A failure because of what the server gave.
    pub(crate) fn unusable(words: impl AsRef<str>) -> Self {
        Self::new(Class::Unusable, words)
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
    /// The revocation of a certificate.
    Revocation,
    /// The renewal information of a certificate, which one can do without.
    RenewalInfo,
}

/// Why a request brought no result, before it is known what it was about.
#[derive(Debug)]
pub(crate) enum Error {
    /// The server's problem document (RFC 8555 section 6.7).
    Problem(Box<Answered>),
    /// An error status with an empty body.
    Bare(StatusCode, Option<Duration>),
    /// A success whose body is neither JSON nor a certificate.
    Garbled(AcmeFailure),
    /// Everything else.
    Failed(AcmeFailure),
}

/// A problem document with what the answer's head says.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) refusal: Refusal,
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    /// For a later request (RFC 8555 section 6.5).
    pub(crate) nonce: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ACME server did not do what it was asked to")
    }
}

impl std::error::Error for Error {}

impl From<AcmeFailure> for Error {
    fn from(failure: AcmeFailure) -> Self {
        Self::Failed(failure)
    }
}

impl Error {
    /// Whether it is the server's problem document of this type.
    pub(crate) fn is(&self, kind: &str) -> bool {
        matches!(self, Self::Problem(answered) if answered.refusal.short_type() == kind)
    }

    /// The failure that this is in a request about `about`.
    pub(crate) fn about(self, about: About) -> AcmeFailure {
        match self {
            Self::Problem(answered) => of_problem(&answered, about),
            // How a CA without problem documents says "unknown".
            Self::Bare(StatusCode::NOT_FOUND, _) if about == About::Order => {
                AcmeFailure::new(Class::OrderLost, "the ACME server does not know this order any more (404)")
            }
            Self::Bare(status, _) if about == About::RenewalInfo && status.is_client_error() => {
                AcmeFailure::unusable(format!("the ACME server does not know this certificate ({})", status.as_u16()))
            }
            Self::Bare(status, retry_after) => {
                let words = format!("the ACME server answered {} without saying why", status.as_u16());
                match status {
                    StatusCode::TOO_MANY_REQUESTS => AcmeFailure::new(Class::RateLimited { retry_after }, words),
                    _ => AcmeFailure::transient(retry_after, words),
                }
            }
            Self::Garbled(failure) if about == About::RenewalInfo => AcmeFailure::unusable(failure.words),
            Self::Garbled(failure) | Self::Failed(failure) => failure,
        }
    }
}

/// Reads an answer's JSON. The words of a failure hold no part of it.
pub(crate) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, AcmeFailure> {
    serde_json::from_slice(body).map_err(|error| AcmeFailure::misshapen(&error))
}

/// serde's messages quote the values they stumble over, so only the name of a missing field is taken from them.
fn json_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => format!("the ACME server's answer lacks the field {field}"),
        None => "the ACME server's answer is JSON, but not what ACME (RFC 8555) says it is".into(),
    }
}

fn of_problem(answered: &Answered, about: About) -> AcmeFailure {
    let Answered { refusal, status, retry_after, .. } = answered;
    let retry_after = *retry_after;
    let class = match refusal.short_type() {
        "rateLimited" => Class::RateLimited { retry_after },
        _ if *status == StatusCode::TOO_MANY_REQUESTS => Class::RateLimited { retry_after },
        "accountDoesNotExist" => Class::AccountGone,
        "badNonce" | "serverInternal" | "orderNotReady" => Class::Transient { retry_after },
        // "No order for this ID", "order is expired": CAs word and type it differently, but all say 404.
        _ if about == About::Order && *status == StatusCode::NOT_FOUND => Class::OrderLost,
        "externalAccountRequired"
        | "userActionRequired"
        | "invalidContact"
        | "unsupportedContact"
        | "invalidProfile"
        | "unauthorized"
        | "badSignatureAlgorithm" => Class::NeedsUser,
        "badPublicKey" | "malformed" if about == About::Account => Class::NeedsUser,
        "compound" => of_subproblems(&refusal.problem, retry_after),
        _ if about == About::RenewalInfo && status.is_client_error() => Class::Unusable,
        kind if refuses(kind) => Class::Refused,
        _ => Class::Transient { retry_after },
    };
    AcmeFailure { class, words: with_advice(refusal), unanswered: false }
}

/// The CA's words, and what to do where they do not say it.
fn with_advice(refusal: &Refusal) -> String {
    let words = problem_words(&refusal.problem);
    let advice = match refusal.short_type() {
        "userActionRequired" => match refusal.instance.as_deref().filter(|url| https_url(url).is_ok()) {
            Some(url) => format!("; do what the CA asks for at {}", printable(url, 300)),
            None => "; the CA wants a person to act, often to agree to changed terms of service".to_owned(),
        },
        "invalidProfile" => "; choose one of the profiles in the issuer's status.acme.profiles".to_owned(),
        "accountDoesNotExist" => "; the CA does not know the issuer's ACME account (any more)".to_owned(),
        "externalAccountRequired" => "; the issuer needs spec.acme.externalAccountBinding".to_owned(),
        _ => return words,
    };
    let room = MAX_WORDS.saturating_sub(advice.chars().count());
    format!("{}{advice}", printable(&words, room))
}

/// Whether a problem type is a no to the names or to the request itself (RFC 8555 section 6.7, RFC 9773 section 5).
fn refuses(kind: &str) -> bool {
    [
        "rejectedIdentifier",
        "unsupportedIdentifier",
        "caa",
        "malformed",
        "badCSR",
        "badPublicKey",
        "alreadyReplaced",
        "badRevocationReason",
    ]
    .contains(&kind)
}

fn of_subproblems(problem: &Problem, retry_after: Option<Duration>) -> Class {
    let has =
        |wanted: &dyn Fn(&str) -> bool| problem.subproblems.iter().any(|sub| wanted(short_type(sub.r#type.as_deref())));
    if has(&|kind| kind == "rateLimited") {
        Class::RateLimited { retry_after }
    } else if has(&refuses) {
        Class::Refused
    } else {
        Class::Transient { retry_after }
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
        let refusal = serde_json::from_str(json).unwrap();
        let (status, retry_after) = (StatusCode::from_u16(status).unwrap(), retry_after.map(Duration::from_secs));
        Error::Problem(Box::new(Answered { refusal, status, retry_after, nonce: None })).about(about)
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
        #[derive(Debug, Deserialize)]
        struct Object {
            #[allow(dead_code)]
            status: String,
        }
        let missing = from_json::<Object>(b"{}").unwrap_err();
        assert_eq!(missing.words, "the ACME server's answer lacks the field status");
    }
}
