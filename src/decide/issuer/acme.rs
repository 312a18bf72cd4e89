//! Issuers with an ACME account (RFC 8555, section 7.3).

use k8s_openapi::jiff::Timestamp;

use crate::api::issuer::{AcmeIssuer, AcmeStatus, MailIssuerStatus};
use crate::api::keys;
use crate::api::reasons::{condition, issuer as reason};
use crate::decide::backoff;
use crate::decide::conditions::{State, find};
use crate::pki::{Chain, PemLimits, to_ascii, to_ascii_email};

use super::world::{AccountKey, Action, SecretState, StepFailure, World};
use super::{Outcome, Retry, Said, account_key_secret};

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// The URL of the directory that `spec.acme.server` means.
///
/// # Errors
/// When it is neither an https URL nor one of the names.
pub fn server_url(server: &str) -> Result<&str, String> {
    match server {
        "LetsEncrypt" => Ok(LETS_ENCRYPT),
        "LetsEncryptStaging" => Ok(LETS_ENCRYPT_STAGING),
        url => {
            // Servers inside a cluster have names that no public certificate carries, or addresses: only the scheme
            // and that there is a host count here.
            let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#', ':']).next());
            match host {
                Some(host) if !host.is_empty() && !url.contains(char::is_whitespace) => Ok(url),
                _ => Err("it must be an https URL, LetsEncrypt or LetsEncryptStaging".to_owned()),
            }
        }
    }
}

pub(super) fn decide(world: &World, acme: &AcmeIssuer) -> Outcome {
    let problems = problems(acme);
    if !problems.is_empty() {
        return Outcome::kept(world, Said::person(reason::INVALID_SPEC, problems.join("; ")));
    }
    // Checked just above.
    let server = server_url(&acme.server).unwrap_or_default();
    let known = known(world, server);
    if !acme.terms_of_service_agreed {
        return terms(world, server, known);
    }
    let secret = account_key_secret(&world.object);
    let contacts = contacts(world, acme, &known);
    let key = match (&world.account_secret, &world.account_thumbprint) {
        (SecretState::Absent, _) => {
            let message = format!("an account key is to be made in Secret {secret}");
            return step(world, known, Action::CreateAccountKey { secret_name: secret }, message, false);
        }
        (SecretState::Found(data), thumbprint) => match (data.get(keys::TLS_KEY), thumbprint) {
            (None, _) => Err(format!("{} is missing", keys::TLS_KEY)),
            (Some(_), Some(Err(problem))) => Err(problem.clone()),
            (Some(key), Some(Ok(thumbprint))) => Ok((key, thumbprint)),
            (Some(_), None) => return not_read(world, &secret),
        },
        (SecretState::NotLooked, _) => return not_read(world, &secret),
    };
    let (key, thumbprint) = match key {
        Ok(key) => key,
        Err(problem) => {
            let message = format!(
                "Secret {secret}: {problem}; put the account key (EC P-256, PKCS#8 PEM) back, \
                 or delete the Secret to have a new account"
            );
            return Outcome { acme: some(known), ..Outcome::said(Said::person(reason::SECRET_INVALID, message)) };
        }
    };
    let has_account = known.account_uri.is_some() && known.key_thumbprint.as_ref() == Some(thumbprint);
    if let Some(uri) = known.account_uri.as_ref().filter(|_| has_account && known.contact == contacts) {
        let said = Said::ready(reason::REGISTERED, registered(uri));
        return Outcome { acme: some(known), ..Outcome::said(said) };
    }
    let action =
        Action::Register { server: server.to_owned(), contacts: contacts.clone(), key: AccountKey(key.to_vec()) };
    let mut outcome =
        step(world, known.clone(), action, format!("an account is to be registered at {server}"), has_account);
    if let Some(uri) = known.account_uri.filter(|_| has_account && outcome.said.state != State::True) {
        // The account is good: only its contacts are not up to date.
        let message =
            format!("{}; its contacts could not be brought up to date: {}", registered(&uri), outcome.said.message);
        outcome.said = Said::ready(reason::REGISTERED, message);
    }
    outcome
}

fn registered(uri: &str) -> String {
    format!("account {uri} is registered")
}

fn not_read(world: &World, secret: &str) -> Outcome {
    let message = format!("Secret {secret} has not been read yet");
    Outcome::kept(world, Said::not_ready(reason::SECRET_NOT_FOUND, message))
}

/// What is known of the server and the account there, from the status and from this pass.
fn known(world: &World, server: &str) -> AcmeStatus {
    let old = world.object.status.as_ref().and_then(|s| s.acme.clone());
    let mut known = match old {
        Some(old) if old.server.as_deref() == Some(server) => old,
        // Another server knows nothing of the account. The contacts are still those to tell.
        Some(old) => AcmeStatus { contact: old.contact, ..AcmeStatus::default() },
        None => AcmeStatus::default(),
    };
    if let Some(directory) = &world.directory {
        known.server = Some(server.to_owned());
        known.terms_of_service = directory.terms_of_service.clone();
    }
    if let (Some(account), Some(acme)) = (&world.registered, &world.object.spec.acme) {
        known.contact = contacts(world, acme, &known);
        known.server = Some(server.to_owned());
        known.account_uri = Some(account.uri.clone());
        known.key_thumbprint = Some(account.thumbprint.clone());
    }
    known
}

fn some(known: AcmeStatus) -> Option<AcmeStatus> {
    Some(known).filter(|k| *k != AcmeStatus::default())
}

