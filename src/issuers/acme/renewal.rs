//! Renewal information (RFC 9773): when the CA wants a certificate replaced.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::account::AcmeAccount;
use super::client::Client;
use super::failure::{About, AcmeFailure, printable};
use super::http::{BoundedHttp, https_url};

/// No certificate of a CA that people trust lives longer than this (the Baseline Requirements allow 398 days), so no
/// window lies further away.
const MAX_AWAY: SignedDuration = SignedDuration::from_hours(24 * 366 * 10);

/// The window in which the CA wants a certificate renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// Where the window begins; in the past when the CA wants the certificate replaced at once.
    pub start: Timestamp,
    /// Where it ends; after `start`.
    pub end: Timestamp,
    /// A page for people on why the window is as it is; https, at most 500 printable characters.
    pub explanation_url: Option<String>,
    /// When to ask again, as the server says it; at most [`super::MAX_RETRY_AFTER`].
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    suggested_window: Window,
    #[serde(default, rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct Window {
    start: String,
    end: String,
}

impl AcmeAccount {
    /// As [`renewal_info`], with the directory that this handle has read already.
    ///
    /// # Errors
    /// As [`renewal_info`].
    pub async fn renewal_info(&self, ari_id: &str, now: Timestamp) -> Result<RenewalInfo, AcmeFailure> {
        look(self.client(), ari_id, now).await
    }
}

/// What the server says about the certificate with this identifier (see `pki::ari_id`). Needs no account.
///
/// # Errors
/// [`super::failure::Class::Unusable`] when the server does not offer renewal information, does not know the
/// certificate, or gives an answer that makes no sense: say so and do without. Everything else may pass.
pub async fn renewal_info(
    server: &str,
    http: &BoundedHttp,
    ari_id: &str,
    now: Timestamp,
) -> Result<RenewalInfo, AcmeFailure> {
    look(&Client::open(http, server).await?, ari_id, now).await
}

async fn look(client: &Client, ari_id: &str, now: Timestamp) -> Result<RenewalInfo, AcmeFailure> {
    let Some(base) = client.urls().renewal_info.as_deref() else {
        return Err(AcmeFailure::unusable("the ACME server offers no renewal information (RFC 9773)"));
    };
    if !is_id(ari_id) {
        return Err(AcmeFailure::unusable("the certificate has no identifier for renewal information (RFC 9773)"));
    }
    let url = format!("{}/{ari_id}", base.trim_end_matches('/'));
    let answer = client.http().get(&url).await.map_err(|error| error.about(About::RenewalInfo))?;
    Ok(RenewalInfo { retry_after: answer.retry_after, ..read(&answer.body, now)? })
}

/// Two base64url texts with a dot between: nothing else may become part of a path.
fn is_id(text: &str) -> bool {
    let part = |part: &str| {
        (1..=128).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.split_once('.').is_some_and(|(authority, serial)| part(authority) && part(serial))
}

fn read(body: &[u8], now: Timestamp) -> Result<RenewalInfo, AcmeFailure> {
    let odd = |what: &str| AcmeFailure::unusable(format!("the CA's renewal information makes no sense: {what}"));
    let raw: Raw = serde_json::from_slice(body).map_err(|_| odd("it has no suggestedWindow with start and end"))?;
    let time = |text: &str| text.parse::<Timestamp>().map_err(|_| odd("a time in it is none (RFC 3339)"));
    let (start, end) = (time(&raw.suggested_window.start)?, time(&raw.suggested_window.end)?);
    if end <= start {
        return Err(odd(&format!("the window ends at {end} and begins at {start}")));
    }
    if [start, end].into_iter().any(|at| at.duration_since(now).abs() > MAX_AWAY) {
        return Err(odd(&format!("the window from {start} to {end} is more than ten years away")));
    }
    let explanation = raw.explanation_url.filter(|url| https_url(url).is_ok()).map(|url| printable(&url, 500));
    Ok(RenewalInfo { start, end, explanation_url: explanation, retry_after: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuers::acme::failure::Class;

    fn window(start: &str, end: &str, url: &str) -> Result<RenewalInfo, AcmeFailure> {
        let body =
            format!(r#"{{"suggestedWindow":{{"start":"{start}","end":"{end}"}},"explanationURL":"{url}","more":1}}"#);
        read(body.as_bytes(), "2026-01-05T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_window_is_read() {
        let info = window("2026-01-02T04:00:00Z", "2026-01-03T04:00:00+01:00", "https://ca.example/why").unwrap();
        assert_eq!(
            (info.start.to_string(), info.end.to_string()),
            ("2026-01-02T04:00:00Z".into(), "2026-01-03T03:00:00Z".into())
        );
        assert_eq!(info.explanation_url.as_deref(), Some("https://ca.example/why"));
        let info = window("2026-01-02T04:00:00Z", "2026-01-03T04:00:00Z", "javascript:alert(1)").unwrap();
        assert_eq!(info.explanation_url, None);
    }

    #[test]
    fn what_makes_no_sense_is_said_to_be_so() {
        let day = "2026-01-03T04:00:00Z";
        for (start, end, words) in [
            (day, day, "ends at"),
            (day, "2026-01-02T04:00:00Z", "ends at"),
            ("1970-01-01T00:00:00Z", day, "ten years"),
            (day, "9999-01-01T00:00:00Z", "ten years"),
            ("soon", day, "RFC 3339"),
        ] {
            let failure = window(start, end, "").unwrap_err();
            assert_eq!(failure.class, Class::Unusable);
            assert!(failure.words.contains(words), "{failure}");
        }
        for body in ["", "{}", "[1]", r#"{"suggestedWindow":"s3cret"}"#] {
            let failure = read(body.as_bytes(), Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(failure.class, Class::Unusable);
            assert!(!failure.words.contains("s3cret"));
        }
    }

    #[test]
    fn only_identifiers_go_into_the_path() {
        assert!(is_id("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
        for bad in ["", "a", "a.", ".b", "a.b.c", "a/../b.c", "a.b?x"] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
