//! What a look at an endpoint proves.

use k8s_openapi::jiff::Timestamp;

use crate::api::certificate::Revision;
use crate::api::domain::EndpointVerdict;
use crate::api::reasons::endpoint as reason;
use crate::pki::trust::{judge_name, judge_path};
use crate::pki::{Anchors, Certificate, Chain, ChainVerdict};

use super::world::Sighting;

/// What an endpoint should serve.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// Name of the MailCertificate.
    pub certificate: &'a str,
    /// The Secret that pods mount.
    pub secret: &'a str,
    /// The active revision.
    pub active: &'a Revision,
    /// Former revisions.
    pub former: Vec<&'a Revision>,
}

/// What is to be said about an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Served, or Problem.
    pub verdict: EndpointVerdict,
    /// One of [`reasons::endpoint`](crate::api::reasons::endpoint), or the word of a failed look.
    pub reason: String,
    /// What is wrong and what to do.
    pub message: Option<String>,
    /// SHA-256 over the DER of the leaf that was served.
    pub served: Option<String>,
}

impl Judgement {
    fn problem(reason: &str, message: String, served: Option<String>) -> Self {
        Self { verdict: EndpointVerdict::Problem, reason: reason.to_owned(), message: Some(message), served }
    }
}

/// Who answered with which chain, or why there is none to judge.
fn readable(found: &Sighting) -> Result<(&str, Chain), Judgement> {
    let (address, ders) = match found {
        Sighting::Failure(failure) => return Err(Judgement::problem(&failure.word, failure.message.clone(), None)),
        Sighting::Chain { address, chain } => (address, chain),
    };
    let chain = Chain::from_ders(ders).map_err(|error| {
        let message = format!("{address} serves certificates that cannot be read: {error}");
        Judgement::problem(reason::VALIDATION_FAILURE, message, None)
    })?;
    Ok((address, chain))
}

/// Judges what an endpoint showed, as a client that asks for `host` at the time `now` would.
pub fn judge(found: &Sighting, expected: &Expected<'_>, anchors: &Anchors, host: &str, now: Timestamp) -> Judgement {
    let (address, chain) = match readable(found) {
        Ok(readable) => readable,
        Err(problem) => return problem,
    };
    let served = chain.leaf().fingerprint.to_string();
    let defect = defect(&chain, anchors, host, now);
    if served == expected.active.fingerprint_sha256 {
        return of_active(address, expected, &chain, defect, served);
    }
    let known = expected.former.iter().find(|r| r.fingerprint_sha256 == served);
    let mut message = match known {
        Some(previous) => stale(address, previous, expected, now),
        None => foreign(address, chain.leaf(), expected, now),
    };
    let reason = defect.as_ref().map_or(reason::STALE, ChainVerdict::result_type);
    // That the leaf has expired is said already.
    if let Some(defect) = defect.filter(|_| now <= chain.leaf().not_after) {
        message.push_str(&format!("; besides, {defect}"));
    }
    Judgement::problem(reason, message, Some(served))
}

/// Judges what a server shows to clients of another algorithm than the active certificate's: any certificate will do
/// that they accept.
pub fn judge_other(found: &Sighting, anchors: &Anchors, host: &str, now: Timestamp) -> Judgement {
    let (address, chain) = match readable(found) {
        Ok(readable) => readable,
        Err(problem) => return problem,
    };
    match defect(&chain, anchors, host, now) {
        Some(defect) => {
            let message = format!("{address} serves a certificate of another algorithm, of which {defect}");
            Judgement::problem(defect.result_type(), message, Some(chain.leaf().fingerprint.to_string()))
        }
        None => {
            let reason = reason::SERVED.to_owned();
            Judgement { verdict: EndpointVerdict::Served, reason, message: None, served: None }
        }
    }
}

/// The first thing for which a client would refuse the chain.
fn defect(chain: &Chain, anchors: &Anchors, host: &str, now: Timestamp) -> Option<ChainVerdict> {
    let path = judge_path(chain, anchors, now).err();
    match path {
        Some(ChainVerdict::Expired { .. }) => path,
        path => judge_name(chain.leaf(), host).err().or(path),
    }
}

fn of_active(
    address: &str,
    expected: &Expected<'_>,
    chain: &Chain,
    defect: Option<ChainVerdict>,
    served: String,
) -> Judgement {
    let Some(defect) = defect else {
        let reason = reason::SERVED.to_owned();
        return Judgement { verdict: EndpointVerdict::Served, reason, message: None, served: Some(served) };
    };
    let advice = match &defect {
        ChainVerdict::HostMismatch { .. } => "; add the name to the certificate, or correct the endpoint's host",
        ChainVerdict::NotTrusted(_) if chain.rest().is_empty() => {
            "; let the server send all of tls.crt, not only its first certificate"
        }
        ChainVerdict::NotTrusted(_) => "; clients must trust its CA, and the server must send all of tls.crt",
        ChainVerdict::Expired { .. } | ChainVerdict::NotYetValid { .. } => "",
    };
    let message = format!("{address} serves the active revision {}, but {defect}{advice}", expected.active.revision);
    Judgement::problem(defect.result_type(), message, Some(served))
}

fn stale(address: &str, served: &Revision, expected: &Expected<'_>, now: Timestamp) -> String {
    format!(
        "{address} serves revision {}, a previous one that {}, in place of revision {}: \
         it has not loaded Secret {} since; reload or restart it, or name its workload in spec.workloads",
        served.revision,
        end(served.not_after.0, now),
        expected.active.revision,
        expected.secret,
    )
}

fn foreign(address: &str, leaf: &Certificate, expected: &Expected<'_>, now: Timestamp) -> String {
    format!(
        "{address} serves a certificate that is not of MailCertificate {} (issued by {}, {}): \
         let the server read Secret {}, or correct the endpoint's host, address or port",
        expected.certificate,
        if leaf.self_issued { "itself" } else { leaf.issuer.as_str() },
        end(leaf.not_after, now),
        expected.secret,
    )
}

fn end(not_after: Timestamp, now: Timestamp) -> String {
    format!("{} at {not_after}", if now > not_after { "expired" } else { "expires" })
}
