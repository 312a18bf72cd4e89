use k8s_openapi::jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn names(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn request(text: &str) -> Request {
    Request { names: names(text), exempt: false }
}

fn ledger(orders: &[(i64, &str)]) -> Ledger {
    let mut ledger = Ledger::default();
    orders.iter().for_each(|(t, names)| ledger.record_order(&request(names), at(*t)));
    ledger
}

fn reread(ledger: &mut Ledger, now: Timestamp) -> Ledger {
    let loaded = Ledger::from_bytes(&ledger.to_bytes(now)).unwrap();
    assert_eq!(loaded.damaged, 0);
    loaded.ledger
}

fn blocked(past: &Ledger, text: &str, now: i64) -> Blocked {
    check(&[past], &Limits::default(), &request(text), at(now)).unwrap_err()
}

fn free(past: &Ledger, text: &str, now: i64) -> bool {
    check(&[past], &Limits::default(), &request(text), at(now)).is_ok()
}

#[test]
fn the_fifth_order_for_the_same_names_waits() {
    let past = ledger(&[(0, "a.example.com b.example.com"); 4].map(|(_, n)| (0, n)));
    let got = blocked(&past, "B.example.com. a.example.com", 60);
    assert_eq!((got.limit, got.until), (LimitKind::NameSet, at(WEEK)));
    assert_eq!(
        got.words,
        "4 orders for exactly these names in the last 7 days, and the limit is 4 (perNameSet): the next is possible at \
         2027-01-22T08:00:00Z"
    );
    assert!(!free(&past, "a.example.com b.example.com", WEEK - 1));
    assert!(free(&past, "a.example.com b.example.com", WEEK));
    assert!(free(&past, "a.example.com", 60), "other names");
    assert!(free(&past, "a.example.com b.example.com *.b.example.com", 60), "other names");
}

#[test]
fn the_window_slides() {
    let past = ledger(&[(0, "a.de"), (100, "a.de"), (200, "a.de"), (300, "a.de"), (400, "a.de")]);
    assert_eq!(blocked(&past, "a.de", 500).until, at(WEEK + 100), "the fifth came from elsewhere");
    assert_eq!(blocked(&past, "a.de", WEEK + 50).until, at(WEEK + 100));
    assert!(free(&past, "a.de", WEEK + 100));
}

#[test]
fn a_registered_domain_has_a_limit_of_its_own() {
    let orders: Vec<(i64, String)> = (0..40).map(|i| (i, format!("mail{i}.example.co.uk"))).collect();
    let past = ledger(&orders.iter().map(|(t, n)| (*t, n.as_str())).collect::<Vec<_>>());
    let got = blocked(&past, "new.example.co.uk other.org", 100);
    assert_eq!((got.limit, got.until), (LimitKind::Domain, at(WEEK)));
    assert_eq!(
        got.words,
        "40 orders with names of example.co.uk in the last 7 days, and the limit is 40 (perDomain): the next is possible \
         at 2027-01-22T08:00:00Z"
    );
    assert!(free(&past, "new.other.co.uk", 100));
    assert_eq!(blocked(&past, "*.example.co.uk", 100).limit, LimitKind::Domain);
}

#[test]
fn the_account_has_a_limit_and_the_longest_wait_counts() {
    let orders: Vec<(i64, String)> = (0..250).map(|i| (i, format!("mail.example{i}.com"))).collect();
    let mut past = ledger(&orders.iter().map(|(t, n)| (*t, n.as_str())).collect::<Vec<_>>());
    let got = blocked(&past, "mail.new.com", 300);
    assert_eq!((got.limit, got.until), (LimitKind::Account, at(3 * HOUR)));
    assert_eq!(
        got.words,
        "250 orders of this ACME account in the last 3 hours, and the limit is 250 (perAccount): the next is possible at \
         2027-01-15T11:00:00Z"
    );
    (0..4).for_each(|_| past.record_order(&request("mail.new.com"), at(250)));
    assert_eq!(blocked(&past, "mail.new.com", 300).until, at(WEEK + 250));
}

#[test]
fn failed_authorizations_hold_back_even_what_the_ca_asked_for() {
    let mut past = Ledger::default();
    (0..4).for_each(|i| past.record_failures(&names("*.example.com other.org"), at(i * 60)));
    let asked = Request { names: names("mail.org example.com"), exempt: true };
    let got = check(&[&past], &Limits::default(), &asked, at(200)).unwrap_err();
    assert_eq!((got.limit, got.until), (LimitKind::FailedAuthorizations, at(HOUR)));
    assert_eq!(
        got.words,
        "the CA could not validate example.com in the last hour 4 times, and the limit is 4 (failedAuthorizations): the \
         next order is possible at 2027-01-15T09:00:00Z"
    );
    assert!(check(&[&past], &Limits::default(), &asked, at(HOUR)).is_ok());
}

#[test]
fn what_the_ca_asked_for_is_not_counted() {
    let mut past = ledger(&[(0, "a.de"); 4]);
    let asked = Request { names: names("a.de"), exempt: true };
    assert_eq!(check(&[&past], &Limits::default(), &asked, at(1)), Ok(()));
    past.record_order(&asked, at(1));
    assert_eq!(past.len(), 4);
}

#[test]
fn the_ledgers_of_one_account_count_together() {
    let (one, other) = (ledger(&[(0, "a.de"), (0, "a.de")]), ledger(&[(0, "a.de"), (0, "a.de")]));
    assert!(check(&[&one, &other], &Limits::default(), &request("a.de"), at(1)).is_err());
    assert!(check(&[&one], &Limits::default(), &request("a.de"), at(1)).is_ok());
}

#[test]
fn limits_can_be_set() {
    let limits = Limits { per_name_set: 1, ..Limits::default() };
    let past = ledger(&[(0, "a.de")]);
    let got = check(&[&past], &limits, &request("a.de"), at(1)).unwrap_err();
    assert!(
        got.words.starts_with("1 order for exactly these names in the last 7 days, and the limit is 1 "),
        "{got:?}"
    );
    let none = Limits { per_account: 0, ..limits };
    let got = check(&[], &none, &request("a.de"), at(1)).unwrap_err();
    assert_eq!((got.limit, got.until), (LimitKind::Account, at(1 + 3 * HOUR)));
}

#[test]
fn registered_domains_follow_the_public_suffix_list() {
    for (name, domain) in [
        ("mail.example.com", "example.com"),
        ("*.Mail.Example.com.", "example.com"),
        ("example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("*.co.uk", "co.uk"),
        ("com", "com"),
        ("someone.github.io", "someone.github.io"),
        ("mail.corp.internal", "mail.corp.internal"),
        ("mail.xn--bcher-kva.example.xn--p1ai", "example.xn--p1ai"),
        ("localhost", "localhost"),
        ("", ""),
    ] {
        assert_eq!(registered_domain(name), domain, "{name}");
    }
}

#[test]
fn the_text_form_is_documented() {
    let mut past = ledger(&[(0, "mail.example.com b.example.net"), (7, "example.com")]);
    past.record_failures(&names("*.example.com"), at(9));
    let text = String::from_utf8(past.to_bytes(at(10))).unwrap();
    assert_eq!(
        text,
        "mailcert-order-ledger/1\n\
         o 1800000000 4ebd4302b57ceabb example.com,example.net\n\
         o 1800000007 a379a6f6eeafb9a5 example.com\n\
         f 1800000009 example.com\n"
    );
    assert_eq!(reread(&mut past, at(10)), past);
}

#[test]
fn damage_is_counted_and_the_rest_is_kept() {
    let text = b"mailcert-order-ledger/1\n\
        o 1800000000 99fce8edea8da87d example.com,example.net\n\
        o 1800000000 99fce8edea8da8 example.com\n\
        o now 99fce8edea8da87d example.com\n\
        o 99999999999999 99fce8edea8da87d example.com\n\
        o 1800000000 99fce8edea8da87d exa\xffmple.com\n\
        o 1800000000 99fce8edea8da87d \n\
        o 1800000000 99fce8edea8da87d UPPER.com\n\
        x 1800000000\n\
        \n\
        f 1800000009 example.com\n\
        f 1800000009 exampl";
    let loaded = Ledger::from_bytes(text).unwrap();
    assert_eq!((loaded.ledger.len(), loaded.ledger.failures.len(), loaded.damaged), (1, 1, 9));
}

#[test]
fn other_versions_are_not_guessed_at() {
    let error = Ledger::from_bytes(b"mailcert-order-ledger/2\nwhatever\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "its first line is \"mailcert-order-ledger/2\", and only mailcert-order-ledger/1 is known here: a newer mailcert \
         may have written it"
    );
    assert!(matches!(Ledger::from_bytes(b"").unwrap_err(), LedgerError::Version(_)));
    assert!(matches!(Ledger::from_bytes(&[b'x'; 2 << 20]).unwrap_err(), LedgerError::TooLarge(_)));
}

#[test]
fn ten_thousand_orders_fit() {
    let mut past = Ledger::default();
    for i in 0..10_000 {
        past.record_order(&request(&format!("mail.a-customer-{i}.example-domains.com")), at(i));
        past.record_order(&request(&format!("mail.customer-with-a-name-{i}.com")), at(i));
    }
    let bytes = past.to_bytes(at(10_000)).len();
    assert!(past.len() >= 10_000 && bytes <= MAX_BYTES, "{} orders in {bytes} bytes", past.len());
    assert_eq!(reread(&mut past, at(10_000)), past);
}

#[test]
fn what_is_too_much_goes_where_it_counts_least() {
    let long = |i: i64| format!("mail.{}-{i}.com", "long".repeat(14));
    let mut past = ledger(&[(0, "a.de"), (0, "a.de"), (1, "single.de")]);
    past.record_order(&request("wrong.clock"), at(30 * 86_400));
    (0..12_000).for_each(|i| past.record_order(&request(&long(i)), at(20_000 + 4 * i)));
    let now = at(20_000 + 4 * 12_000);
    let bytes = past.to_bytes(now).len();
    assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES / 10 * 8, "{bytes}");
    let count = |name: &str| past.orders.iter().filter(|o| o.set == name_set(&names(name))).count();
    assert_eq!((count("a.de"), count("single.de"), count("wrong.clock")), (2, 0, 0));
    assert_eq!(count(&long(11_999)), 1, "the account's window is kept");
}

#[test]
fn failures_do_not_push_out_the_orders() {
    let mut past = ledger(&[(0, "a.de"); 3]);
    let name = |i: i32| vec![format!("{i}.{}.{}.com", "x".repeat(60), "y".repeat(60))];
    (0..10_000).for_each(|i| past.record_failures(&name(i), at(1)));
    assert!(past.to_bytes(at(2)).len() <= MAX_BYTES);
    assert_eq!(past.len(), 3);
    assert!(past.failures.len() > 1000);
}

#[test]
fn pruning_keeps_what_counts() {
    let mut past = ledger(&[(0, "a.de"), (2 * DAY, "b.de")]);
    past.record_failures(&names("a.de"), at(0));
    past.prune(at(WEEK));
    assert_eq!((past.len(), past.failures.len()), (2, 0), "an hour and a day for a clock that is set back");
    past.prune(at(WEEK + DAY));
    assert_eq!(past.len(), 1);
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let mut past = ledger(&[(0, "a.de"); 4]);
    assert!(free(&past, "a.de", -2 * DAY), "written by a clock that was wrong");
    assert_eq!(blocked(&past, "a.de", -DAY / 2).until, at(WEEK));
    for now in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        past.record_order(&request("b.de"), now);
        past.record_failures(&names("b.de"), now);
        let _ = check(&[&past], &Limits::default(), &request("b.de"), now);
        let _ = past.to_bytes(now);
    }
    // The clock starts in 1970 before it is set: nothing is lost.
    let mut past = ledger(&[(0, "a.de"); 4]);
    past.prune(Timestamp::UNIX_EPOCH);
    assert!(!free(&past, "a.de", 10));
}

