//! Whatever the server does wrong is said on the object in its words, asked about no more often than it may be, touches
//! nothing that works, and is over when the server is right again.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mailcert_testenv::acme::{AcmeServer, Effect, Fault, Kind, Problem, Rule, Script};

use crate::common::{Path, Stage, condition};
use crate::scene::{self, Place, Scene, issuer, look_until, ready, revision};

/// A request of no step takes more than that, bad nonces aside.
const REQUESTS: usize = 20;

/// A request to an ACME server may take a quarter of the time of a pass.
const IMPATIENT: [&str; 3] = ["--reconcile-timeout=20s", "--probe-timeout=5s", "--concurrency=32"];

/// What has to come of a fault.
enum Outcome {
    /// This reason, and these words. Tried again soon, or when somebody asks for it.
    Fails { reason: &'static str, words: &'static str, soon: bool },
    /// The order is looked at, seldom, until it goes on.
    Waits,
    /// It costs requests, at most so many.
    Survives { requests: usize },
    /// These words on the issuer, which has no account yet.
    Unregistered { words: &'static str },
}

struct Case {
    script: Script,
    begin: Box<dyn Fn(&AcmeServer) + Send>,
    end: Box<dyn Fn(&AcmeServer) + Send>,
    outcome: Outcome,
    /// Orders that are left behind, at most.
    abandoned: usize,
    /// Certificates that nobody uses, at most.
    wasted: usize,
}

fn case(begin: impl Fn(&AcmeServer) + Send + 'static, outcome: Outcome) -> Case {
    let end = Box::new(|server: &AcmeServer| server.rules([]));
    Case { script: Script::default(), begin: Box::new(begin), end, outcome, abandoned: 0, wasted: 0 }
}

/// This fault for each request of a kind, until it ends.
fn on(kind: Kind, fault: Fault, outcome: Outcome) -> Case {
    case(move |server| server.rules([Rule::on(kind, fault.clone())]), outcome)
}

impl Case {
    /// It ends so.
    fn until(mut self, end: impl Fn(&AcmeServer) + Send + 'static) -> Self {
        self.end = Box::new(end);
        self
    }

    fn abandons(mut self, orders: usize, certificates: usize) -> Self {
        (self.abandoned, self.wasted) = (orders, certificates);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Script)) -> Self {
        change(&mut self.script);
        self
    }
}

fn later(words: &'static str) -> Outcome {
    Outcome::Fails { reason: "ServerUnavailable", words, soon: true }
}

fn fails(reason: &'static str, words: &'static str) -> Outcome {
    Outcome::Fails { reason, words, soon: false }
}

fn page(status: u16, effect: Effect) -> Fault {
    let body = "<html>s3cret-of-another-service</html>".to_owned();
    Fault::Page(status, vec![("content-type", "text/html".to_owned())], body, effect)
}

fn internal(effect: Effect) -> Fault {
    Fault::Problem(Problem::new(500, "serverInternal", "the database is away"), effect)
}

fn problem(status: u16, kind: &str, words: &str) -> Fault {
    Fault::Problem(Problem::new(status, kind, words), Effect::Without)
}

macro_rules! faults {
    ($($name:ident => $case:expr;)*) => {
        fn cases() -> Vec<(&'static str, Case)> {
            vec![$((stringify!($name), $case)),*]
        }
        $(#[test]
        fn $name() {
            joined(stringify!($name));
        })*
    };
}

