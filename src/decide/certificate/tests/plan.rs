//! What can happen to a certificate in use, in any order.

use proptest::prelude::*;

use super::bench::{Bench, days};
use super::fake_source::issued;
use crate::api::certificate::RotationPolicy;
use crate::pki::CaKeyPair;

#[derive(Clone, Debug)]
pub enum Event {
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
    /// It is asked for, or another certificate is put into the source.
    Renew,
    Rotate,
    RollBack(To),
    Names(bool),
    /// Another CA signs, or a certificate of a few days is put into the source.
    OtherSource,
    /// No certificate is to be had, or there is one again.
    IssuerFails(bool),
    LoseRevision,
    /// Somebody deletes what waits.
    LoseStaged,
    /// Workloads wait for their window, or it has come.
    Waits(bool),
    DamageSecret,
}

/// Whither.
#[derive(Clone, Copy, Debug)]
pub enum To {
    Previous,
    Oldest,
    /// Which gives up a way back that waits.
    Active,
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
        2 => prop_oneof![Just(To::Previous), Just(To::Oldest), Just(To::Active)].prop_map(Event::RollBack),
        1 => any::<bool>().prop_map(Event::Names),
        1 => Just(Event::OtherSource),
        2 => any::<bool>().prop_map(Event::IssuerFails),
        1 => Just(Event::LoseRevision),
        1 => Just(Event::LoseStaged),
        2 => any::<bool>().prop_map(Event::Waits),
        1 => Just(Event::DamageSecret),
    ]
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub manual: bool,
    pub reviewed: bool,
    pub tlsa: bool,
    pub imported: bool,
    pub kept: i32,
    pub policy: RotationPolicy,
    pub events: Vec<Event>,
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let policy = prop_oneof![Just(RotationPolicy::Always), Just(RotationPolicy::Never)];
    let events = prop::collection::vec(event(), 4..24);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.3));
    (flags, 0..4i32, policy, events).prop_map(|((manual, reviewed, tlsa, imported), kept, policy, events)| Plan {
        manual,
        reviewed,
        tlsa,
        imported,
        kept,
        policy,
        events,
    })
}

/// Puts a certificate of so many days into the source of an import.
pub fn put(bench: &mut Bench, authority: Option<&CaKeyPair>, lasts: i64) {
    let Some(authority) = authority else { return };
    let names = ["mail.example.com", "imap.example.com"];
    // One that has ended had begun long before.
    let (begin, lifetime) = if lasts < 0 { (days(40), days(40 + lasts)) } else { (days(1), days(lasts + 1)) };
    let files = issued(authority, &names, bench.now - begin, lifetime);
    bench.put(&files, authority);
}