/// Whom the CA may write to: the first of these that there is.
fn contacts(world: &World, acme: &AcmeIssuer, known: &AcmeStatus) -> Vec<String> {
    let of =
        |domain: &Option<String>| domain.as_ref().and_then(|d| to_ascii(d).ok()).map(|d| vec![format!("no-reply@{d}")]);
    let own: Vec<String> = acme.contact.iter().filter_map(|c| to_ascii_email(c).ok()).collect();
    let told = Some(known.contact.clone()).filter(|c| !c.is_empty());
    if !own.is_empty() {
        return own;
    }
    of(&world.default_domain).or(told).or_else(|| of(&world.domain_hint)).unwrap_or_default()
}

fn problems(acme: &AcmeIssuer) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(problem) = server_url(&acme.server) {
        problems.push(format!("spec.acme.server: {problem}"));
    }
    for (i, contact) in acme.contact.iter().enumerate() {
        if let Err(problem) = to_ascii_email(contact) {
            problems.push(format!("spec.acme.contact[{i}]: {problem}"));
        }
    }
    if let Some(Err(problem)) = acme.ca_bundle.as_ref().map(|pem| Chain::from_pem(pem.as_bytes(), &PemLimits::BUNDLE)) {
        problems.push(format!("spec.acme.caBundle: {problem}"));
    }
    problems
}

/// Without agreement there is no account, but the terms are shown.
fn terms(world: &World, server: &str, known: AcmeStatus) -> Outcome {
    const AGREE: &str = "set spec.acme.termsOfServiceAgreed: true to go on";
    if known.server.is_none() {
        let action = Action::FetchDirectory { server: server.to_owned() };
        let message = format!("the terms of service of {server} are not accepted; their URL is to be looked up there");
        let mut outcome = step(world, known, action, message, false);
        if let Some(failure) = &world.failure {
            outcome.said.message = format!(
                "the terms of service of {server} are not accepted, and their URL is not known: {}",
                failure.message
            );
        }
        outcome.said = Said::person(reason::TERMS_NOT_ACCEPTED, outcome.said.message);
        return outcome;
    }
    let mut message = match &known.terms_of_service {
        Some(url) => format!("the terms of service of {server} are not accepted: read {url}, then {AGREE}"),
        None => format!("the terms of service of {server} are not accepted, and it names no URL for them: {AGREE}"),
    };
    match &world.directory {
        Some(directory) if directory.external_account_required => message
            .push_str("; it also wants an external account binding, which is not supported: choose another server"),
        Some(_) => {}
        None => message = said_of_terms(world).unwrap_or(message),
    }
    Outcome { acme: some(known), ..Outcome::said(Said::person(reason::TERMS_NOT_ACCEPTED, message)) }
}

/// What an earlier pass, which had the directory, said of the terms.
fn said_of_terms(world: &World) -> Option<String> {
    let old = world.object.status.as_ref().filter(|s| s.observed_generation == world.object.metadata.generation)?;
    let said = find(&old.conditions, condition::READY).filter(|c| c.reason == reason::TERMS_NOT_ACCEPTED)?;
    Some(said.message.clone())
}

/// Asks for one step, unless it has just failed or its time has not come. `message` says what it is; `is_good` tells
/// whether the account can be used without it.
fn step(world: &World, known: AcmeStatus, action: Action, message: String, is_good: bool) -> Outcome {
    let old = world.object.status.clone().unwrap_or_default();
    let is_same_spec = old.observed_generation == world.object.metadata.generation;
    let before = if is_same_spec { Retry::of(&old) } else { Retry::default() };
    if let Some(failure) = &world.failure {
        let (retry, said) = (failed(failure, &before, world.now), said_of(failure));
        return Outcome { wake: retry.retry_time, acme: some(known), retry, ..Outcome::said(said) };
    }
    let pending = Said::not_ready(reason::SERVER_UNAVAILABLE, message);
    // Making a key asks nothing of the server.
    let asks_server = !matches!(action, Action::CreateAccountKey { .. });
    if asks_server && backoff::waits(before.retry_time, world.now) {
        let said = said_before(&old, is_good).unwrap_or(pending);
        return Outcome { wake: before.retry_time, acme: some(known), retry: before, ..Outcome::said(said) };
    }
    // A second registration in one pass would not go better than the first.
    let action = Some(action).filter(|_| world.registered.is_none());
    Outcome { action, acme: some(known), retry: before, ..Outcome::said(pending) }
}

/// What the status says already, as long as it fits.
fn said_before(old: &MailIssuerStatus, is_good: bool) -> Option<Said> {
    let ready = find(&old.conditions, condition::READY).filter(|c| (c.status == "True") == is_good)?;
    let state = State::from(is_good);
    let is_stalled = find(&old.conditions, condition::STALLED).is_some();
    Some(Said { state, reason: ready.reason.clone(), message: ready.message.clone(), is_stalled })
}

fn failed(failure: &StepFailure, before: &Retry, now: Timestamp) -> Retry {
    let failures = before.failures.unwrap_or(0).saturating_add(1).max(1);
    let at = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let pause = backoff::pause(failure.pace, failures, failure.retry_after);
    Retry {
        failures: Some(failures),
        last_failure_time: Some(at),
        retry_time: Some(at.checked_add(pause).unwrap_or(Timestamp::MAX)),
    }
}

fn said_of(failure: &StepFailure) -> Said {
    match failure.pace {
        backoff::Pace::Person => Said::person(&failure.reason, failure.message.clone()),
        backoff::Pace::Transient | backoff::Pace::Refusal => Said::not_ready(&failure.reason, failure.message.clone()),
    }
}