#[test]
fn an_order_can_be_taken_back() {
    let mut past = ledger(&[(0, "a.de"), (0, "a.de"), (5, "b.de")]);
    assert!(past.forget_order(&names("a.de"), at(0)));
    assert!(!past.forget_order(&names("a.de"), at(1)));
    assert_eq!(past, ledger(&[(0, "a.de"), (5, "b.de")]));
    past.record_failures(&names("a.de b.de"), at(3));
    past.forget_failures(&names("*.a.de b.de"), at(3));
    assert!(past.failures.is_empty());
}

/// What may happen to a ledger between two requests.
#[derive(Clone, Debug)]
enum Event {
    Ask(usize),
    Wait(i64),
    Restart,
    /// A leader change: what was stored at some time comes back.
    MergeStored,
    Store,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0..SETS.len()).prop_map(Event::Ask),
        4 => (-DAY / 2..DAY * 3).prop_map(Event::Wait),
        4 => (0..1800i64).prop_map(Event::Wait),
        1 => Just(Event::Restart),
        1 => Just(Event::MergeStored),
        1 => Just(Event::Store),
    ]
}

const SETS: &[&str] =
    &["a.example.com", "a.example.com b.example.com", "c.example.com d.net", "d.net", "*.d.net e.org"];
const LIMITS: Limits = Limits { per_name_set: 2, per_domain: 4, per_account: 3, failed_authorizations: 1 };