faults! {
    half_of_all_nonces_are_bad => case(
        |server| server.rules([Rule::any([Fault::BadNonce]).chance(0.5)]),
        Outcome::Survives { requests: 120 },
    );
    a_new_order_is_invalid => on(
        Kind::NewOrder,
        Fault::InvalidOrder(Problem::new(403, "caa", "CAA forbids it")),
        fails("OrderRefused", "CAA forbids it"),
    ).abandons(1, 0);
    an_order_becomes_invalid => on(
        Kind::Finalize,
        Fault::InvalidOrder(Problem::new(403, "unauthorized", "the policy engine says no")),
        fails("OrderRefused", "the policy engine says no"),
    ).abandons(1, 0);
    validation_fails => on(
        Kind::Challenge,
        Fault::FailsValidation(Problem::new(403, "unauthorized", "a parking page answered")),
        fails("ValidationFailed", "a parking page answered"),
    ).abandons(1, 0);
    authorizations_stay_pending => on(Kind::Challenge, Fault::NeverValidates, Outcome::Waits)
        .until(AcmeServer::validate_all);
    the_order_is_processing_for_long => on(Kind::Finalize, Fault::Processing(600), Outcome::Waits)
        .until(|server| server.advance(600));
    the_certificate_is_for_another_key => on(Kind::Finalize, Fault::ForeignKey, fails("IssuedInvalid", "the private key"))
        .abandons(1, 1);
    the_certificate_lacks_a_name => on(Kind::Finalize, Fault::MissingName, fails("IssuedInvalid", "does not cover mail."))
        .abandons(1, 1);
    the_chain_has_twenty_certificates => on(Kind::Certificate, Fault::LongChain(20), fails("IssuedInvalid", "certificates; at most 10 are taken"))
        .abandons(1, 1);
    the_chain_is_cut => on(Kind::Certificate, Fault::CutChain, fails("IssuedInvalid", "PEM")).abandons(1, 1);
    the_body_of_an_order_has_50_mb => on(Kind::NewOrder, Fault::Flood(50_000_000), later("more than 1048576 bytes"));
    the_body_of_a_certificate_has_50_mb => on(
        Kind::Certificate,
        Fault::Flood(50_000_000),
        later("more than 1048576 bytes"),
    );
    html_comes_as_success => on(
        Kind::NewOrder,
        page(200, Effect::Without),
        later("answered 200 text/html instead of JSON"),
    );
    html_comes_as_bad_gateway => on(
        Kind::NewOrder,
        page(502, Effect::Without),
        later("answered 502 text/html instead of JSON"),
    );
    html_hides_that_the_csr_was_taken => on(
        Kind::Finalize,
        page(502, Effect::With),
        later("answered 502 text/html instead of JSON"),
    );
    a_body_drips => on(Kind::NewOrder, Fault::Drip(Duration::from_millis(100)), later("did not answer within 5 s"));
    a_limit_is_reached => on(
        Kind::NewOrder,
        problem(429, "rateLimited", "too many certificates"),
        fails("RateLimited", "too many certificates"),
    );
    a_limit_is_reached_and_says_until_when => on(
        Kind::NewOrder,
        Fault::Problem(Problem::new(429, "rateLimited", "too many of them").retry_after(7), Effect::Without),
        Outcome::Fails { reason: "RateLimited", words: "too many of them", soon: true },
    );
    a_person_has_to_act => on(
        Kind::NewOrder,
        problem(403, "userActionRequired", "agree to our new terms"),
        fails("OrderRefused", "agree to our new terms"),
    );
    the_account_is_unknown => on(
        Kind::NewOrder,
        problem(400, "accountDoesNotExist", "who are you?"),
        fails("IssuerNotReady", "who are you?"),
    );
    the_server_certificate_has_expired => case(|server| server.expire_tls(true).unwrap(), later("expired"))
        .until(|server| server.expire_tls(false).unwrap());
    connections_are_closed => case(|server| server.set_up(false), later("cannot be reached"))
        .until(|server| server.set_up(true));
    a_new_order_is_never_answered => on(Kind::NewOrder, Fault::Close(Effect::Without), later("cannot be reached"));
    the_answer_to_a_new_order_is_lost => on(Kind::NewOrder, Fault::Close(Effect::With), later("cannot be reached"))
        .abandons(1, 0);
    the_answer_to_the_csr_is_lost => on(Kind::Finalize, Fault::Close(Effect::With), later("cannot be reached"));
    the_certificate_is_lost_on_the_way => on(Kind::Certificate, Fault::Close(Effect::With), later("cannot be reached"));
    the_server_fails_at_a_new_order => on(Kind::NewOrder, internal(Effect::Without), later("the database is away"));
    // It may have meant what the order replaces: it is asked without that at once, and fails again.
    the_server_fails_after_a_new_order => on(Kind::NewOrder, internal(Effect::With), later("the database is away"))
        .abandons(2, 0);
    the_server_fails_at_the_csr => on(Kind::Finalize, internal(Effect::Without), later("the database is away"));
    the_server_fails_after_the_csr => on(Kind::Finalize, internal(Effect::With), later("the database is away"));
    the_server_fails_after_a_challenge => on(Kind::Challenge, internal(Effect::With), later("the database is away"));
    the_clock_is_an_hour_ahead => case(|server| server.advance(3600), Outcome::Survives { requests: REQUESTS });
    the_clock_is_an_hour_behind => case(|server| server.advance(-3600), Outcome::Survives { requests: REQUESTS });
    the_clock_is_an_hour_ahead_and_nothing_backdated => case(
        |server| server.advance(3600),
        fails("IssuedInvalid", "is not valid before"),
    ).with(|script| script.backdating = 0).until(|server| server.advance(-3600)).abandons(1, 1);
    the_directory_is_html => on(
        Kind::Directory,
        page(200, Effect::Without),
        Outcome::Unregistered { words: "answered 200 text/html instead of JSON" },
    );
    an_account_is_refused => on(
        Kind::NewAccount,
        problem(403, "unauthorized", "we do not serve your country"),
        Outcome::Unregistered { words: "we do not serve your country" },
    );
    nobody_answers_for_the_directory => case(
        |server| server.set_up(false),
        Outcome::Unregistered { words: "cannot be reached" },
    ).until(|server| server.set_up(true));
    the_directory_has_an_expired_certificate => case(
        |server| server.expire_tls(true).unwrap(),
        Outcome::Unregistered { words: "expired" },
    ).until(|server| server.expire_tls(false).unwrap());
}

