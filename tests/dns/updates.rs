//! TXT records published with signed updates.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mailcert::solvers::dns01::rfc2136::{Algorithm, Rfc2136, Secret, Transport};
use mailcert_testenv::BindZone;

use crate::ground::{OTHER, VALUE, bind, dns, solver};

const NAME: &str = "_acme-challenge.mail.example.test";

#[tokio::test]
async fn every_algorithm_over_tcp_and_udp() {
    let Some(bind) = bind(vec![BindZone::new("example.test")]) else { return };
    let dns = dns(bind.address());
    for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha384, Algorithm::HmacSha512] {
        for transport in [Transport::Tcp, Transport::Udp] {
            let solver = solver(&bind, algorithm, transport);
            assert_eq!(solver.zone_of(NAME).await.unwrap(), "example.test");
            solver.present("example.test", NAME, VALUE, 1).await.unwrap();
            assert_eq!(dns.txt(NAME).await.unwrap(), [VALUE], "{algorithm} {transport:?}");
            solver.clean_up("example.test", NAME, VALUE).await.unwrap();
            assert_eq!(dns.txt(NAME).await.unwrap(), [""; 0], "{algorithm} {transport:?}");
        }
    }
}

#[tokio::test]
async fn values_of_other_orders_stay_and_nothing_is_done_twice() {
    let Some(bind) = bind(vec![BindZone::new("example.test")]) else { return };
    let dns = dns(bind.address());
    let solver = solver(&bind, Algorithm::HmacSha256, Transport::Tcp);
    // What for `*.mail.example.test` is proven at the same name.
    for value in [VALUE, OTHER, OTHER] {
        solver.present("example.test", NAME, value, 1).await.unwrap();
    }
    let mut found = dns.txt(NAME).await.unwrap();
    found.sort();
    assert_eq!(found, [OTHER, VALUE]);
    for _ in 0..2 {
        solver.clean_up("Example.Test.", NAME, VALUE).await.unwrap();
        assert_eq!(dns.txt(NAME).await.unwrap(), [OTHER]);
    }
    // More than one string of a TXT record can hold.
    let long = VALUE.repeat(10);
    solver.present("example.test", "long.example.test", &long, 1).await.unwrap();
    assert_eq!(dns.txt("long.example.test").await.unwrap(), [long]);
}

#[tokio::test]
async fn a_wrong_key_is_told_from_a_wrong_secret_and_from_a_missing_right() {
    let locked = BindZone::new("locked.test").policy("grant mailcert-sha256 name _acme-challenge.locked.test TXT;");
    let Some(bind) = bind(vec![BindZone::new("example.test"), locked]) else { return };
    for transport in [Transport::Tcp, Transport::Udp] {
        let good = solver(&bind, Algorithm::HmacSha256, transport);
        let at = bind.address();
        let words = async |solver: &Rfc2136, zone: &str, name: &str| {
            let failure = solver.present(zone, name, VALUE, 1).await.unwrap_err();
            assert!(!failure.transient, "{failure}");
            failure.words
        };

        let unknown = Rfc2136 { key_name: "somebody".into(), ..good.clone() };
        let bad_key = format!(
            "the DNS server {at} does not know the TSIG key somebody with hmac-sha256 (BADKEY); the key's name or \
             algorithm is wrong"
        );
        assert_eq!(words(&unknown, "example.test", NAME).await, bad_key);
        let other_algorithm = Rfc2136 { algorithm: Algorithm::HmacSha512, ..good.clone() };
        assert!(words(&other_algorithm, "example.test", NAME).await.contains("(BADKEY)"));

        let forged = Rfc2136 { secret: Secret::from_base64(b"Zm9yZ2Vk").unwrap(), ..good.clone() };
        let bad_secret = format!("the DNS server {at} has another secret for the TSIG key mailcert-sha256 (BADSIG)");
        assert_eq!(words(&forged, "example.test", NAME).await, bad_secret);
        assert_eq!(forged.zone_of(NAME).await.unwrap_err().words, bad_secret);

        good.present("locked.test", "_acme-challenge.locked.test", VALUE, 1).await.unwrap();
        assert_eq!(
            words(&good, "locked.test", "_acme-challenge.mail.locked.test").await,
            format!(
                "the DNS server {at} did not update _acme-challenge.mail.locked.test in the zone locked.test: REFUSED; \
                 let the TSIG key mailcert-sha256 update TXT records of that name (in BIND: update-policy)"
            )
        );
        assert!(words(&good, "test", "a.test").await.contains("NOTAUTH; it is not the primary server of that zone"));
    }
    assert_eq!(dns(bind.address()).txt(NAME).await.unwrap(), [""; 0], "nothing of it was done");
}

#[tokio::test]
async fn the_zone_to_update_is_found_by_asking_the_server() {
    let zones = vec![BindZone::new("example.test").records("sub NS ns1.sub"), BindZone::new("sub.example.test")];
    let Some(bind) = bind(zones) else { return };
    let solver = solver(&bind, Algorithm::HmacSha256, Transport::Tcp);
    for (name, zone) in [
        (NAME, "example.test"),
        ("example.test", "example.test"),
        ("_acme-challenge.sub.example.test", "sub.example.test"),
        ("_ACME-challenge.a.b.sub.Example.Test.", "sub.example.test"),
    ] {
        assert_eq!(solver.zone_of(name).await.unwrap(), zone, "{name}");
    }
    let failure = solver.zone_of("_acme-challenge.example.net").await.unwrap_err();
    assert!(
        failure.words.ends_with(
            "has no zone that holds _acme-challenge.example.net; updates must go to the zone's primary server"
        ),
        "{failure}"
    );
}

/// Everything that is logged on this thread while it lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_of_any_level_holds_the_secret() {
    let Some(bind) = bind(vec![BindZone::new("example.test")]) else { return };
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    for transport in [Transport::Tcp, Transport::Udp] {
        let solver = solver(&bind, Algorithm::HmacSha256, transport);
        tracing::info!("{solver:?}");
        solver.present("example.test", NAME, VALUE, 1).await.unwrap();
        solver.clean_up("example.test", NAME, VALUE).await.unwrap();
    }
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let secret = bind.key("hmac-sha256").1;
    let bytes = BASE64_STANDARD.decode(&secret).unwrap();
    assert!(text.contains(VALUE) && text.contains("mailcert-sha256"), "the library's own lines are in it: {text}");
    assert!(!text.contains(&secret) && !text.contains(format!("{bytes:?}").trim_matches(['[', ']'])));
}
