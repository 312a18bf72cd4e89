//! Random interleavings of what can happen to a certificate in use: whatever the order, nothing is lost, nothing that
//! waits goes ahead, and nobody's record or connection is broken.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::world::{Dependent, IssuerView};
use super::bench::*;
use super::fake_ca::ca;
use super::staged::set_condition;
use crate::api::certificate::{ActivationMode, Revision, RotationPolicy};
use crate::api::keys;
use crate::decide::conditions;

const REVIEWED: &str = "example.com/Reviewed";

#[derive(Clone, Debug)]
enum Event {
    Pass,
    /// The operator dies after so many actions.
    Crash(usize),
    Approve,
    Review(bool),
    /// So many minutes, forth or back.
    Clock(i64),
    ToExpiry,
    Serve,
    ProbeFails,
    RolloutFails,
    /// Records of every key that is to come have been everywhere for long enough.
    DnsSeen,
    /// Records of keys that nobody serves are gone.
    DnsRemoved,
    Renew,
    Rotate,
    RollBack(bool),
    Names(bool),
    /// Another CA signs: what an import looks like to what follows.
    OtherSource,
    LoseRevision,
    DamageSecret,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Pass),
        3 => (0..6usize).prop_map(Event::Crash),
        3 => Just(Event::Approve),
        2 => any::<bool>().prop_map(Event::Review),
        2 => prop_oneof![Just(1), Just(15), Just(90), Just(60 * 24), Just(60 * 24 * 40), Just(-30)].prop_map(Event::Clock),
        1 => Just(Event::ToExpiry),
        4 => Just(Event::Serve),
        1 => Just(Event::ProbeFails),
        1 => Just(Event::RolloutFails),
        3 => Just(Event::DnsSeen),
        2 => Just(Event::DnsRemoved),
        2 => Just(Event::Renew),
        1 => Just(Event::Rotate),
        1 => any::<bool>().prop_map(Event::RollBack),
        1 => any::<bool>().prop_map(Event::Names),
        1 => Just(Event::OtherSource),
        1 => Just(Event::LoseRevision),
        1 => Just(Event::DamageSecret),
    ]
}

#[derive(Clone, Debug)]
struct Plan {
    manual: bool,
    reviewed: bool,
    tlsa: bool,
    kept: i32,
    policy: RotationPolicy,
    events: Vec<Event>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let policy = prop_oneof![Just(RotationPolicy::Always), Just(RotationPolicy::Never)];
    let events = prop::collection::vec(event(), 4..24);
    (any::<bool>(), any::<bool>(), any::<bool>(), 0..4i32, policy, events).prop_map(
        |(manual, reviewed, tlsa, kept, policy, events)| Plan { manual, reviewed, tlsa, kept, policy, events },
    )
}

struct Model {
    bench: Bench,
    plan: Plan,
    count: usize,
    /// Keys that somebody deleted: they are nobody's loss but his.
    deleted: BTreeSet<String>,
    /// Every revision that was ever seen.
    known: BTreeMap<i64, Revision>,
}

impl Model {
    fn new(plan: Plan) -> Self {
        let mut bench = Bench::with_ca();
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
        let mut model = Self { bench, plan, count: 0, deleted: BTreeSet::new(), known: BTreeMap::new() };
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
            Event::Renew => self.bench.ask_to_renew(&value),
            Event::Rotate => self.bench.annotate(keys::ROTATE_KEY, &value),
            Event::RollBack(any) => {
                let oldest = self.bench.status().previous.last().map_or(0, |r| r.revision);
                let asked = if *any { "previous".to_owned() } else { oldest.to_string() };
                self.bench.annotate(keys::ROLLBACK, &format!("{asked}/{value}"));
            }
            Event::Names(more) => self.bench.edit(|s| {
                s.dns_names.truncate(1);
                if *more {
                    s.dns_names.push("imap.example.com".to_owned());
                }
            }),
            Event::OtherSource => self.bench.issuer = IssuerView::Ca(ca("Root", at("2060-01-01T00:00:00Z"))),
            Event::LoseRevision => {
                let oldest = self.bench.revisions.keys().next().copied();
                if let Some((_, secret)) = oldest.and_then(|n| self.bench.revisions.remove(&n)) {
                    self.deleted.extend(secret.key.ok().map(|k| k.spki_sha256().to_string()));
                }
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
            ["NotServed", "RolloutFailed", "RollbackRequested"].contains(&r.reason.as_deref().unwrap_or(""))
        };
        let way_back = before.staged.as_ref().is_some_and(|s| s.fingerprint_sha256 == made.fingerprint && backwards(s));
        let needed = before.lost || self.bench.now >= old.not_after.0 - secs(3600);
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
        // At most one waits, and nothing is listed twice: only one that is gone back to is a former one until it is active.
        prop_assert!(status.staged.len() <= 1);
        let listed: Vec<i64> = status.previous.iter().chain(&status.active).map(|r| r.revision).collect();
        let unique: BTreeSet<i64> = listed.iter().copied().collect();
        prop_assert_eq!(unique.len(), listed.len(), "{:?}", listed);
        prop_assert!(status.staged.iter().all(|r| r.revision != active.revision));
        // Ready never lies about the dates.
        let valid = active.not_before.0 <= self.bench.now && self.bench.now < active.not_after.0;
        // A killed pass has written no status: the next one does.
        prop_assert!(valid || may_be_killed || !conditions::is_true(&status.conditions, "Ready"));
        // What another controller set is still there.
        prop_assert_eq!(conditions::is_true(&status.conditions, REVIEWED), before.reviewed);
        self.no_key_is_lost(&listed)
    }

    fn mounted(&self) -> Option<Mounted> {
        let secret = self.bench.secret.as_ref()?;
        let leaf = secret.content.as_ref().ok()?.chain.leaf().clone();
        Some(Mounted {
            revision: secret.revision?,
            fingerprint: leaf.fingerprint.to_string(),
            spki: leaf.spki_sha256.to_string(),
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
            prop_assert!(number != self.bench.active().revision);
            let known = self.known.get(&number);
            let served = known.is_some_and(|r| dependent.served.contains(&r.fingerprint_sha256));
            prop_assert!(!served, "revision {} is still served", number);
        }
        Ok(())
    }

    fn no_key_is_lost(&self, listed: &[i64]) -> Result<(), TestCaseError> {
        let mounted =
            self.bench.secret.as_ref().and_then(|s| s.content.as_ref().ok()).map(|p| p.key.spki_sha256().to_string());
        let status = self.bench.status();
        for revision in status.previous.iter().chain(&status.staged).chain(&status.active) {
            let kept = self.bench.revisions.get(&revision.revision);
            let kept = kept.and_then(|(_, s)| s.key.as_ref().ok()).map(|k| k.spki_sha256().to_string());
            let dependent = &self.bench.dependents[0];
            let in_use = dependent.served.contains(&revision.fingerprint_sha256)
                || dependent.tlsa_published.contains(&revision.spki_sha256);
            if self.plan.kept == 0 && !in_use {
                // Nobody has asked for it to be kept: a killed pass may have replaced it already.
                continue;
            }
            let there = [kept, mounted.clone()].into_iter().flatten().any(|spki| spki == revision.spki_sha256);
            prop_assert!(
                there || self.deleted.contains(&revision.spki_sha256),
                "the key of {:?} of {listed:?} is lost",
                revision.revision
            );
        }
        Ok(())
    }

    /// In the end everybody does his part: a certificate that is valid, wanted and served is what comes of it.
    fn comes_right(&mut self) -> Result<(), TestCaseError> {
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

proptest! {
    // The same plans each time: a failure is then somebody's change.
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

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
