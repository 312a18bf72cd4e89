//! Certificates through cert-manager: one step of a CertificateRequest in each pass.
//!
//! ```text
//! key stored ─▶ request made ─▶ approved ─▶ signed ─▶ validated like everything else ─▶ stored, activated ─▶ request deleted
//!                   ▲              │ denied, failed, invalid, or not what was asked for: deleted, and made again later
//!                   └──────────────┘
//! ```
//! A request's name says what it asks for. One that a pass made before it was interrupted is found again by its name,
//! and one that asks for what nobody wants any more is deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::checks::Trigger;
use super::names::{self, Wanted};
use super::state::State;
use super::world::{Action, CertManagerView, Fresh, IssuerView, KeyPair, Origin, RequestView, StepFailure};
use super::{Step, acme, issue};
use crate::api::certificate::Request;
use crate::api::reasons::certificate as reason;
use crate::decide::backoff::Pace;
use crate::pki::{Certificate, Chain, Fingerprint, PemLimits, PrivateKey};

/// The longest name of an object (RFC 1123 subdomain, as Kubernetes bounds it).
const LONGEST_NAME: usize = 253;

/// The next step towards a certificate for `wanted`.
pub fn step(
    state: &mut State<'_>,
    wanted: &Wanted,
    trigger: &Trigger,
    issuer: &CertManagerView,
    origin: Origin,
) -> Step {
    let key = match acme::stored_key(state) {
        Ok(key) => key,
        Err(step) => return *step,
    };
    let names = wanted.without([]);
    let name = request_name(state, &key, &names, issuer);
    let learnt = &state.world.learnt;
    let Some(attempt) = &mut state.attempt else { return Step::default() };
    if learnt.created_request {
        // The status first: a restart goes on from it.
        attempt.request = Some(Request { name: name.clone(), created_at: Time(state.world.now) });
        return Step::working(reason::REQUEST_PENDING, format!("made CertificateRequest {name}"), state.soon(1));
    }
    if let Some(other) = attempt.request.take_if(|r| r.name != name)
        && !learnt.deleted_request
    {
        return Step::act(vec![Action::DeleteRequest { name: other.name }]);
    }
    match (attempt.request.clone(), &learnt.request) {
        (None, _) | (Some(_), Some(None)) => create(state, name, key, &names),
        (Some(_), None) => Step::act(vec![Action::LookAtRequest { name }]),
        (Some(request), Some(Some(view))) => look(state, wanted, trigger, issuer, &request, view, (key, origin)),
    }
}

fn create(state: &State<'_>, name: String, key: Arc<PrivateKey>, names: &BTreeSet<String>) -> Step {
    let subject = Box::new(names::subject(state.spec, names));
    Step::act(vec![Action::CreateRequest { name, key, subject, usages: names::usages(state.spec) }])
}

fn look(
    state: &mut State<'_>,
    wanted: &Wanted,
    trigger: &Trigger,
    issuer: &CertManagerView,
    request: &Request,
    view: &RequestView,
    (key, origin): (Arc<PrivateKey>, Origin),
) -> Step {
    let name = &request.name;
    let ended =
        [(&view.denied, "was denied"), (&view.invalid, "is invalid, says its issuer"), (&view.failed, "has failed")];
    if let Some((words, what)) = ended.into_iter().find_map(|(words, what)| Some((words.as_ref()?, what))) {
        return fail(state, reason::REQUEST_REFUSED, format!("the CertificateRequest {name} {what}: {words}"));
    }
    let Some(certificate) = &view.certificate else { return waits(state, issuer, request, view) };
    match read(certificate, view.ca.as_deref(), key) {
        Ok(pair) => {
            let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
            issue::accept(state, &Fresh { revision, pair, origin }, wanted, trigger)
        }
        Err(why) => {
            let message = format!("what was issued for the CertificateRequest {name} cannot be read: {why}");
            fail(state, reason::ISSUED_INVALID, message)
        }
    }
}

