//! Random interleavings of what can happen to a certificate in use: whatever the order, nothing is lost, nothing that
//! waits goes ahead, and nobody's record or connection is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::world::{Dependent, IssuerView};
use super::bench::*;
use super::fake_ca::ca;
use super::fake_source::importing;
use super::plan::{Event, Plan, To, plan, put};
use super::staged::set_condition;
use crate::api::certificate::{ActivationMode, Revision, RevisionState};
use crate::api::keys;
use crate::decide::backoff::Pace;
use crate::decide::conditions;
use crate::pki::CaKeyPair;

const REVIEWED: &str = "example.com/Reviewed";

struct Model {
    bench: Bench,
    plan: Plan,
    /// Who signs what is imported.
    authority: Option<Arc<CaKeyPair>>,
    count: usize,
    /// Keys that somebody deleted: they are nobody's loss but his.
    deleted: BTreeSet<String>,
    /// Every revision that was ever seen.
    known: BTreeMap<i64, Revision>,
}

impl Model {
    fn new(plan: Plan) -> Self {
        let (mut bench, authority) = match plan.imported {
            true => importing(),
            false => (Bench::with_ca(), ca("Root", at("2060-01-01T00:00:00Z"))),
        };
        let authority = plan.imported.then_some(authority);
        put(&mut bench, authority.as_deref(), 90);
        bench.settle();
        bench.dependents = vec![Dependent {
            name: "example-com".to_owned(),
            endpoints: 1,
            reloads: true,
            rolled_out: true,
            wants_tlsa: plan.tlsa,
            ..Dependent::default()
        }];
        bench.edit(|s| {
            s.options.history.revisions = plan.kept;
            s.options.private_key.rotation.policy = plan.policy;
            if plan.manual {
                s.options.activation.mode = ActivationMode::Manual;
            }
            if plan.reviewed {
                s.options.activation.gates = vec![REVIEWED.to_owned()];
            }
        });
        let mut model = Self { bench, plan, authority, count: 0, deleted: BTreeSet::new(), known: BTreeMap::new() };
        model.serve();
        model.dns_seen();
        model
    }

    fn value(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }

    fn serve(&mut self) {
        // What the pods mount is what they serve.
        if self.bench.secret.is_none() {
            return;
        }
        let served = self.bench.pair().chain.leaf().fingerprint.to_string();
        let active = self.bench.active().fingerprint_sha256;
        let dependent = &mut self.bench.dependents[0];
        dependent.served = [served.clone()].into();
        (dependent.all_served, dependent.speaks_of) = (Some(served), Some(active));
        (dependent.rollout_failed, dependent.served_message) = (None, None);
        (dependent.waits, dependent.rolled_out) = (false, true);
    }

    fn dns_seen(&mut self) {
        let status = self.bench.status();
        let coming = status.staged.iter().chain(&status.active).map(|r| r.spki_sha256.clone());
        let coming: Vec<String> = coming.chain(status.next_key.map(|k| k.spki_sha256)).collect();
        let dependent = &mut self.bench.dependents[0];
        dependent.tlsa_ready.extend(coming.iter().cloned());
        dependent.tlsa_published.extend(coming);
    }

    /// Only records of keys that are neither mounted, nor served, nor to come.
    fn dns_removed(&mut self) {
        let status = self.bench.status();
        let dependent = &mut self.bench.dependents[0];
        let needed: BTreeSet<String> = status
            .active
            .iter()
            .chain(&status.staged)
            .chain(status.previous.iter().filter(|r| dependent.served.contains(&r.fingerprint_sha256)))
            .map(|r| r.spki_sha256.clone())
            .chain(status.next_key.map(|k| k.spki_sha256))
            .collect();
        dependent.tlsa_ready.retain(|spki| needed.contains(spki));
        dependent.tlsa_published.retain(|spki| needed.contains(spki));
    }

