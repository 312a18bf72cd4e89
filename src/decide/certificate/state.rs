//! The status as it stands once everything learnt in this pass is taken in.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::renewal;
use super::world::{ActiveSecret, KeyPair, OrderView, Origin, SecretView, StepFailure, World};
use crate::api::certificate::{
    Attempt, Challenge, Failure, IssuerRef, MailCertificateSpec, OmittedName, Order, Repairs, Revision,
};
use crate::api::{keys, reasons::certificate as reason};
use crate::decide::backoff;
use crate::pki::Fingerprint;

/// Repairs further apart than this are counted anew.
const REPAIRS_FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

/// The status under construction.
pub struct State<'a> {
    /// What it is built from.
    pub world: &'a World,
    /// The spec.
    pub spec: &'a MailCertificateSpec,
    /// The active revision.
    pub active: Option<Revision>,
    /// Former revisions, newest first.
    pub previous: Vec<Revision>,
    /// The issuance under way.
    pub attempt: Option<Attempt>,
    /// Legacy names that the active revision lacks.
    pub omitted: Vec<OmittedName>,
    /// Changes by others that were undone.
    pub repairs: Option<Repairs>,
    /// The renew annotation that was acted upon last.
    pub renew_seen: Option<String>,
}

impl<'a> State<'a> {
    /// Starts from the object's status and takes in what was observed and learnt.
    pub fn fold(world: &'a World) -> Self {
        let status = world.object.status.clone().unwrap_or_default();
        let mut state = Self {
            world,
            spec: &world.object.spec,
            active: status.active,
            previous: status.previous,
            attempt: status.attempt,
            omitted: status.omitted_names,
            repairs: status.repairs,
            renew_seen: status.last_renew_request,
        };
        state.take_in_secret();
        state.take_in_activation();
        state.take_in_order();
        if let Some(failure) = &world.learnt.failure {
            state.fail(failure);
        }
        state
    }

    /// The issuer that the spec names, with its namespace.
    pub fn issuer_ref(&self) -> IssuerRef {
        let namespace = self.spec.issuer_ref.namespace.clone().or_else(|| self.world.object.namespace());
        IssuerRef { name: self.spec.issuer_ref.name.clone(), namespace }
    }

    /// The renew annotation's value.
    pub fn renew_annotation(&self) -> Option<&str> {
        self.world.object.annotations().get(keys::RENEW).map(String::as_str)
    }

    /// Whether the spec is one that no pass has seen yet.
    pub fn spec_is_new(&self) -> bool {
        let seen = self.world.object.status.as_ref().and_then(|s| s.observed_generation);
        seen != self.world.object.metadata.generation
    }

    /// When the active revision is due for renewal.
    pub fn renewal_time(&self) -> Option<Timestamp> {
        let active = self.active.as_ref()?;
        let uid = self.world.object.uid().unwrap_or_default();
        Some(renewal::due(active.not_before.0, active.not_after.0, &self.spec.options.renewal, &uid, &active.serial))
    }

    /// Whether the Secret holds the active revision, complete and as it would be written now.
    pub fn holds_active(&self, secret: &ActiveSecret) -> bool {
        let Some(active) = &self.active else { return false };
        secret
            .content
            .as_ref()
            .is_ok_and(|pair| pair.canonical && pair.chain.leaf().fingerprint.to_string() == active.fingerprint_sha256)
    }

    /// The number of the revision to be.
    pub fn next_revision(&self) -> i64 {
        let active = self.active.as_ref().map_or(0, |r| r.revision);
        let previous = self.previous.iter().map(|r| r.revision).max().unwrap_or(0);
        // A stored revision that never became active is gone on with, not made again.
        let stored = self.world.revisions.keys().next_back().copied().unwrap_or(0);
        let used = active.max(previous);
        if stored > used { stored } else { used + 1 }
    }

    /// Begins an attempt unless one is under way.
    pub fn begin(&mut self, reason: &str) {
        let revision = self.next_revision();
        self.renew_seen = self.renew_annotation().map(str::to_owned).or(self.renew_seen.take());
        let now = Time(self.world.now);
        match &mut self.attempt {
            Some(attempt) => attempt.reason = reason.to_owned(),
            None => {
                self.attempt = Some(Attempt {
                    revision,
                    reason: reason.to_owned(),
                    started_at: now,
                    failures: 0,
                    last_failure_time: None,
                    last_failure: None,
                    retry_time: None,
                    order: None,
                    omitted_names: Vec::new(),
                });
            }
        }
    }

    /// Counts a failure of the attempt under way.
    pub fn fail(&mut self, failure: &StepFailure) {
        self.begin_if_none();
        let now = self.world.now;
        let Some(attempt) = &mut self.attempt else { return };
        attempt.failures = attempt.failures.saturating_add(1);
        attempt.last_failure_time = Some(Time(now));
        attempt.last_failure = Some(Failure { reason: failure.reason.to_owned(), message: failure.message.clone() });
        let pause = backoff::pause(failure.pace, attempt.failures, failure.retry_after);
        attempt.retry_time = now.checked_add(pause).ok().map(Time);
        if failure.order_lost {
            attempt.order = None;
        }
    }

    fn begin_if_none(&mut self) {
        if self.attempt.is_none() {
            self.begin(reason::ISSUING);
        }
    }

