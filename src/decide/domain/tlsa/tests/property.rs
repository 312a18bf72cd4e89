//! Whatever happens, no client ever has TLSA records without the key that an endpoint serves.

use std::sync::LazyLock;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::super::super::tests::fixtures::{HOST, OURS, hours};
use super::super::Trust;
use super::scene::{Scene, Values, rfc2136, spki};
use crate::pki::Chain;

/// Keys to change among.
static KEYS: LazyLock<Vec<Chain>> = LazyLock::new(|| (0..4).map(|_| OURS.leaf(&[HOST], hours(87_600))).collect());

#[derive(Clone, Debug)]
enum Event {
    /// Seconds go by.
    Time(i64),
    /// A key is staged, or none any more.
    Stage(Option<usize>),
    /// What is staged becomes active, if its record allows it.
    Activate,
    /// The endpoints serve what is active.
    Serve,
    /// The secondary stops to follow, or follows again.
    Lag(bool),
    /// Updates fail, or no longer do.
    Refuse(bool),
    /// DNS does not answer, or does again.
    Silence(bool),
    /// The zone's signatures break, or are mended.
    Sign(bool),
    /// It is turned on with this TTL.
    On(u32),
    /// It is turned off; with `true` by removing the block.
    Off(bool),
    /// The operator is killed and starts again.
    Restart,
    /// It is killed after so many actions of a pass.
    Killed(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1i64..4000).prop_map(Event::Time),
        3 => (0usize..4).prop_map(|key| Event::Stage(Some(key))),
        1 => Just(Event::Stage(None)),
        5 => Just(Event::Activate),
        3 => Just(Event::Serve),
        1 => any::<bool>().prop_map(Event::Lag),
        1 => any::<bool>().prop_map(Event::Refuse),
        1 => any::<bool>().prop_map(Event::Silence),
        1 => any::<bool>().prop_map(Event::Sign),
        1 => (10u32..900).prop_map(Event::On),
        1 => any::<bool>().prop_map(Event::Off),
        1 => Just(Event::Restart),
        2 => (0usize..5).prop_map(Event::Killed),
    ]
}

struct Run {
    scene: Scene,
    staged: Option<usize>,
    /// What each server had, and until when somebody may have it cached.
    cached: Vec<(Values, Timestamp)>,
}

impl Run {
    fn apply(&mut self, event: &Event) {
        let scene = &mut self.scene;
        match event {
            Event::Time(seconds) => return self.time(*seconds),
            Event::Stage(key) => {
                self.staged = *key;
                scene.stage(key.map(|key| &KEYS[key]));
            }
            Event::Activate => {
                // As the gate does: the key that is active already may always be renewed.
                if let Some(key) = self.staged.filter(|key| spki(&KEYS[*key]) != scene.active())
                    && scene.is_ready(&KEYS[key])
                {
                    scene.activate(&KEYS[key]);
                    self.staged = None;
                }
            }
            Event::Serve => {
                let active = scene.active();
                if let Some(chain) = KEYS.iter().find(|chain| spki(chain) == active) {
                    scene.serving = chain.clone();
                }
            }
            Event::Lag(lags) => {
                scene.zone.in_step = !lags;
                scene.zone.sync();
            }
            Event::Refuse(refuse) => scene.zone.refusal = refuse.then(|| "REFUSED".to_owned()),
            Event::Silence(silent) => scene.zone.silence = silent.then(|| "silent".to_owned()),
            Event::Sign(good) => {
                scene.zone.trust = if *good { Trust::Secure } else { Trust::Bogus("broken".to_owned()) };
            }
            Event::On(ttl) => scene.set(Some(&rfc2136(*ttl))),
            Event::Off(block) => scene.set(if *block { None } else { Some(json!({"mode": "Remove"})) }.as_ref()),
            Event::Restart => scene.restart(),
            Event::Killed(actions) => scene.killed_pass(*actions),
        }
        self.time(1);
    }

    /// Second by second where something is done, and from wake to wake else.
    fn time(&mut self, seconds: i64) {
        let end = self.scene.world.now + SignedDuration::from_secs(seconds);
        loop {
            self.scene.pass();
            self.check();
            if self.scene.world.now >= end {
                return;
            }
            let soon = self.scene.world.now + SignedDuration::from_secs(1);
            self.scene.world.now = self.scene.wake.map_or(end, |at| at.max(soon)).min(end);
            self.check();
        }
    }

    fn check(&mut self) {
        let now = self.scene.world.now;
        let until = now + SignedDuration::from_secs(i64::from(self.scene.zone.ttl));
        for values in [&self.scene.zone.primary, &self.scene.zone.secondary] {
            match self.cached.iter_mut().find(|(known, _)| known == values) {
                Some((_, at)) => *at = until.max(*at),
                None => self.cached.push((values.clone(), until)),
            }
        }
        self.cached.retain(|(_, at)| *at > now);
        let served = format!("3 1 1 {}", spki(&self.scene.serving));
        let active = format!("3 1 1 {}", self.scene.active());
        for (values, _) in self.cached.iter().filter(|(values, _)| !values.is_empty()) {
            for key in [&served, &active] {
                let has = values.iter().any(|(_, value)| value == key);
                assert!(has, "at {now} somebody has {values:?} without {key}; {:#?}", self.scene.status.dns);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]
    #[test]
    fn no_client_has_records_without_the_key_that_is_served(events in prop::collection::vec(event(), 1..40)) {
        let mut run = Run { scene: Scene::new(&rfc2136(60), &KEYS[0]), staged: None, cached: Vec::new() };
        run.time(300);
        for event in &events {
            run.apply(event);
        }
        // Whatever happened, it ends well when all is mended.
        for event in [Event::Refuse(false), Event::Silence(false), Event::Sign(true), Event::Lag(false)] {
            run.apply(&event);
        }
        run.apply(&Event::Stage(None));
        run.apply(&Event::On(60));
        run.apply(&Event::Serve);
        run.time(12_000);
        let states = run.scene.states();
        prop_assert_eq!(&states, &vec!["Current Ready".to_owned()], "{}", run.scene.dns_ready());
        prop_assert!(run.scene.is_held());
        // And it takes its records with it.
        run.scene.delete();
        run.time(30);
        prop_assert!(!run.scene.is_held() && run.scene.zone.primary.is_empty(), "{}", run.scene.dns_ready());
    }
}
