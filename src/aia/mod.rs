//! Fetching an issuer that a certificate chain lacks, from where the certificate says that it is (RFC 5280, section 4.2.2.1).
//!
//! Whoever made the certificate chooses the address, so it is not trusted: plain http on port 80 and no redirects, small
//! answers and little time, and never an address inside: the name is resolved here, every address is looked at, and the
//! one that was looked at is connected to. What comes back is used only when its key made the signature.

mod fetch;
mod reach;

use k8s_openapi::jiff::Timestamp;

use crate::api::reasons::import;
use crate::pki::Certificate;
use crate::pki::import::{Expectation, Finding, Imported, Request, judge, read};

pub use fetch::{FetchError, Fetcher, Lookup};
pub use reach::Reach;

/// As many issuers as are fetched for one chain.
const MOST: usize = 4;

/// Reads and judges like [`read`] and [`judge`], and fetches the issuers that are missing. What cannot be fetched stays
/// a finding, with the reason in its message.
pub async fn complete(
    request: &Request<'_>,
    expectation: &Expectation,
    now: Timestamp,
    fetcher: &Fetcher,
) -> (Imported, Vec<Finding>) {
    let mut extra: Vec<Certificate> = request.extra_issuers.to_vec();
    for _ in 0..MOST {
        let (imported, findings) = attempt(request, &extra, expectation, now);
        let Some(missing) = findings.iter().find(|f| f.code == import::CHAIN_INCOMPLETE && !f.issuer_urls.is_empty())
        else {
            return (imported, findings);
        };
        let top = imported.chain.as_ref().and_then(|chain| chain.iter().last());
        let fetched = fetcher.fetch(&missing.issuer_urls).await.and_then(|issuer| match top {
            Some(top) if top.signed_by(&issuer).is_ok() => Ok(issuer),
            _ => Err(FetchError::OtherCertificate(issuer.label())),
        });
        match fetched {
            Ok(issuer) => extra.push(issuer),
            Err(error) => return (imported, with_reason(findings, &error)),
        }
    }
    attempt(request, &extra, expectation, now)
}

fn attempt(
    request: &Request<'_>,
    extra: &[Certificate],
    expectation: &Expectation,
    now: Timestamp,
) -> (Imported, Vec<Finding>) {
    let (imported, mut findings) = read(&Request { extra_issuers: extra, ..*request });
    findings.extend(judge(&imported, expectation, now));
    (imported, findings)
}

fn with_reason(mut findings: Vec<Finding>, error: &FetchError) -> Vec<Finding> {
    for finding in findings.iter_mut().filter(|f| f.code == import::CHAIN_INCOMPLETE) {
        finding.message.push_str(&format!(". It could not be fetched: {error}"));
    }
    findings
}
