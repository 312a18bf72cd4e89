//! Arbitrary worlds: whatever the status, the Secrets and the clock say, deciding keeps its promises.

use std::cell::RefCell;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::decide;
use super::super::world::*;
use super::bench::*;
use super::cert_manager::{Fate, cert_manager_view};
use super::fake_ca::acme_view;
use crate::api::MailCertificateStatus;
use crate::api::certificate::*;
use crate::decide::backoff::Pace;
use crate::decide::conditions;

thread_local! {
    static POOL: RefCell<Option<Arc<Vec<Bench>>>> = const { RefCell::new(None) };
}

/// Benches whose objects, Secrets and orders are the material of arbitrary worlds.
fn material() -> Arc<Vec<Bench>> {
    let made = || {
        let mut renewed = Bench::with_ca();
        let mut pending = Bench::acme();
        pending.ca.slow = true;
        let mut issued = Bench::acme();
        for bench in [&mut renewed, &mut issued] {
            bench.settle();
            bench.ask_to_renew("a");
            bench.settle();
        }
        pending.settle_within(secs(1));
        Arc::new(vec![renewed, pending, issued])
    };
    POOL.with_borrow_mut(|pool| pool.get_or_insert_with(made).clone())
}

fn moment() -> impl Strategy<Value = Timestamp> {
    let near = at("2030-06-15T12:00:00Z").as_second();
    prop_oneof![
        4 => (near - 40_000_000..near + 40_000_000).prop_map(|s| Timestamp::from_second(s).unwrap()),
        1 => select(vec![Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH]),
    ]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..5i64, 1 => select(vec![i64::MIN, -1, 999_999_999, i64::MAX])]
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["mail.example.com", "old.example.com", "*.example.com", "no..name", "MAIL.example.com"])
        .prop_map(str::to_owned)
}

fn order_status() -> impl Strategy<Value = OrderStatus> {
    use OrderStatus::*;
    select(vec![Pending, Ready, Processing, Valid, Invalid])
}

/// Everything that is drawn for one world.
#[derive(Clone, Debug)]
struct Draw {
    from: (Index, Index, Index),
    now: Timestamp,
    times: Vec<Timestamp>,
    numbers: Vec<i64>,
    names: Vec<String>,
    legacy: Vec<String>,
    flags: u64,
    issuer: u8,
    secret: u8,
    failures: i32,
    order: OrderStatus,
    fact: u8,
}

fn draw() -> impl Strategy<Value = Draw> {
    let first = (any::<(Index, Index, Index)>(), moment(), prop::collection::vec(moment(), 8));
    let second = (prop::collection::vec(number(), 6), prop::collection::vec(name(), 1..4), any::<u64>());
    let third = (prop::collection::vec(name(), 0..2), 0..9u8, 0..6u8, any::<i32>(), order_status(), 0..12u8);
    (first, second, third).prop_map(|(a, b, c)| Draw {
        from: a.0,
        now: a.1,
        times: a.2,
        numbers: b.0,
        names: b.1,
        flags: b.2,
        legacy: c.0,
        issuer: c.1,
        secret: c.2,
        failures: c.3,
        order: c.4,
        fact: c.5,
    })
}

impl Draw {
    fn flag(&self, n: u32) -> bool {
        self.flags >> n & 1 == 1
    }

    fn status(&self, mut status: MailCertificateStatus, other: &MailCertificateStatus) -> MailCertificateStatus {
        if self.flag(0) {
            status.attempt = other.attempt.clone();
        }
        if self.flag(1) {
            status.active = None;
        }
        if let Some(active) = status.active.as_mut().filter(|_| self.flag(2)) {
            (active.revision, active.not_before) = (self.numbers[0], Time(self.times[0]));
            active.not_after = Time(self.times[1]);
        }
        if let Some(attempt) = status.attempt.as_mut().filter(|_| self.flag(3)) {
            (attempt.revision, attempt.failures) = (self.numbers[1], self.failures);
            attempt.retry_time = Some(Time(self.times[2]));
            let request = || Request { name: self.names[0].clone(), created_at: Time(self.times[5]) };
            attempt.request = self.flag(30).then(request);
            if let Some(order) = &mut attempt.order {
                order.created_at = Time(self.times[3]);
                (order.finalized, order.exposed) = (self.flag(4), self.flag(5));
            }
        }
        if self.flag(6) {
            status.repairs = Some(Repairs { count: self.failures, last_time: Time(self.times[4]) });
        }
        if self.flag(7) {
            status.observed_generation = Some(self.numbers[2]);
        }
        status
    }

