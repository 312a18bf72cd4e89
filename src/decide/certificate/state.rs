//! The status as it stands once everything learnt in this pass is taken in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::acme::preflight;
use super::world::{ActiveSecret, KeyPair, Origin, SecretView, StepFailure, World};
use super::{chains, outputs, renewal, renewal_info, wanted};
use crate::api::certificate::{
    ActivationStatus, Attempt, Failure, Finding, Gate, IssuerRef, MailCertificateSpec, NextKey, OmittedName,
    OutputsStatus, PublishedRecord, RenewalInfo, Repairs, Revision, Revocation, Rollback, Temporary,
};
use crate::api::{
    keys,
    reasons::{certificate as reason, finding},
};
use crate::decide::backoff;
use crate::pki::{Fingerprint, ari_id};

/// Repairs further apart than this are counted anew.
const REPAIRS_FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

/// Numbers of revisions that are believed; others were written by hand, and counting could not go on from them.
const BELIEVABLE: std::ops::Range<i64> = 1..1_000_000_000;

/// The status under construction.
pub struct State<'a> {
    /// What it is built from.
    pub world: &'a World,
    /// The spec.
    pub spec: &'a MailCertificateSpec,
    /// The active revision.
    pub active: Option<Revision>,
    /// New revisions that wait for their gates.
    pub staged: Vec<Revision>,
    /// What they wait for.
    pub gates: Vec<Gate>,
    /// The key that a later revision is to have.
    pub next_key: Option<NextKey>,
    /// What has become of the active revision.
    pub activation: Option<ActivationStatus>,
    /// The last time that an earlier revision became active again.
    pub rollback: Option<Rollback>,
    /// The rollback annotation that was acted upon last.
    pub rollback_seen: Option<String>,
    /// The rotate-key annotation that was acted upon last.
    pub rotate_seen: Option<String>,
    /// Former revisions, newest first.
    pub previous: Vec<Revision>,
    /// The issuance under way.
    pub attempt: Option<Attempt>,
    /// Legacy names that the active revision lacks.
    pub omitted: Vec<OmittedName>,
    /// What the active certificate's CA says about its renewal.
    pub renewal_info: Option<RenewalInfo>,
    /// The self-signed certificate in the Secret until one is issued.
    pub temporary: Option<Temporary>,
    /// TXT records that stand for challenges.
    pub published: Vec<PublishedRecord>,
    /// What was found wrong and stops nothing.
    pub findings: Vec<Finding>,
    /// What DNS says before an order.
    pub preflight: preflight::Found,
    /// The revoke annotation that was acted upon last.
    pub revoke_seen: Option<String>,
    /// The revocation that was asked for last.
    pub revocation: Option<Revocation>,
    /// What the Secret's outputs were made from.
    pub outputs: Option<OutputsStatus>,
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
            staged: status.staged,
            gates: status.gates,
            next_key: status.next_key,
            activation: status.activation,
            rollback: status.rollback,
            rollback_seen: status.last_rollback_request,
            rotate_seen: status.last_rotate_request,
            previous: status.previous,
            attempt: status.attempt,
            omitted: status.omitted_names,
            renewal_info: status.renewal_info,
            temporary: status.temporary,
            published: status.published_records,
            findings: status.findings,
            preflight: preflight::Found::default(),
            revoke_seen: status.last_revoke_request,
            revocation: status.revocation,
            outputs: status.outputs,
            repairs: status.repairs,
            renew_seen: status.last_renew_request,
        };
        if let Ok(wanted) = wanted(state.spec) {
            state.omitted.retain(|o| wanted.legacy.contains_key(&o.name));
        }
        if let Some(before) = &world.learnt.replaced {
            state.take_in_secret(before);
        }
        state.take_in_activation();
        state.take_in_secret(&world.secret);
        state.take_in_order();
        state.take_in_records();
        state.take_in_revocation();
        outputs::take_in(&mut state);
        preflight::take_in(&mut state);
        renewal_info::take_in(&mut state);
        state
    }

    /// Puts a finding down, or takes it back.
    pub fn find(&mut self, reason: &str, about: &str, message: Option<String>) {
        self.findings.retain(|f| f.reason != reason || f.about != about);
        let (reason, about) = (reason.to_owned(), about.to_owned());
        self.findings.extend(message.map(|message| Finding { reason, about, message }));
        self.findings.sort();
    }

    /// The issuer that the spec names, with its namespace; none: the certificate is imported.
    pub fn issuer_ref(&self) -> Option<IssuerRef> {
        let named = self.spec.issuer_ref.as_ref()?;
        let namespace = named.namespace.clone().or_else(|| self.world.object.namespace());
        Some(IssuerRef { name: named.name.clone(), namespace })
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
        let fallback = self.active.as_ref().map(|a| self.renewal_of(a.not_before.0, a.not_after.0, &a.serial))?;
        Some(renewal_info::effective(self, fallback))
    }

    /// When a certificate with this validity and serial number is due for renewal, by its lifetime.
    pub fn renewal_of(&self, not_before: Timestamp, not_after: Timestamp, serial: &str) -> Timestamp {
        let uid = self.world.object.uid().unwrap_or_default();
        renewal::due(not_before, not_after, &self.spec.options.renewal, &uid, serial)
    }

    /// Whether the Secret holds the active revision, complete and as it would be written now.
    pub fn holds_active(&self, secret: &ActiveSecret) -> bool {
        let Some(active) = &self.active else { return false };
        secret
            .content
            .as_ref()
            .is_ok_and(|pair| pair.canonical && pair.chain.leaf().fingerprint.to_string() == active.fingerprint_sha256)
    }

    /// Whether the renew annotation has a value that was not acted upon yet.
    pub fn asked_to_renew(&self) -> bool {
        let asked = self.renew_annotation();
        asked.is_some() && asked != self.renew_seen.as_deref()
    }

    /// The number of the revision to be.
    pub fn next_revision(&self) -> i64 {
        let active = self.active.as_ref().map_or(0, |r| r.revision);
        let previous = self.previous.iter().map(|r| r.revision).max().unwrap_or(0);
        // A stored revision that never became active is gone on with, not made again.
        let stored = self.world.revisions.keys().next_back().copied().unwrap_or(0);
        let used = active.max(previous);
        if stored > used { stored } else { used.saturating_add(1) }
    }

    /// Begins an attempt, or goes on with the one under way. A spec that changed is tried without delay.
    pub fn begin(&mut self, reason: &str) {
        let revision = self.next_revision();
        let afresh = self.spec_is_new();
        // Remembered as the reason, so that the request outlives failures and other reasons that come and go.
        let asked = self.asked_to_renew();
        let reason = if asked && self.active.is_some() { reason::RENEWAL_REQUESTED } else { reason };
        if asked {
            self.renew_seen = self.renew_annotation().map(str::to_owned);
        }
        let Some(attempt) = &mut self.attempt else {
            self.attempt = Some(Attempt {
                revision,
                reason: reason.to_owned(),
                started_at: Time(self.world.now),
                failures: 0,
                last_failure_time: None,
                last_failure: None,
                retry_time: None,
                order: None,
                wanted_records: Vec::new(),
                request: None,
                omitted_names: Vec::new(),
            });
            return self.take_in_order();
        };
        if attempt.reason != reason::RENEWAL_REQUESTED {
            attempt.reason = reason.to_owned();
        }
        if !attempt.order.as_ref().is_some_and(|o| o.finalized) {
            attempt.revision = revision;
        }
        if asked {
            // What comes of it now counts, not what an earlier try had to wait for.
            attempt.retry_time = None;
        }
        if afresh {
            (attempt.failures, attempt.last_failure_time) = (0, None);
            (attempt.last_failure, attempt.retry_time) = (None, None);
        }
    }

    /// Counts a failure of the attempt under way.
    pub fn fail(&mut self, failure: &StepFailure) {
        let now = self.world.now;
        let Some(attempt) = &mut self.attempt else { return };
        attempt.failures = attempt.failures.saturating_add(1);
        attempt.last_failure_time = Some(Time(now));
        attempt.last_failure = Some(Failure { reason: failure.reason.to_owned(), message: failure.message.clone() });
        let pause = backoff::pause(failure.pace, attempt.failures, failure.retry_after);
        attempt.retry_time = now.checked_add(pause).ok().map(Time);
        if failure.order_lost {
            attempt.order = None;
            attempt.request = None;
        }
    }

    fn take_in_secret(&mut self, view: &SecretView) {
        match view {
            SecretView::Temporary(temporary) => self.temporary = Some(temporary.clone()),
            SecretView::Absent | SecretView::Ours(_) | SecretView::Foreign(_) | SecretView::Copy { .. } => {
                self.temporary = None;
            }
            SecretView::Unchanged | SecretView::NotRead => {}
        }
        let SecretView::Ours(secret) = view else { return };
        if self.holds_active(secret) {
            if let Some(active) = &mut self.active {
                active.secret_resource_version = Some(secret.resource_version.clone());
            }
            return;
        }
        // Written by a pass whose status was lost, or kept from a MailCertificate of the same name.
        let Ok(pair) = &secret.content else { return };
        let revision = secret.revision.filter(|n| BELIEVABLE.contains(n)).unwrap_or(1);
        let fingerprint = pair.chain.leaf().fingerprint.to_string();
        if self.active.as_ref().is_some_and(|a| a.revision >= revision || a.fingerprint_sha256 == fingerprint) {
            return;
        }
        if self.active.is_none() {
            self.renew_seen = self.renew_annotation().map(str::to_owned).or(self.renew_seen.take());
        }
        let adopted = self.revision(revision, pair, &secret.origin, Some(secret.resource_version.clone()));
        self.activate(adopted);
    }

    fn take_in_activation(&mut self) {
        let Some((revision, version)) = &self.world.learnt.activated else { return };
        let undone = self.was_changed_by_others();
        if self.active.as_ref().is_some_and(|a| a.revision == *revision) {
            if let Some(active) = &mut self.active {
                active.secret_resource_version = Some(version.clone());
            }
        } else if let Some((pair, origin)) = self.made(*revision) {
            let made = self.revision(*revision, pair, origin, Some(version.clone()));
            self.renew_seen = self.renew_annotation().map(str::to_owned).or(self.renew_seen.take());
            let replaced = self.replacement_asked().map(str::to_owned);
            self.activate(made);
            self.take_in_replacement(replaced);
        }
        if undone {
            self.count_repair();
        }
    }

    /// What was written as `revision` in this pass: just issued, or stored by a pass that was interrupted.
    fn made(&self, revision: i64) -> Option<(&'a KeyPair, &'a Origin)> {
        let world = self.world;
        let fresh = world.learnt.fresh.as_ref().filter(|f| f.revision == revision).map(|f| (&f.pair, &f.origin));
        let stored = || world.read.get(&revision).and_then(|r| Some((r.content.as_ref()?, &r.origin)));
        fresh.or_else(stored)
    }

    /// Whether the Secret, before it was written in this pass, was not as the last status left it.
    fn was_changed_by_others(&self) -> bool {
        let known = self.world.object.status.as_ref().and_then(|s| s.active.as_ref()).map(|r| r.revision);
        // What the spec changed, and what was adopted just now, is nobody's fault.
        if self.spec_is_new()
            || outputs::changed_by_password(self)
            || known.is_none()
            || known != self.active.as_ref().map(|a| a.revision)
        {
            return false;
        }
        match &self.world.learnt.replaced {
            Some(SecretView::Absent) => true,
            Some(SecretView::Ours(secret)) => !self.holds_active(secret),
            _ => false,
        }
    }

    fn activate(&mut self, revision: Revision) {
        if let Some(mut old) = self.active.take() {
            old.secret_resource_version = None;
            old.secret_name = self.world.revisions.get(&old.revision).cloned();
            // Without a Secret of its own its key is gone.
            if old.secret_name.is_some() {
                self.previous.insert(0, old);
            }
            let kept = usize::try_from(self.spec.options.history.revisions).unwrap_or(0);
            self.previous.truncate(kept);
        }
        self.omitted = self.attempt.take().map(|a| a.omitted_names).unwrap_or_default();
        self.omitted.retain(|o| !revision.dns_names.contains(&o.name));
        self.temporary = None;
        // What was found about a request is over with it; what is found about this revision follows.
        self.findings.retain(|f| f.reason == finding::CLEAN_UP_FAILED);
        self.findings.extend(self.world.learnt.chain_findings.clone());
        let unanchored = revision.chain.is_some().then(|| self.unanchored()).flatten();
        self.find(finding::CHAIN_NOT_ANCHORED, "chain", unanchored);
        self.active = Some(revision);
    }

    /// Why the chain that was just issued leads to no anchor, if it does not.
    fn unanchored(&self) -> Option<String> {
        let fresh = self.world.learnt.fresh.as_ref()?;
        chains::described(&fresh.pair.chain, self.world.issuer.acme(), self.world.now).1
    }

    fn count_repair(&mut self) {
        let now = self.world.now;
        let recent = self.repairs.as_ref().filter(|r| now.duration_since(r.last_time.0).abs() < REPAIRS_FORGOTTEN);
        let count = recent.map_or(1, |r| r.count.saturating_add(1));
        self.repairs = Some(Repairs { count, last_time: Time(now) });
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
            issuer_ref: origin.issuer.clone().or_else(|| self.issuer_ref()),
            key: pair.key.spec().to_string(),
            request_sha256: origin.request.clone(),
            authority_spki_sha256: origin.authority_spki.clone(),
            chain: self.world.issuer.acme().map(|acme| chains::described(&pair.chain, Some(acme), self.world.now).0),
            ari_id: self.world.issuer.acme().and_then(|_| ari_id(leaf)),
            state: None,
            reason: None,
            message: None,
            key_since: None,
            secret_name: self.world.revisions.get(&revision).cloned(),
            secret_resource_version: version,
        }
    }
}
