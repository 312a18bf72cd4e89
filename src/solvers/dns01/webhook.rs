//! TXT records published by a webhook that was written for cert-manager: its DNS-01 contract, which some thirty DNS
//! providers have an implementation of.
//!
//! Such a webhook is an aggregated API: an APIService sends `/apis/<groupName>/v1alpha1` of the Kubernetes API on to
//! it. Every solver in it is a resource that can only be created; what is created is a ChallengePayload
//! (`webhook.acme.cert-manager.io/v1alpha1`), and the answer is the same with a `response` in it.
//! cert-manager itself need not be installed.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::Failure;
use crate::issuers::acme::failure::printable;
use crate::operating::client::MaxAnswer;

/// The API version of the payload, and the version of every solver's own API.
const PAYLOAD: &str = "webhook.acme.cert-manager.io/v1alpha1";

/// The chart's value that grants what is needed here.
pub const CHART_VALUE: &str = "dns01.webhooks";

/// How long a webhook may take, from the request to the last byte: it talks to a DNS provider meanwhile.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes: the request comes back in it.
const MAX_ANSWER: usize = 256 * 1024;

/// The largest `config` that is sent, in bytes of JSON.
const MAX_CONFIG: usize = 64 * 1024;

/// The longest text that is taken over from a webhook, in characters.
const MAX_WORDS: usize = 400;

/// A webhook's solver, as an issuer names it.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookSolver {
    /// The API group under which the webhook is registered: `acme.example.com`.
    pub group_name: String,
    /// The solver in it.
    pub solver_name: String,
    /// What the webhook wants to know: references to Secrets in [`Challenge::resource_namespace`] and the like.
    pub config: Value,
}

/// What the webhook is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish the record. Asked twice, it is published once.
    Present,
    /// Remove the record, and only that value of it. No record is no error.
    CleanUp,
}

/// The record that a challenge wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Tells this request from others; the answer repeats it.
    pub uid: String,
    /// The name that the certificate is for, `*.example.com` for a wildcard.
    pub dns_name: String,
    /// The record's value: base64url of SHA-256 over the key authorization.
    pub key: String,
    /// Where the webhook looks for the Secrets that `config` names. It must be the issuer's namespace and no other:
    /// whoever may write an issuer would otherwise use the credentials of others.
    pub resource_namespace: String,
    /// The record's name, after every CNAME. The dot at its end may be missing.
    pub fqdn: String,
    /// The zone that holds it. The dot at its end may be missing.
    pub zone: String,
}

impl WebhookSolver {
    /// Asks the webhook to publish or remove the record.
    ///
    /// # Errors
    /// What is wrong and what to do about it; the webhook's own words where it has some.
    pub async fn call(&self, client: &Client, action: Action, challenge: &Challenge) -> Result<(), Failure> {
        self.call_within(client, action, challenge, TIMEOUT).await
    }