/// All cases run from the moment on at which the first test asks for its own.
static RUNNING: LazyLock<Mutex<BTreeMap<&'static str, JoinHandle<()>>>> = LazyLock::new(|| {
    let stage: &'static Stage = Box::leak(Box::new(scene::stage("faults", &IMPATIENT)));
    let place = Place { kube: &stage.kube, ns: &stage.ns };
    let spawn = |(name, case): (&'static str, Case)| {
        let thread = thread::Builder::new().name(name.to_owned());
        (name, thread.spawn(move || run(place, name, &case)).unwrap())
    };
    Mutex::new(cases().into_iter().map(spawn).collect())
});

fn joined(name: &str) {
    let case = RUNNING.lock().unwrap().remove(name).unwrap();
    if let Err(panic) = case.join() {
        // What the thread printed belongs to the test that began it.
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        panic!("{name}: {}", words.unwrap_or("it panicked"));
    }
}

fn run(place: Place<'_>, name: &str, case: &Case) {
    let name = name.replace('_', "-");
    match case.outcome {
        Outcome::Fails { reason, words, soon } => failing(place, &name, case, (reason, words, soon)),
        Outcome::Waits => waiting(place, &name, case),
        Outcome::Survives { requests } => surviving(place, &name, case, requests),
        Outcome::Unregistered { words } => unregistered(place, &name, case, words),
    }
}

fn failing(place: Place<'_>, name: &str, case: &Case, (reason, words, soon): (&str, &str, bool)) {
    let scene = Scene::issued(place, name, case.script.clone());
    let (object, secret, known) = (scene.object(), scene.secret_version(), scene.server.log().requests.len());
    (case.begin)(&scene.server);
    scene.renew("1");
    let says = |o: &serde_json::Value| condition(o, "Issuing").is_some_and(|(_, _, m)| m.contains(words));
    let failed = scene.wait(&format!("to say {words:?}"), says);
    let (_, found, message) = condition(&failed, "Issuing").unwrap();
    assert_eq!(found, reason, "{message}");
    assert!(!message.contains("s3cret"), "{message}");
    assert!(ready(&failed), "{:#}", failed["status"]);
    assert_eq!(failed["status"]["active"], object["status"]["active"]);
    assert_eq!(scene.secret_version(), secret);
    let (asked, seen) = (scene.asked(known).len(), scene.server.log().requests.len());
    assert!(asked <= REQUESTS, "{asked} requests: {:#?}", scene.asked(known));

    // Nobody asks before the time that the status says.
    let attempt = &failed["status"]["attempt"];
    let time = |field: &str| attempt[field].as_str().unwrap().parse::<Timestamp>().unwrap().as_second();
    let (at, again) = (time("lastFailureTime"), time("retryTime"));
    assert!(again > at, "{attempt:#}");
    (case.end)(&scene.server);
    if !soon {
        scene.renew("2");
    }
    scene.wait("to be renewed", |o| revision(o) > 1 && o["status"]["attempt"].is_null());
    let early: Vec<_> = scene.asked(seen).into_iter().filter(|r| soon && r.at < again).collect();
    assert!(early.is_empty(), "between {at} and {again}: {early:#?}");
    conclude(&scene, case);
}

