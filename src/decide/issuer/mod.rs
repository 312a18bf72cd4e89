//! MailIssuer: whether it can sign, and how an ACME account comes to be.
//!
//! An account key is stored before it is registered, and a key that is there is never replaced. What was registered
//! stays good while the server is down: the server is asked only when the spec or the key calls for it.

pub mod allows;
pub mod world;

mod acme;
mod ca;
mod expiry;
#[cfg(test)]
mod tests;

pub use acme::{note as rollover_note, server_url};
pub use allows::allows;
pub use expiry::tell as tell_of_expiry;
pub use world::{Action, Fact, World};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::issuer::{AcmeStatus, CaStatus, CertManagerIssuer, MailIssuer, MailIssuerStatus};
use crate::api::reasons::{condition, issuer as reason};
use crate::decide::Decision;
use crate::decide::conditions::{Conditions, State};

/// The Secret with the ACME account key of an issuer: the one that the spec names, else `<issuer name>-account-key`.
pub fn account_key_secret(issuer: &MailIssuer) -> String {
    let reference = issuer.spec.acme.as_ref().and_then(|a| a.account_key_secret_ref.as_ref());
    reference.map_or_else(|| format!("{}-account-key", issuer.name_any()), |r| r.name.clone())
}

/// What is to be done about a MailIssuer, and what is to be said about it. The same world always gives the same
/// decision; a decision without actions has the status to write.
pub fn decide(world: &World) -> Decision<Action, MailIssuerStatus> {
    if world.object.metadata.deletion_timestamp.is_some() {
        return Decision { actions: Vec::new(), status: world.object.status.clone().unwrap_or_default(), wake: None };
    }
    let spec = &world.object.spec;
    let outcome = match (&world.forbidden, &spec.acme, &spec.ca) {
        (Some(message), _, _) if spec.self_signed.is_none() => Outcome {
            wake: Some(later(world.now, SignedDuration::from_mins(1))),
            ..Outcome::kept(world, Said::person(reason::FORBIDDEN, message.clone()))
        },
        (_, Some(acme), _) => acme::decide(world, acme),
        (_, None, Some(ca)) => ca::decide(world, ca),
        (_, None, None) => Outcome::said(Said::ready(
            reason::READY,
            match &spec.cert_manager {
                Some(CertManagerIssuer { issuer_ref: at }) => format!(
                    "cert-manager's {} {} of {} is asked, in the namespace of each MailCertificate",
                    at.kind, at.name, at.group
                ),
                None => {
                    "each certificate is signed with its own key: clients trust it only when they pin it".to_owned()
                }
            },
        )),
    };
    let wake = outcome.wake.map(|at| at.max(later(world.now, SignedDuration::from_secs(1))));
    Decision { actions: outcome.action.iter().cloned().collect(), status: status(world, outcome), wake }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// What one kind of issuer comes to.
struct Outcome {
    action: Option<Action>,
    said: Said,
    acme: Option<AcmeStatus>,
    ca: Option<CaStatus>,
    retry: Retry,
    wake: Option<Timestamp>,
}

/// What the status remembers of failures.
#[derive(Clone, Debug, Default, PartialEq)]
struct Retry {
    failures: Option<i32>,
    last_failure_time: Option<Timestamp>,
    retry_time: Option<Timestamp>,
}

impl Outcome {
    fn said(said: Said) -> Self {
        Self { action: None, said, acme: None, ca: None, retry: Retry::default(), wake: None }
    }

    /// With what the status knows already, so that nothing is lost while nobody can look.
    fn kept(world: &World, said: Said) -> Self {
        let old = world.object.status.clone().unwrap_or_default();
        let retry = Retry::of(&old);
        Self { acme: old.acme, ca: old.ca, retry, ..Self::said(said) }
    }
}

impl Retry {
    fn of(status: &MailIssuerStatus) -> Self {
        Self {
            failures: status.failures,
            last_failure_time: status.last_failure_time.as_ref().map(|t| t.0),
            retry_time: status.retry_time.as_ref().map(|t| t.0),
        }
    }
}

/// What `Ready` says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    state: State,
    reason: String,
    message: String,
    /// Whether it takes a person to go on.
    is_stalled: bool,
}

impl Said {
    fn ready(reason: &str, message: String) -> Self {
        Self { state: State::True, reason: reason.to_owned(), message, is_stalled: false }
    }

    fn not_ready(reason: &str, message: String) -> Self {
        Self { state: State::False, reason: reason.to_owned(), message, is_stalled: false }
    }

    fn person(reason: &str, message: String) -> Self {
        Self { is_stalled: true, ..Self::not_ready(reason, message) }
    }
}

fn status(world: &World, outcome: Outcome) -> MailIssuerStatus {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    let old = world.object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let generation = world.object.metadata.generation;
    let said = outcome.said;
    let mut conditions = Conditions::on(old, generation, world.now);
    conditions.set(condition::READY, said.state, &said.reason, &said.message);
    if said.is_stalled {
        conditions.stalled(&said.reason, &said.message);
    } else if said.state != State::True {
        conditions.reconciling(&said.reason, &said.message);
    }
    expiry::conclude(outcome.ca.as_ref(), &mut conditions);
    MailIssuerStatus {
        observed_generation: generation,
        conditions: conditions.finish(),
        acme: outcome.acme,
        ca: outcome.ca,
        failures: outcome.retry.failures,
        last_failure_time: outcome.retry.last_failure_time.map(Time),
        retry_time: outcome.retry.retry_time.map(Time),
    }
}