fn waits(state: &State<'_>, issuer: &CertManagerView, request: &Request, view: &RequestView) -> Step {
    let CertManagerView { name: signer, kind, group } = issuer;
    let (name, namespace) = (&request.name, state.world.object.namespace().unwrap_or_default());
    let said = view.pending.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
    let message = if view.approved {
        format!("the CertificateRequest {name} is approved and waits for {kind} {signer} of {group} to sign it{said}")
    } else {
        format!(
            "the CertificateRequest {name} waits for approval{said}: cert-manager's approver gives it, or a policy, or you \
             with: cmctl approve --namespace {namespace} {name}"
        )
    };
    Step::working(reason::REQUEST_PENDING, message, poll(state, request))
}

/// Signers in the cluster answer in seconds; people take longer.
fn poll(state: &State<'_>, request: &Request) -> Timestamp {
    match state.world.now.duration_since(request.created_at.0).as_secs() {
        ..30 => state.soon(2),
        30..300 => state.soon(5),
        _ => state.soon(30),
    }
}

/// What was issued, with what readers may take as trust anchor: the CA that the issuer gives, else the topmost certificate.
fn read(certificate: &[u8], ca: Option<&[u8]>, key: Arc<PrivateKey>) -> Result<KeyPair, String> {
    let chain = Chain::from_pem(certificate, &PemLimits::CHAIN).map_err(|e| e.to_string())?;
    let given = ca.and_then(|pem| Chain::from_pem(pem, &PemLimits::CHAIN).ok());
    let ca: Vec<Certificate> = match given {
        Some(ca) => std::iter::once(ca.leaf()).chain(ca.rest()).cloned().collect(),
        None => chain.rest().last().cloned().into_iter().collect(),
    };
    Ok(KeyPair { key, chain: Arc::new(chain), ca: Arc::new(ca), canonical: true })
}

fn fail(state: &mut State<'_>, reason: &'static str, message: String) -> Step {
    state.fail(&StepFailure { pace: Pace::Refusal, reason, message, retry_after: None, order_lost: true });
    Step::failing(state)
}

/// Deletes a request that is over: signed and stored, refused, or of an issuer that the spec names no longer.
pub fn clean_up(state: &mut State<'_>, step: &mut Step) {
    let status = state.world.object.status.as_ref();
    let Some(old) = status.and_then(|s| s.attempt.as_ref()).and_then(|a| a.request.clone()) else { return };
    let others = matches!(
        state.world.issuer,
        IssuerView::Acme(_) | IssuerView::Ca(_) | IssuerView::SelfSigned | IssuerView::Import(_)
    );
    if let Some(attempt) = state.attempt.as_mut().filter(|_| others) {
        attempt.request = None;
    }
    let current = state.attempt.as_ref().and_then(|a| a.request.as_ref());
    let under_way = current.is_some_and(|r| r.name == old.name);
    if !under_way && !state.world.learnt.deleted_request {
        step.actions.push(Action::DeleteRequest { name: old.name });
    }
}

/// The name of the request: the same for the same key and wishes, and another one for others.
fn request_name(
    state: &State<'_>,
    key: &PrivateKey,
    names: &BTreeSet<String>,
    CertManagerView { name, kind, group }: &CertManagerView,
) -> String {
    let object = &state.world.object;
    let duration = state.spec.options.duration.map(std::time::Duration::from).unwrap_or_default();
    let asked = [
        object.uid().unwrap_or_default(),
        key.spki_sha256().to_string(),
        names::request_digest(state.spec),
        format!("{group}/{kind}/{name}"),
        duration.as_secs().to_string(),
    ];
    let asked: Vec<&str> = asked.iter().chain(names).map(String::as_str).collect();
    let digest = Fingerprint::of(asked.join("\n").as_bytes()).to_string();
    let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
    let suffix = format!("-r{revision}-{}", digest.get(..8).unwrap_or_default());
    let base: String = object.name_any().chars().take(LONGEST_NAME.saturating_sub(suffix.len())).collect();
    format!("{}{suffix}", base.trim_end_matches(['.', '-']))
}
