//! The status as it stands once everything learnt in this pass is taken in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::acme::preflight;
use super::world::{ActiveSecret, KeyPair, Origin, SecretView, StepFailure, World};
use super::{announce, chains, checks, expiry, gates, outputs, renewal, renewal_info, rollback, wanted};
use crate::api::certificate::{
    ActivationStatus, Attempt, Call, Failure, Finding, Gate, ImportStatus, IssuerRef, MailCertificateSpec, NextKey,
    OmittedName, OutputsStatus, PublishedRecord, RenewalInfo, Repairs, Revision, RevisionState, Revocation, Rollback,
    Temporary,
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
    /// Those gates are still not met, and the active revision ends soon.
    pub overdue: bool,
    /// The question whether anything is queued.
    pub drained: Option<Call>,
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
    /// What was found in the source of an import.
    pub import: Option<ImportStatus>,
    /// What DNS says before an order.
    pub preflight: preflight::Found,
    /// The revoke annotation that was acted upon last.
    pub revoke_seen: Option<String>,
    /// The latest revision that was lost before it became active.
    pub lost_revision: Option<i64>,
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
            overdue: false,
            drained: status.drained,
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
            import: status.import.filter(|_| world.object.spec.import.is_some()),
            preflight: preflight::Found::default(),
            revoke_seen: status.last_revoke_request,
            lost_revision: status.lost_revision,
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
        state.take_in_drained();
        state.take_in_next_key();
        state.keep_record();
        state.take_in_calls();
        state.take_in_proof();
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

    /// When the active revision is due for renewal. Imported ones are not renewed here.
    pub fn renewal_time(&self) -> Option<Timestamp> {
        if self.spec.import.is_some() {
            return None;
        }
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
        let listed = self.previous.iter().chain(&self.staged).map(|r| r.revision).max();
        let previous = listed.unwrap_or(0);
        // A stored revision that never became active is gone on with, not made again.
        let stored = self.world.revisions.keys().next_back().copied().unwrap_or(0);
        let used = active.max(previous).max(self.lost_revision.unwrap_or(0));
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
        // One that was staged became active, whatever its number: it may be the way back.
        let was_staged = self.staged.iter().any(|r| r.revision == revision && r.fingerprint_sha256 == fingerprint);
        let is_older = |a: &Revision| a.revision >= revision || a.fingerprint_sha256 == fingerprint;
        if !was_staged && self.active.as_ref().is_some_and(is_older) {
            return;
        }
        if self.active.is_none() {
            self.renew_seen = self.renew_annotation().map(str::to_owned).or(self.renew_seen.take());
        }
        let adopted = self.revision(revision, pair, &secret.origin, Some(secret.resource_version.clone()));
        let reason = self.reason_for();
        if self.active.as_ref().is_some_and(|a| a.spki_sha256 != adopted.spki_sha256) {
            self.rotated();
        }
        self.activate(adopted, reason);
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
            let reason = self.reason_for();
            self.renew_seen = self.renew_annotation().map(str::to_owned).or(self.renew_seen.take());
            if self.active.as_ref().is_none_or(|a| a.spki_sha256 != made.spki_sha256) {
                self.rotated();
            }
            let replaced = self.replacement_asked().map(str::to_owned);
            self.activate(made, reason);
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

    fn activate(&mut self, mut revision: Revision, reason: String) {
        let now = self.world.now;
        let staged = self.staged.iter().find(|r| r.revision == revision.revision).cloned();
        let way_back = staged.as_ref().filter(|s| rollback::is_way_back(s)).cloned();
        let without = staged.as_ref().filter(|_| way_back.is_none()).map(|s| gates::judge(self, s).overridden);
        let judges = self.active.as_ref().map(|old| rollback::judges_of(self, old)).unwrap_or_default();
        let proven = self.active.as_ref().and_then(|old| rollback::proven(self, old));
        revision.state = Some(RevisionState::Active);
        revision.reason = Some(staged.as_ref().and_then(|s| s.reason.clone()).unwrap_or(reason));
        revision.approved_by = staged.as_ref().and_then(|s| gates::approved_by(self, s));
        revision.key_since = Some(self.key_since(&revision.spki_sha256));
        self.staged.retain(|r| r.revision != revision.revision);
        self.unstage();
        if let Some(mut old) = self.active.take() {
            if let Some(way_back) = &way_back {
                self.took_back(&old, way_back);
            }
            old.secret_resource_version = None;
            old.secret_name = self.world.revisions.get(&old.revision).cloned();
            let failed = way_back.as_ref().is_some_and(|w| w.reason.as_deref() != Some(reason::NOTHING_NEWER));
            old.state = Some(if failed { RevisionState::Failed } else { RevisionState::Previous });
            old.message = way_back.as_ref().filter(|_| failed).and_then(|w| w.message.clone());
            self.previous.retain(|r| r.revision != revision.revision && r.revision != old.revision);
            // Without a Secret of its own its key is gone.
            if old.secret_name.is_some() {
                self.previous.insert(0, old);
            }
        }
        let attempt = self.attempt.take();
        self.omitted = attempt.map(|a| a.omitted_names).unwrap_or_else(|| self.left_out_of(&revision));
        self.omitted.retain(|o| !revision.dns_names.contains(&o.name));
        self.temporary = None;
        // What was found about a request is over with it; what is found about this revision follows.
        self.findings.retain(|f| f.reason == finding::CLEAN_UP_FAILED || f.reason == finding::ROLLBACK_REFUSED);
        self.findings.extend(self.world.learnt.chain_findings.clone());
        let unanchored = revision.chain.is_some().then(|| self.unanchored()).flatten();
        self.find(finding::CHAIN_NOT_ANCHORED, "chain", unanchored);
        let without = without.filter(|gates| !gates.is_empty()).map(|gates| {
            format!(
                "the active revision was about to end, so revision {} became active without {}",
                revision.revision,
                gates.join(", ")
            )
        });
        self.find(finding::GATE_OVERRIDDEN, "activation", without);
        if way_back.is_none() && judges.is_empty() {
            self.rollback = None;
        }
        // On the way back nobody judges: there is nowhere else to go.
        let judges = if way_back.is_some() { Vec::new() } else { judges };
        self.activation = None;
        if !judges.is_empty() || self.spec.options.activation.publish.is_some() {
            self.activation = Some(announce::record(&revision, now, judges, proven));
        }
        self.active = Some(revision);
        self.cut();
    }

    /// Why the revision that was just written was made, where no attempt or staging has told yet.
    fn reason_for(&self) -> String {
        if let Some(attempt) = self.attempt.as_ref().filter(|a| a.reason != reason::NOT_ISSUED) {
            return attempt.reason.clone();
        }
        let reason = match (&self.active, &self.world.learnt.replaced) {
            (None, _) => reason::FIRST_ISSUANCE,
            (Some(_), Some(SecretView::Absent)) => reason::SECRET_MISSING,
            (Some(_), Some(SecretView::Ours(secret))) if !self.holds_active(secret) => reason::SECRET_DAMAGED,
            _ => wanted(self.spec).ok().and_then(|w| checks::first(self, &w)).map_or(reason::ISSUED, |t| t.reason),
        };
        reason.to_owned()
    }

    /// Since when a key is in use.
    fn key_since(&self, spki: &str) -> Time {
        // One that was never active has none.
        let staged = self.staged.iter().filter(|r| r.was_active());
        let before = self.active.iter().chain(&self.previous).chain(staged).find(|r| r.spki_sha256 == spki);
        before.map_or(Time(self.world.now), |r| r.key_since.clone().unwrap_or_else(|| r.not_before.clone()))
    }

    /// Old names that a staged revision had to do without.
    fn left_out_of(&self, revision: &Revision) -> Vec<OmittedName> {
        let legacy = wanted(self.spec).map(|w| w.legacy).unwrap_or_default();
        let absent = legacy.into_keys().filter(|n| !revision.dns_names.contains(n));
        let known = |name: &String| self.omitted.iter().find(|o| o.name == *name).cloned();
        let new = |name: String| OmittedName {
            problem: format!("it could not be validated when revision {} was issued", revision.revision),
            since: revision.not_before.clone(),
            name,
        };
        absent.map(|name| known(&name).unwrap_or_else(|| new(name))).collect()
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
    pub(super) fn revision(&self, revision: i64, pair: &KeyPair, origin: &Origin, version: Option<String>) -> Revision {
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
            authorities: expiry::authorities(self, pair),
            chain: self.world.issuer.acme().map(|acme| chains::described(&pair.chain, Some(acme), self.world.now).0),
            ari_id: self.world.issuer.acme().and_then(|_| ari_id(leaf)),
            state: None,
            reason: None,
            message: None,
            approved_by: None,
            key_since: None,
            secret_name: self.world.revisions.get(&revision).cloned(),
            secret_resource_version: version,
        }
    }
}