/// The most that lie in a window, wherever it is put.
fn most(times: &[i64], window: i64) -> usize {
    let within = |end: i64| times.iter().filter(|t| **t <= end && **t > end - window).count();
    times.iter().map(|t| within(*t)).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_window_ever_has_more_than_its_limit(events in prop::collection::vec(event(), 1..250)) {
        let (mut now, mut latest) = (at(0), at(0));
        let (mut past, mut stored) = (Ledger::default(), Ledger::default());
        let mut asked: Vec<(i64, usize)> = Vec::new();
        for event in events {
            match event {
                Event::Wait(seconds) => {
                    // Set back by at most a day, all in all.
                    now = (now + SignedDuration::from_secs(seconds)).max(latest - SignedDuration::from_secs(DAY));
                    latest = latest.max(now);
                }
                Event::Restart => past = reread(&mut past, now),
                Event::Store => stored = reread(&mut past, now),
                Event::MergeStored => past.merge(&stored),
                Event::Ask(which) => match check(&[&past], &LIMITS, &request(SETS[which]), now) {
                    Ok(()) => {
                        past.record_order(&request(SETS[which]), now);
                        asked.push((now.as_second(), which));
                    }
                    Err(blocked) => {
                        prop_assert!(blocked.until > now);
                        let then = check(&[&past], &LIMITS, &request(SETS[which]), blocked.until);
                        prop_assert!(then.is_ok(), "{:?} and then {:?}", blocked, then);
                    }
                },
            }
        }
        let times = |which: &dyn Fn(usize) -> bool| -> Vec<i64> {
            asked.iter().filter(|(_, set)| which(*set)).map(|(t, _)| *t).collect()
        };
        prop_assert!(most(&times(&|_| true), ACCOUNT_WINDOW) <= 3);
        for set in 0..SETS.len() {
            prop_assert!(most(&times(&|s| s == set), WEEK) <= 2);
        }
        for domain in ["example.com", "d.net", "e.org"] {
            let has = |s: usize| registered_domains(&names(SETS[s])).contains(domain);
            prop_assert!(most(&times(&has), WEEK) <= 4);
        }
    }

    #[test]
    fn merging_copies_loses_and_doubles_nothing(
        common in prop::collection::vec((0..50i64, 0..3usize), 0..20),
        ours in prop::collection::vec((0..50i64, 0..3usize), 0..20),
        theirs in prop::collection::vec((50..99i64, 0..3usize), 0..20),
    ) {
        let of = |lists: &[&[(i64, usize)]]| {
            ledger(&lists.concat().iter().map(|(t, s)| (*t, SETS[*s])).collect::<Vec<_>>())
        };
        let (mut a, b) = (of(&[&common, &ours]), of(&[&common, &theirs]));
        let mut reversed = b.clone();
        reversed.merge(&a);
        a.merge(&b);
        prop_assert_eq!(&a, &of(&[&common, &ours, &theirs]));
        prop_assert_eq!(&a, &reversed);
        a.merge(&reversed);
        prop_assert_eq!(&a, &reversed);
    }

    #[test]
    fn any_bytes_are_read_without_panic(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Ledger::from_bytes(&tail);
        let mut text = b"mailcert-order-ledger/1\n".to_vec();
        text.extend(tail);
        let mut loaded = Ledger::from_bytes(&text).unwrap();
        loaded.ledger.to_bytes(at(0));
    }
}