    fn happen(&mut self, event: &Event) {
        let value = self.value();
        match event {
            Event::Pass => {}
            Event::Crash(n) => self.bench.crash_after = Some(*n),
            Event::Approve => {
                let staged = self.bench.status().staged.first().map(|r| r.revision);
                if let Some(staged) = staged {
                    self.bench.annotate(keys::APPROVE, &staged.to_string());
                }
            }
            Event::Review(yes) => set_condition(&mut self.bench, REVIEWED, if *yes { "True" } else { "False" }),
            Event::Clock(minutes) => self.bench.now += secs(60 * minutes),
            Event::ToExpiry => self.bench.now = self.bench.now.max(self.bench.active().not_after.0 - secs(1800)),
            Event::Serve => self.serve(),
            Event::ProbeFails => {
                let active = self.bench.active().fingerprint_sha256;
                let dependent = &mut self.bench.dependents[0];
                (dependent.all_served, dependent.speaks_of) = (None, Some(active));
            }
            Event::RolloutFails => {
                let active = self.bench.active().fingerprint_sha256;
                let dependent = &mut self.bench.dependents[0];
                dependent.speaks_of = Some(active);
                dependent.rollout_failed = Some("Deployment/postfix: its pods do not become available".to_owned());
            }
            Event::DnsSeen => self.dns_seen(),
            Event::DnsRemoved => self.dns_removed(),
            Event::Renew if self.plan.imported => put(&mut self.bench, self.authority.as_deref(), 90),
            Event::Renew => self.bench.ask_to_renew(&value),
            Event::Rotate => self.bench.annotate(keys::ROTATE_KEY, &value),
            Event::RollBack(to) => {
                let oldest = self.bench.status().previous.last().map_or(0, |r| r.revision);
                let asked = match to {
                    To::Previous => "previous".to_owned(),
                    To::Oldest => oldest.to_string(),
                    To::Active => self.bench.active().revision.to_string(),
                };
                self.bench.annotate(keys::ROLLBACK, &format!("{asked}/{value}"));
            }
            Event::Names(more) => self.bench.edit(|s| {
                s.dns_names.truncate(1);
                if *more {
                    s.dns_names.push("imap.example.com".to_owned());
                }
            }),
            Event::OtherSource if self.plan.imported => put(&mut self.bench, self.authority.as_deref(), 5),
            // It has ended already.
            Event::IssuerFails(true) if self.plan.imported => put(&mut self.bench, self.authority.as_deref(), -5),
            Event::IssuerFails(false) if self.plan.imported => put(&mut self.bench, self.authority.as_deref(), 90),
            Event::IssuerFails(yes) => {
                let away = failure(Pace::Transient, "SigningFailed", "the CA is away");
                self.bench.faults = Some(("sign revision", away)).filter(|_| *yes).into_iter().collect();
            }
            Event::OtherSource => self.bench.issuer = IssuerView::Ca(ca("Root", at("2060-01-01T00:00:00Z"))),
            Event::LoseRevision => {
                let oldest = self.bench.revisions.keys().next().copied();
                if let Some((_, secret)) = oldest.and_then(|n| self.bench.revisions.remove(&n)) {
                    self.deleted.extend(secret.key.ok().map(|k| k.spki_sha256().to_string()));
                }
            }
            Event::LoseStaged => {
                let staged = self.bench.status().staged.first().map(|r| r.revision);
                if let Some((_, secret)) = staged.and_then(|n| self.bench.revisions.remove(&n)) {
                    self.deleted.extend(secret.key.ok().map(|k| k.spki_sha256().to_string()));
                }
            }
            Event::Waits(yes) => {
                let (now, active) = (self.bench.now, self.bench.active().fingerprint_sha256);
                let dependent = &mut self.bench.dependents[0];
                (dependent.waits, dependent.rolled_out, dependent.speaks_of) = (*yes, false, Some(active));
                dependent.begun = (!yes).then_some(now);
            }
            Event::DamageSecret if self.bench.secret.is_none() => {}
            Event::DamageSecret => {
                // The key in it is lost, unless a copy of it is kept.
                let spki = self.bench.pair().key.spki_sha256().to_string();
                self.deleted.insert(spki);
                self.bench.secret = None;
            }
        }
    }

    /// The gates of a revision that has just become active, seen from outside.
    fn may_activate(&self, before: &World, made: &Mounted) -> Result<(), TestCaseError> {
        let old = &before.active;
        if self.plan.tlsa && old.spki_sha256 != made.spki {
            prop_assert!(before.tlsa_ready.contains(&made.spki), "a published record is broken");
        }
        let backwards = |r: &Revision| {
            ["NotServed", "RolloutFailed", "RollbackRequested", "NothingNewer"]
                .contains(&r.reason.as_deref().unwrap_or(""))
        };
        let way_back = before.staged.as_ref().is_some_and(|s| s.fingerprint_sha256 == made.fingerprint && backwards(s));
        // A pass that was killed has not said what is active.
        let ends = before.mounted.as_ref().map_or(old.not_after.0, |m| m.end.min(old.not_after.0));
        let needed = before.lost || self.bench.now >= ends - secs(3600);
        if way_back || needed {
            return Ok(());
        }
        let approved = self.bench.object.metadata.annotations.as_ref().and_then(|a| a.get(keys::APPROVE));
        prop_assert!(!self.plan.manual || approved == Some(&made.revision.to_string()), "nobody approved {made:?}");
        prop_assert!(!self.plan.reviewed || before.reviewed, "nobody reviewed {made:?}");
        Ok(())
    }

