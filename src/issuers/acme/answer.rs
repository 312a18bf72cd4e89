//! Reads an HTTP answer before ACME does: is it one an ACME server gives, and what do its headers say?

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, LINK, LOCATION, RETRY_AFTER};
use http::{Method, StatusCode};
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
use serde::de::IgnoredAny;

use super::failure::{AcmeFailure, Answered, Class, Error};
use super::http::https_url;
use super::problem::Refusal;

/// The longest `Retry-After` that is believed; what is longer is cut to it.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many links to alternate chains are kept of one answer.
const MAX_ALTERNATES: usize = 8;

/// A successful answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The anti-replay nonce for a later request (RFC 8555 section 6.5).
    pub(crate) nonce: Option<String>,
    /// The URL of what was made.
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// Links to alternate chains.
    pub(crate) alternates: Vec<String>,
    pub(crate) body: Bytes,
}

/// The answer to a request, unless it is an error or no answer that an ACME server gives, which is never quoted.
///
/// The nonce of an error is in the [`Error`] itself.
pub(super) fn judge(method: &Method, parts: http::response::Parts, body: Bytes) -> Result<Answer, Error> {
    let (status, retry_after) = (parts.status, retry_after(&parts.headers, Timestamp::now()));
    if status.is_redirection() {
        let words = format!(
            "the ACME server answered {} (a redirect), which ACME does not use; check the server's URL",
            status.as_u16()
        );
        return Err(AcmeFailure::transient(retry_after, words).into());
    }
    if !status.is_success() {
        return Err(refusal(&parts, &body, retry_after));
    }
    let is_json = || serde_json::from_slice::<IgnoredAny>(&body).is_ok();
    let is_certificate = body.starts_with(b"-----BEGIN CERTIFICATE-----");
    if method != Method::HEAD && !body.is_empty() && !is_certificate && !is_json() {
        let words = format!("the ACME server answered {} {} instead of JSON", status.as_u16(), media_type(&parts));
        return Err(Error::Garbled(AcmeFailure::transient(retry_after, words)));
    }
    let text = |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(String::from);
    Ok(Answer {
        nonce: nonce(&parts.headers),
        location: text(&LOCATION),
        retry_after,
        alternates: alternates(&parts.headers),
        body,
    })
}

fn refusal(parts: &http::response::Parts, body: &Bytes, retry_after: Option<Duration>) -> Error {
    let status = parts.status;
    if let Some(refusal) = problem(&parts.headers, body) {
        let nonce = nonce(&parts.headers);
        return Error::Problem(Box::new(Answered { refusal, status, retry_after, nonce }));
    }
    if body.is_empty() {
        return Error::Bare(status, retry_after);
    }
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let kind = if is_json { "an ACME problem document" } else { "JSON" };
    let words = format!("the ACME server answered {} {} instead of {kind}", status.as_u16(), media_type(parts));
    let failure = match status {
        StatusCode::TOO_MANY_REQUESTS => AcmeFailure::new(Class::RateLimited { retry_after }, words),
        _ => AcmeFailure::transient(retry_after, words),
    };
    failure.into()
}

/// `Replay-Nonce` (RFC 8555 section 6.5.1). Its characters should be base64url, which is the server's affair.
fn nonce(headers: &HeaderMap) -> Option<String> {
    let nonce = headers.get("replay-nonce")?.to_str().ok()?;
    let valid = (1..=512).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_graphic());
    valid.then(|| nonce.to_owned())
}

/// Only what is a problem document may be quoted: any JSON with a `detail` could be another service's secret.
fn problem(headers: &HeaderMap, body: &Bytes) -> Option<Refusal> {
    let problem: Refusal = serde_json::from_slice(body).ok()?;
    let typed = !problem.short_type().is_empty();
    let declared = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("application/problem+json"));
    (typed || declared).then_some(problem)
}

/// The media type an answer declares, without its parameters, bounded.
fn media_type(parts: &http::response::Parts) -> String {
    let declared = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    let clean = essence.len() <= 60 && essence.chars().all(|c| c.is_ascii_alphanumeric() || "/+-._".contains(c));
    if clean && !essence.is_empty() { essence.to_ascii_lowercase() } else { "(no media type)".into() }
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds or a date, cut to [`MAX_RETRY_AFTER`]; a date in the past is zero.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = rfc2822::parse(value).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The targets of `Link: <…>;rel="alternate"` (RFC 8555 section 7.4.2).
pub(super) fn alternates(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(LINK).into_iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(",<").flat_map(|part| part.split(", <")))
        .filter_map(|link| link.trim().trim_start_matches('<').split_once('>'))
        .filter(|(_, parameters)| {
            parameters.split(';').any(|parameter| {
                let parameter = parameter.trim().to_ascii_lowercase().replace(' ', "");
                parameter == "rel=\"alternate\"" || parameter == "rel=alternate"
            })
        })
        .map(|(target, _)| target.to_string())
        .filter(|target| https_url(target).is_ok())
        .take(MAX_ALTERNATES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(name: http::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-05T10:00:00Z".parse().unwrap();
        for (value, wait) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Mon, 05 Jan 2026 10:01:30 GMT", Some(90)),
            ("Mon, 05 Jan 2026 09:00:00 GMT", Some(0)),
            ("99999999999999", Some(MAX_RETRY_AFTER.as_secs())),
            ("-5", None),
            ("soon", None),
        ] {
            let seen = retry_after(&headers(RETRY_AFTER, &[value]), now);
            assert_eq!(seen, wait.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn only_alternate_links_over_https_are_kept() {
        let links = headers(
            LINK,
            &[
                "<https://ca.example/dir>;rel=\"index\"",
                "<https://ca.example/cert/1/1>;rel=\"alternate\", <https://ca.example/cert/1/2>; rel=alternate",
                "<http://ca.example/cert/1/3>;rel=\"alternate\"",
            ],
        );
        assert_eq!(alternates(&links), ["https://ca.example/cert/1/1", "https://ca.example/cert/1/2"]);
    }

    #[test]
    fn only_problem_documents_may_be_quoted() {
        let plain = headers(CONTENT_TYPE, &["application/json"]);
        let problem = headers(CONTENT_TYPE, &["application/problem+json; charset=utf-8"]);
        let secret = Bytes::from_static(br#"{"detail":"s3cret"}"#);
        let typed = Bytes::from_static(br#"{"type":"urn:ietf:params:acme:error:caa"}"#);
        assert!(super::problem(&plain, &secret).is_none());
        assert!(super::problem(&problem, &secret).is_some() && super::problem(&plain, &typed).is_some());
    }
}