    /// As [`Self::call`], with another limit than [`TIMEOUT`]. The client's own limit holds too.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_within(
        &self,
        client: &Client,
        action: Action,
        challenge: &Challenge,
        limit: Duration,
    ) -> Result<(), Failure> {
        let request = self.request(action, challenge)?;
        let late = || self.slow(limit);
        let (status, body) = tokio::time::timeout(limit, send(client, request, self)).await.map_err(|_| late())??;
        if !status.is_success() {
            return Err(self.refusal(status, &body));
        }
        self.judge(&body, &challenge.uid)
    }

    fn request(&self, action: Action, challenge: &Challenge) -> Result<Request<Body>, Failure> {
        if !is_group(&self.group_name) {
            return Err(Failure::lasting(format!("groupName {:?} is not the name of an API group", self.group_name)));
        }
        if !is_segment(&self.solver_name) {
            return Err(Failure::lasting(format!(
                "solverName {:?} cannot be a solver's name: letters, digits, hyphens, underscores and dots only",
                self.solver_name
            )));
        }
        let payload = self.payload(action, challenge).to_string();
        if payload.len() > MAX_CONFIG {
            return Err(Failure::lasting(format!("the webhook's config is larger than {MAX_CONFIG} bytes")));
        }
        let mut request = Request::post(format!("/apis/{}/v1alpha1/{}", self.group_name, self.solver_name))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Body::from(payload.into_bytes()))
            .map_err(|_| Failure::lasting("groupName and solverName do not make a path"))?;
        request.extensions_mut().insert(MaxAnswer(MAX_ANSWER));
        Ok(request)
    }

    fn payload(&self, action: Action, challenge: &Challenge) -> Value {
        let action = match action {
            Action::Present => "Present",
            Action::CleanUp => "CleanUp",
        };
        let mut payload = json!({
            "apiVersion": PAYLOAD,
            "kind": "ChallengePayload",
            "request": {
                "uid": challenge.uid,
                "action": action,
                "type": "dns-01",
                "dnsName": challenge.dns_name,
                "key": challenge.key,
                "resourceNamespace": challenge.resource_namespace,
                "resolvedFQDN": absolute(&challenge.fqdn),
                "resolvedZone": absolute(&challenge.zone),
                "allowAmbientCredentials": false,
            },
        });
        if !self.config.is_null() {
            payload["request"]["config"] = self.config.clone();
        }
        payload
    }

    /// How messages call it.
    fn label(&self) -> String {
        format!("the webhook solver {} of {}", self.solver_name, self.group_name)
    }

    fn slow(&self, limit: Duration) -> Failure {
        Failure::passing(format!("{} did not answer within {limit:.0?}", self.label()))
    }

    fn judge(&self, body: &[u8], uid: &str) -> Result<(), Failure> {
        let label = self.label();
        let strange = |what: &str| {
            Failure::lasting(format!("{label} answered {what}: it does not keep to cert-manager's contract"))
        };
        let answer: Value = serde_json::from_slice(body).map_err(|_| strange("something that is not JSON"))?;
        let response = answer.get("response").filter(|r| r.is_object()).ok_or_else(|| strange("without a response"))?;
        if response.get("uid").and_then(Value::as_str) != Some(uid) {
            return Err(strange("another request than the one it was asked (uid)"));
        }
        if response.get("success").and_then(Value::as_bool) == Some(true) {
            return Ok(());
        }
        match status_message(&response["status"]) {
            Some(words) => Err(Failure::passing(format!("{label} failed: {words}"))),
            None => Err(Failure::passing(format!("{label} failed and does not say why: see its log"))),
        }
    }

    /// What the API server, or the webhook's own, says instead of an answer.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        let (group, solver, label) = (&self.group_name, &self.solver_name, self.label());
        let said = serde_json::from_slice::<Value>(body).ok().filter(|v| v["kind"] == "Status");
        let words = said.as_ref().and_then(status_message).unwrap_or_else(|| status.to_string());
        match status {
            StatusCode::NOT_FOUND if said.is_none() => Failure::lasting(format!(
                "this cluster serves no API v1alpha1.{group}: install the webhook, or correct groupName (kubectl get \
                 apiservice lists what there is)"
            )),
            StatusCode::NOT_FOUND => Failure::lasting(format!(
                "the webhook of {group} has no solver {solver}: correct solverName (kubectl api-resources --api-group \
                 {group} lists them)"
            )),
            StatusCode::FORBIDDEN => Failure::lasting(format!(
                "the operator may not call {label}: add {{groupName: {group}, solverName: {solver}}} to the chart's value \
                 {CHART_VALUE}, or grant its service account {{apiGroups: [{group:?}], resources: [{solver:?}], verbs: \
                 [\"create\"]}} in a ClusterRole bound with a ClusterRoleBinding ({words})"
            )),
            StatusCode::SERVICE_UNAVAILABLE => Failure::passing(format!(
                "{label} cannot be reached: see kubectl get apiservice v1alpha1.{group} and the webhook's pods ({words})"
            )),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Failure::passing(format!("{label} answered with status {}: {words}", status.as_u16()))
            }
            status => Failure::lasting(format!("{label} refused with status {}: {words}", status.as_u16())),
        }
    }
}

async fn send(
    client: &Client,
    request: Request<Body>,
    solver: &WebhookSolver,
) -> Result<(StatusCode, bytes::Bytes), Failure> {
    let broken = |error: &dyn std::fmt::Display| {
        let words = printable(&error.to_string(), MAX_WORDS);
        Failure::passing(format!("{} was not reached: {words}", solver.label()))
    };
    let answer = match client.send(request).await {
        Ok(answer) => answer,
        Err(error) if is_too_large(&error) => return Err(too_large(solver)),
        Err(error) => return Err(broken(&error)),
    };
    let status = answer.status();
    match Limited::new(answer.into_body(), MAX_ANSWER).collect().await {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) if is_too_large(&*error) => Err(too_large(solver)),
        Err(error) => Err(broken(&error)),
    }
}

fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.is::<http_body_util::LengthLimitError>())
}

fn too_large(solver: &WebhookSolver) -> Failure {
    Failure::lasting(format!("{} answered with more than {MAX_ANSWER} bytes", solver.label()))
}

/// The message of a metav1.Status.
fn status_message(status: &Value) -> Option<String> {
    let message = status.get("message")?.as_str()?;
    let words = printable(message, MAX_WORDS);
    (!words.is_empty()).then_some(words)
}

fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

/// A DNS subdomain (RFC 1123) of at most 253 characters.
fn is_group(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|b| inner(*b) || *b == b'-')
            && bytes.first().is_some_and(|b| inner(*b))
            && bytes.last().is_some_and(|b| inner(*b))
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// One segment of a path that needs no escape and leads nowhere else.
fn is_segment(name: &str) -> bool {
    let ends = name.as_bytes().first().zip(name.as_bytes().last());
    name.len() <= 253
        && ends.is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