/// One certificate more is in use, and no more orders and certificates were made than had to be.
fn conclude(scene: &Scene<'_>, case: &Case) {
    let log = scene.server.log();
    assert!(log.orders.len() <= 2 + case.abandoned, "{:#?}", log.orders);
    assert!(log.certificates.len() <= 2 + case.wasted, "{:#?}", log.orders);
    let used = scene.object()["status"]["active"]["spkiSHA256"].as_str().unwrap().to_owned();
    let last = log.certificates.last().unwrap();
    let spki = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &last.spki);
    let spki: String = spki.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(used.replace(':', "").to_ascii_lowercase(), spki, "the last certificate is not the one in use");
    assert!(log.limited.is_empty(), "{:?}", log.limited);
    eprintln!("{}: {} requests, faults {:?}", scene.name, log.requests.len(), log.faults());
}

fn waiting(place: Place<'_>, name: &str, case: &Case) {
    let scene = Scene::issued(place, name, case.script.clone());
    let known = scene.server.log().requests.len();
    (case.begin)(&scene.server);
    scene.renew("1");
    let order = |o: &serde_json::Value| o["status"]["attempt"]["order"]["url"].as_str().map(str::to_owned);
    let pending = scene.wait("to have an order", |o| order(o).is_some());
    let looks = || scene.asked(known).iter().filter(|r| r.kind == Kind::Order && r.payload.is_null()).count();
    scene.wait("to look at it", |_| looks() >= 6);
    let seconds = {
        let asked = scene.asked(known);
        asked.last().unwrap().at - asked[0].at
    };
    assert!(looks() as i64 <= 3 * seconds + 6, "{} looks in {seconds} s", looks());
    assert_eq!(order(&scene.object()), order(&pending));
    assert!(ready(&scene.object()));
    (case.end)(&scene.server);
    scene.wait("to be renewed", |o| revision(o) == 2 && o["status"]["attempt"].is_null());
    conclude(&scene, case);
}

fn surviving(place: Place<'_>, name: &str, case: &Case, requests: usize) {
    let scene = Scene::issued(place, name, case.script.clone());
    let known = scene.server.log().requests.len();
    (case.begin)(&scene.server);
    scene.renew("1");
    scene.wait("to be renewed", |o| revision(o) == 2 && o["status"]["attempt"].is_null());
    let asked = scene.asked(known).len();
    assert!(asked <= requests, "{asked} requests");
    conclude(&scene, case);
}

fn unregistered(place: Place<'_>, name: &str, case: &Case, words: &str) {
    let scene = Scene::server(place, name, case.script.clone());
    (case.begin)(&scene.server);
    let (at, spec) = (Path::issuer(place.ns, name), issuer(&scene.server));
    place.issuer(name, &spec);
    let says = |o: &serde_json::Value| condition(o, "Ready").is_some_and(|(s, _, m)| s == "False" && m.contains(words));
    look_until(place, &at, &format!("to say {words:?}"), says);
    let asked = scene.server.log().requests.len();
    assert!(asked <= REQUESTS, "{asked} requests: {:#?}", scene.server.log().requests);
    (case.end)(&scene.server);
    // A person who has mended something says so by touching the spec.
    let patch = serde_json::json!({"spec": {"acme": {"contact": ["postmaster@example.com"]}}});
    place.kube.patch(&at, &patch).unwrap();
    look_until(place, &at, "to be ready", ready);
}

#[test]
fn a_redirect_is_not_followed() {
    let private = TcpListener::bind("127.0.0.1:0").unwrap();
    private.set_nonblocking(true).unwrap();
    let location = format!("https://{}/steal", private.local_addr().unwrap());
    let fault = Fault::Page(302, vec![("location", location)], String::new(), Effect::Without);
    let redirected = on(Kind::NewOrder, fault, later("answered 302 (a redirect)"));
    let stage = scene::stage("redirect", &IMPATIENT);
    run(Place { kube: &stage.kube, ns: &stage.ns }, "redirected", &redirected);
    assert_eq!(private.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody came");
}