    fn issuer(&self) -> IssuerView {
        match self.issuer {
            0 => IssuerView::NotFound,
            1 => IssuerView::NotAllowed("no".to_owned()),
            2 => IssuerView::NotReady("no".to_owned()),
            3 => IssuerView::SelfSigned,
            4 => IssuerView::Ca(material()[0].ca.pair.clone()),
            5 | 6 => cert_manager_view(),
            _ => acme_view(self.how(), self.flag(8)),
        }
    }

    fn how(&self) -> How {
        match (self.flag(9), self.flag(26)) {
            (exposes, false) => How::Http01 { exposes },
            (true, true) => How::Dns01,
            (false, true) => How::TlsAlpn01,
        }
    }

    fn bench(&self) -> Bench {
        let material = material();
        let (a, b, c) = (self.from.0.get(&material), self.from.1.get(&material), self.from.2.get(&material));
        let mut bench = Bench::self_signed();
        bench.now = self.now;
        bench.object = a.object.clone();
        bench.object.status = (!self.flag(10)).then(|| self.status(a.status(), &b.status()));
        if self.flag(11) {
            bench.edit(|s| s.dns_names = self.names.clone());
        }
        for name in &self.legacy {
            bench.legacy(name, OnUnreachable::Report);
        }
        bench.edit(|s| s.options.history.revisions = i32::try_from(self.numbers[3]).unwrap_or(-7));
        if self.flag(12) {
            bench.edit(|s| s.options.private_key.rotation.policy = RotationPolicy::Never);
        }
        if self.flag(13) {
            bench.edit(|s| s.options.private_key.size = Some(384));
        }
        bench.object.metadata.generation = Some(if self.flag(14) { 1 } else { 2 });
        bench.issuer = self.issuer();
        bench.secret = c.secret.clone();
        bench.revisions = b.revisions.clone();
        match (self.secret, &mut bench.secret) {
            (0, secret) => *secret = None,
            (1, Some(secret)) => secret.owner = None,
            (2, Some(secret)) => secret.content = Err("broken".to_owned()),
            (3, Some(secret)) => secret.revision = Some(self.numbers[4]),
            _ => {}
        }
        bench.rival = (self.flag(15) && self.flag(16)).then(|| "first".to_owned());
        bench.edit(|s| s.options.issue_temporary = self.flag(27));
        if self.flag(28) {
            let annotations = bench.object.metadata.annotations.get_or_insert_default();
            annotations.insert("mailcert.dev/revoke".to_owned(), "keyCompromise".to_owned());
        }
        bench.ca.renewal = self
            .flag(29)
            .then(|| Ok(RenewalWindow { start: self.times[0], end: self.times[1], explanation_url: None }));
        bench.next_renewal_check = bench.status().active.and_then(|a| a.ari_id).map(|id| (id, self.times[2]));
        bench.signer.fate = self.fate();
        bench.forbidden = (self.flag(17) && self.flag(18)).then(|| "no".to_owned());
        bench
    }

    fn view(&self) -> OrderView {
        let authorization = |name: &String| AuthorizationView {
            name: name.clone(),
            valid: self.flag(19),
            failed: self.flag(20),
            challenges: [ChallengeType::Http01, ChallengeType::Dns01]
                .into_iter()
                .filter(|_| self.flag(21))
                .map(|kind| ChallengeView {
                    kind,
                    token: name.clone(),
                    key_authorization: name.clone(),
                    dns_value: Some(name.clone()),
                    pending: self.flag(22),
                    error: self.flag(23).then(|| "words".to_owned()),
                })
                .collect(),
            unknown: Vec::new(),
            error: None,
        };
        OrderView {
            url: "https://ca.test/order/0".to_owned(),
            status: self.order,
            error: None,
            authorizations: self.names.iter().map(authorization).collect(),
            retry_after: self.flag(24).then(|| secs(self.numbers[5])),
            not_replaced: None,
        }
    }