    fn pass(&mut self) -> Result<(), TestCaseError> {
        let before = World {
            active: self.bench.active(),
            tlsa_ready: self.bench.dependents[0].tlsa_ready.clone(),
            reviewed: conditions::is_true(&self.bench.status().conditions, REVIEWED),
            lost: self.bench.secret.is_none(),
            staged: self.bench.status().staged.first().cloned(),
            mounted: self.mounted(),
        };
        let logged = self.bench.log.len();
        let status = self.bench.status();
        let listed = status.previous.iter().chain(&status.staged).chain(&status.active);
        self.known.extend(listed.map(|r| (r.revision, r.clone())));
        if self.bench.secret.is_none() {
            // What a pass may be killed over: the Secret is not there to be looked at.
            self.bench.crash_after = None;
        }
        let may_be_killed = self.bench.crash_after.is_some();
        self.bench.pass();
        let status = self.bench.status();
        let active = self.bench.active();
        // What is mounted counts, even where the pass was killed before its status was written.
        if let Some(made) = self.mounted().filter(|made| {
            made.fingerprint != before.active.fingerprint_sha256
                && before.mounted.as_ref().is_none_or(|old| old.fingerprint != made.fingerprint)
        }) {
            self.may_activate(&before, &made)?;
        }
        self.nothing_needed_was_deleted(logged)?;
        // At most one waits, and nothing is listed twice.
        prop_assert!(status.staged.len() <= 1);
        let all = status.previous.iter().chain(&status.staged).chain(&status.active);
        let listed: Vec<i64> = all.map(|r| r.revision).collect();
        let unique: BTreeSet<i64> = listed.iter().copied().collect();
        prop_assert_eq!(unique.len(), listed.len(), "{:?}", listed);
        prop_assert!(status.staged.iter().all(|r| r.state == Some(RevisionState::Staged)));
        let former = [Some(RevisionState::Previous), Some(RevisionState::Failed)];
        prop_assert!(status.previous.iter().all(|r| former.contains(&r.state)), "{:?}", status.previous);
        // Ready never lies about the dates.
        let valid = active.not_before.0 <= self.bench.now && self.bench.now < active.not_after.0;
        // A killed pass has written no status: the next one does.
        prop_assert!(valid || may_be_killed || !conditions::is_true(&status.conditions, "Ready"));
        // What another controller set is still there.
        prop_assert_eq!(conditions::is_true(&status.conditions, REVIEWED), before.reviewed);
        if !may_be_killed {
            self.nothing_valid_lies_idle(active.not_after.0)?;
        }
        self.no_key_is_lost(&listed)
    }

    /// What has expired is not served while something valid is there that may be.
    fn nothing_valid_lies_idle(&self, end: Timestamp) -> Result<(), TestCaseError> {
        let (now, status) = (self.bench.now, self.bench.status());
        let contested = self.bench.condition("Stalled").1 == "SecretContested";
        if now < end || contested {
            return Ok(());
        }
        let active = self.bench.active();
        let tlsa = &self.bench.dependents[0].tlsa_ready;
        let may = |r: &&Revision| {
            let is_valid = r.not_before.0 <= now && now < r.not_after.0;
            let breaks = self.plan.tlsa && r.spki_sha256 != active.spki_sha256 && !tlsa.contains(&r.spki_sha256);
            is_valid && !breaks && self.bench.revisions.contains_key(&r.revision)
        };
        let works = |r: &&Revision| r.state != Some(RevisionState::Failed);
        // Where a new one waits for its record, that is waited for.
        let former = status.former().filter(|_| status.staged.is_empty());
        let better: Vec<i64> = former.chain(&status.staged).filter(works).filter(may).map(|r| r.revision).collect();
        // It becomes active in the next pass, and that is soon.
        let soon = self.bench.wake.is_some_and(|wake| wake <= now + secs(2));
        prop_assert!(better.is_empty() || soon, "{:?} could be active: {:#?}\n{:#?}", better, status, self.bench.log);
        Ok(())
    }

    fn mounted(&self) -> Option<Mounted> {
        let secret = self.bench.secret.as_ref()?;
        let leaf = secret.content.as_ref().ok()?.chain.leaf().clone();
        Some(Mounted {
            revision: secret.revision?,
            fingerprint: leaf.fingerprint.to_string(),
            spki: leaf.spki_sha256.to_string(),
            end: leaf.not_after,
        })
    }