    fn take_in_secret(&mut self) {
        let SecretView::Ours(secret) = &self.world.secret else { return };
        if self.holds_active(secret) {
            if let Some(active) = &mut self.active {
                active.secret_resource_version = Some(secret.resource_version.clone());
            }
            return;
        }
        // Written by a pass whose status was lost, or kept from a MailCertificate of the same name.
        let Ok(pair) = &secret.content else { return };
        let revision = secret.revision.unwrap_or(1);
        if self.active.as_ref().is_some_and(|a| a.revision >= revision) {
            return;
        }
        let adopted = self.revision(revision, pair, &secret.origin, Some(secret.resource_version.clone()));
        self.activate(adopted);
    }

    fn take_in_activation(&mut self) {
        let Some((revision, version)) = &self.world.learnt.activated else { return };
        match &self.world.learnt.fresh {
            Some(fresh) if fresh.revision == *revision => {
                let made = self.revision(*revision, &fresh.pair, &fresh.origin, Some(version.clone()));
                if self.attempt.as_ref().is_some_and(|a| is_repair(&a.reason)) {
                    self.count_repair();
                }
                self.activate(made);
            }
            _ => {
                if let Some(active) = &mut self.active {
                    active.secret_resource_version = Some(version.clone());
                }
                self.count_repair();
            }
        }
    }

    fn activate(&mut self, revision: Revision) {
        if let Some(mut old) = self.active.take() {
            old.secret_resource_version = None;
            old.secret_name = self.world.revisions.get(&old.revision).cloned();
            self.previous.insert(0, old);
            let kept = usize::try_from(self.spec.options.history.revisions).unwrap_or(0);
            self.previous.truncate(kept);
        }
        self.omitted = self.attempt.take().map(|a| a.omitted_names).unwrap_or_default();
        if self.renew_seen.is_none() {
            self.renew_seen = self.renew_annotation().map(str::to_owned);
        }
        self.active = Some(revision);
    }

    fn count_repair(&mut self) {
        let now = self.world.now;
        let recent = self.repairs.as_ref().filter(|r| now.duration_since(r.last_time.0).abs() < REPAIRS_FORGOTTEN);
        let count = recent.map_or(1, |r| r.count.saturating_add(1));
        self.repairs = Some(Repairs { count, last_time: Time(now) });
    }

    fn take_in_order(&mut self) {
        let learnt = &self.world.learnt;
        let (Some(view), Some(attempt)) = (&learnt.order, &mut self.attempt) else { return };
        let mut order = attempt.order.take().filter(|o| o.url == view.url).unwrap_or_else(|| Order {
            url: view.url.clone(),
            dns_names: learnt.created_order.clone().unwrap_or_default(),
            created_at: Time(self.world.now),
            challenges: Vec::new(),
            exposed: false,
            finalized: false,
        });
        order.dns_names.sort();
        let known: BTreeMap<String, Challenge> = order.challenges.drain(..).map(|c| (c.token.clone(), c)).collect();
        order.challenges = challenges(view, &known, self.world);
        order.exposed = (order.exposed || learnt.exposed) && !learnt.unexposed;
        order.finalized = order.finalized || learnt.finalized;
        attempt.order = Some(order);
    }

    /// The facts of a revision.
    fn revision(&self, revision: i64, pair: &KeyPair, origin: &Origin, version: Option<String>) -> Revision {
        let leaf = pair.chain.leaf();
        let mut dns_names: Vec<String> = leaf.dns_names.iter().map(|n| n.to_ascii_lowercase()).collect();
        dns_names.sort();
        dns_names.dedup();
        Revision {
            revision,
            serial: leaf.serial.clone(),
            fingerprint_sha256: leaf.fingerprint.to_string(),
            spki_sha256: Fingerprint::of(leaf.spki_der()).to_string(),
            not_before: Time(leaf.not_before),
            not_after: Time(leaf.not_after),
            issuer: leaf.issuer.clone(),
            dns_names,
            issuer_ref: origin.issuer.clone().unwrap_or_else(|| self.issuer_ref()),
            key: pair.key.spec().to_string(),
            request_sha256: origin.request.clone(),
            authority_spki_sha256: origin.authority_spki.clone(),
            secret_name: self.world.revisions.get(&revision).cloned(),
            secret_resource_version: version,
        }
    }
}

fn is_repair(reason: &str) -> bool {
    reason == reason::SECRET_MISSING || reason == reason::SECRET_DAMAGED
}

fn challenges(view: &OrderView, known: &BTreeMap<String, Challenge>, world: &World) -> Vec<Challenge> {
    let open = view.authorizations.iter().filter(|a| !a.valid);
    open.filter_map(|authorization| {
        let http01 = authorization.http01.as_ref()?;
        let old = known.get(&http01.token);
        let checked = world.learnt.self_checks.get(&authorization.name);
        let failed_now = matches!(checked, Some(Err(_)));
        let answered = old.is_some_and(|c| c.answered) || world.learnt.answered.contains(&authorization.name);
        let problem = match checked {
            Some(Err(problem)) => Some(problem.clone()),
            Some(Ok(())) => None,
            None => http01.error.clone().or_else(|| old.and_then(|c| c.problem.clone())),
        };
        Some(Challenge {
            name: authorization.name.clone(),
            token: http01.token.clone(),
            key_authorization: http01.key_authorization.clone(),
            answered: answered || !http01.pending,
            failures: old.map_or(0, |c| c.failures).saturating_add(i32::from(failed_now)),
            problem,
        })
    })
    .collect()
}