    fn request(&self) -> RequestView {
        let words = |n: u32| self.flag(n).then(|| "words".to_owned());
        let pem = || material()[0].pair().chain.to_pem().into_bytes();
        RequestView {
            approved: self.flag(19),
            denied: words(20),
            failed: words(21),
            invalid: words(22),
            pending: words(23),
            certificate: self.flag(24).then(pem),
            ca: self.flag(25).then(|| b"-----BEGIN".to_vec()),
        }
    }

    fn fate(&self) -> Fate {
        use Fate::*;
        let all = [Sign, Unapproved, Slow, Deny, Invalidate, Fail, WrongKey, WrongName, Garbage];
        all[(self.flags >> 32) as usize % all.len()]
    }

    fn learn(&self, world: &mut World) {
        match self.fact {
            7 => world.learn(Fact::RequestCreated(self.request())),
            8 => world.learn(Fact::Request(self.flag(26).then(|| self.request()))),
            9 => world.learn(Fact::RequestDeleted),
            0 => world.learn(Fact::OrderCreated(self.view())),
            1 => world.learn(Fact::Order(self.view())),
            2 => world.learn(Fact::Finalized(self.view())),
            3 => world.learn(Fact::Overtaken),
            4 => world.learn(Fact::Unexposed),
            5 => world.learn(Fact::Activated(self.numbers[4], "7".to_owned())),
            6 => world.learn(Fact::Failed(StepFailure {
                pace: Pace::Refusal,
                reason: "OrderRefused",
                message: self.names.join(" "),
                retry_after: Some(secs(self.numbers[5])),
                order_lost: self.flag(25),
            })),
            _ => {}
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    // What it finds is kept as a story, not as a file of seeds.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn check(world: &World) -> Result<(), TestCaseError> {
    let first = decide(world);
    let again = decide(world);
    prop_assert_eq!(&first.status, &again.status);
    prop_assert_eq!(format!("{:?}", first.actions), format!("{:?}", again.actions));
    prop_assert_eq!(first.wake, again.wake);
    let blocked = world.rival.is_some() || world.forbidden.is_some() || matches!(world.secret, SecretView::Foreign(_));
    let old = world.object.status.clone().unwrap_or_default();
    let order = old.attempt.is_some_and(|a| a.order.is_some()) && world.learnt.failure.is_none();
    for action in &first.actions {
        match action {
            Action::CreateOrder { .. } => prop_assert!(!order && !blocked && world.learnt.order.is_none()),
            Action::WriteActive { .. } | Action::StoreKey { .. } | Action::Sign { .. } => prop_assert!(!blocked),
            Action::CreateRequest { .. } => prop_assert!(!blocked && !world.learnt.created_request),
            _ => {}
        }
    }
    let ready = conditions::is_true(&first.status.conditions, "Ready");
    let valid = first.status.active.as_ref().is_some_and(|a| a.not_after.0 > world.now && a.not_before.0 <= world.now);
    prop_assert!(!ready || valid);
    prop_assert!(first.wake.is_none_or(|w| w > world.now || world.now == Timestamp::MAX));
    Ok(())
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn deciding_keeps_its_promises(draw in draw()) {
        let bench = draw.bench();
        let mut world = bench.observe();
        check(&world)?;
        draw.learn(&mut world);
        check(&world)?;
        world.secret = bench.read_secret();
        world.read = bench.revisions.iter().map(|(n, (_, s))| (*n, s.clone())).collect();
        check(&world)?;
    }
}

proptest! {
    #![proptest_config(config(300))]

    /// The bench fails a pass that does not come to rest, or writes where it must not.
    #[test]
    fn every_pass_comes_to_rest(draw in draw()) {
        let mut bench = draw.bench();
        // A clock that the bench can move.
        bench.now = bench.now.clamp(at("1990-01-01T00:00:00Z"), at("2100-01-01T00:00:00Z"));
        // The orders of this status are unknown to the bench's CA.
        if let Some(attempt) = bench.object.status.as_mut().and_then(|s| s.attempt.as_mut()) {
            attempt.order = None;
        }
        bench.ca.exposed = !draw.flag(9);
        for name in &draw.legacy {
            bench.ca.unreachable.insert(name.clone());
        }
        for _ in 0..6 {
            bench.pass();
            let Some(wake) = bench.wake else { break };
            bench.now = wake;
        }
    }
}