    fn nothing_needed_was_deleted(&self, logged: usize) -> Result<(), TestCaseError> {
        let dependent = &self.bench.dependents[0];
        for line in &self.bench.log[logged..] {
            let Some((_, number)) = line.strip_prefix("delete Secret ").and_then(|l| l.split_once(" of revision "))
            else {
                continue;
            };
            let number: i64 = number.parse().unwrap();
            // A pass that was killed after it had activated another one has not said so yet.
            let mounted = self.mounted().map_or_else(|| self.bench.active().revision, |m| m.revision);
            prop_assert!(number != mounted, "revision {} is active", number);
            let known = self.known.get(&number);
            let served = known.is_some_and(|r| dependent.served.contains(&r.fingerprint_sha256));
            prop_assert!(!served, "revision {} is still served", number);
            // The key of one that was never active is nobody's: its record may stay behind for a while.
            let known = known.filter(|r| r.was_active());
            let key = known.map(|r| r.spki_sha256.as_str()).filter(|key| dependent.tlsa_published.contains(*key));
            let left = key.is_none_or(|key| self.keys().contains(key));
            prop_assert!(left, "DNS still names the key of revision {}, and nobody has it any more", number);
        }
        Ok(())
    }

    /// Every key that is stored.
    fn keys(&self) -> BTreeSet<String> {
        let stored = self.bench.revisions.values().filter_map(|(_, s)| s.key.as_ref().ok());
        let mounted = self.bench.secret.iter().filter_map(|s| s.content.as_ref().ok()).map(|p| &p.key);
        stored.chain(mounted).map(|key| key.spki_sha256().to_string()).collect()
    }

    fn no_key_is_lost(&self, listed: &[i64]) -> Result<(), TestCaseError> {
        let (mounted, status) = (self.mounted(), self.bench.status());
        let kept = usize::try_from(self.plan.kept).unwrap_or(0);
        // A pass that was killed may have cut history to its length already, after it had activated another one or before.
        let replaced =
            mounted.as_ref().is_some_and(|m| status.active.as_ref().is_some_and(|a| a.revision != m.revision));
        let beyond = status.previous.iter().skip(kept.saturating_sub(usize::from(replaced)));
        let beyond: BTreeSet<i64> = beyond.map(|r| r.revision).collect();
        for revision in status.previous.iter().chain(&status.staged).chain(&status.active) {
            let dependent = &self.bench.dependents[0];
            let in_use = dependent.served.contains(&revision.fingerprint_sha256)
                || dependent.tlsa_published.contains(&revision.spki_sha256);
            if (kept == 0 || beyond.contains(&revision.revision)) && !in_use {
                // Nobody has asked for it to be kept: a killed pass may have replaced it already.
                continue;
            }
            let stored = self.bench.revisions.get(&revision.revision).and_then(|(_, s)| s.key.as_ref().ok());
            let keys = [stored.map(|k| k.spki_sha256().to_string()), mounted.as_ref().map(|m| m.spki.clone())];
            prop_assert!(
                keys.contains(&Some(revision.spki_sha256.clone())) || self.deleted.contains(&revision.spki_sha256),
                "the key of {:?} of {listed:?} is lost",
                revision.revision
            );
        }
        Ok(())
    }

    /// In the end everybody does his part: a certificate that is valid, wanted and served is what comes of it.
    fn comes_right(&mut self) -> Result<(), TestCaseError> {
        self.happen(&Event::IssuerFails(false));
        for _ in 0..40 {
            self.bench.crash_after = None;
            self.happen(&Event::Approve);
            self.happen(&Event::Review(true));
            self.dns_seen();
            self.pass()?;
            if self.bench.secret.is_some() {
                self.serve();
            }
            self.pass()?;
            let status = self.bench.status();
            let active = self.bench.active();
            let valid = self.bench.now < active.not_after.0;
            let resting = status.attempt.is_none() && status.staged.is_empty();
            if valid && resting && conditions::is_true(&status.conditions, "Ready") {
                let mounted = self.bench.pair().chain.leaf().fingerprint.to_string();
                prop_assert_eq!(mounted, active.fingerprint_sha256);
                return Ok(());
            }
            // Pauses pass.
            self.bench.now = self.bench.wake.unwrap_or(self.bench.now + secs(60)).min(self.bench.now + days(2));
        }
        Err(TestCaseError::fail(format!("it does not come right: {:#?}\n{:#?}", self.bench.status(), self.bench.log)))
    }
}

/// What pods mount.
#[derive(Clone, Debug)]
struct Mounted {
    revision: i64,
    fingerprint: String,
    spki: String,
    end: Timestamp,
}

/// What there was before a pass.
struct World {
    staged: Option<Revision>,
    mounted: Option<Mounted>,
    active: Revision,
    tlsa_ready: BTreeSet<String>,
    reviewed: bool,
    lost: bool,
}

/// As many as a few seconds allow, the same ones each time; `PROPTEST_CASES` asks for that many random ones.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    let rng_seed = asked.map_or(RngSeed::Fixed(7), |_| RngSeed::Random);
    ProptestConfig { cases: asked.unwrap_or(150), rng_seed, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_nothing_is_lost_or_broken(plan in plan()) {
        let mut model = Model::new(plan.clone());
        for event in &plan.events {
            model.happen(event);
            model.pass()?;
        }
        model.comes_right()?;
    }
}
