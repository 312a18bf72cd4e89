//! A record counts as published when every authoritative server has it.

use std::time::Duration;

use mailcert::dns::{Dns, Settings, missing};
use mailcert::solvers::dns01::rfc2136::{Algorithm, Transport};
use mailcert_testenv::{Bind, BindOptions, BindZone};

use crate::ground::{OTHER, VALUE, bind, dns, settings, solver};

const NAME: &str = "_acme-challenge.mail.example.test";

#[tokio::test]
async fn a_secondary_that_lags_is_named() {
    let zones = vec![BindZone::new("example.test")];
    let options = BindOptions { zones, secondary: true, notify: false };
    let Some(bind) = Bind::start_or_skip(&options) else { return };
    let solver = solver(&bind, Algorithm::HmacSha256, Transport::Tcp);
    let dns = dns(bind.address());
    let lacks = async |value| missing(&dns.txt_everywhere(NAME).await.unwrap(), value);

    let neither =
        "ns1.example.test does not have the TXT record yet; ns2.example.test does not have the TXT record yet";
    let mut sentences = vec![lacks(VALUE).await.unwrap()];
    assert_eq!(sorted(&sentences[0]), neither);
    solver.present("example.test", NAME, VALUE, 60).await.unwrap();
    sentences.push(lacks(VALUE).await.unwrap());
    assert_eq!(sentences[1], "ns2.example.test does not have the TXT record yet");
    bind.transfer("example.test").unwrap();
    assert_eq!(lacks(VALUE).await, None);

    solver.present("example.test", NAME, OTHER, 60).await.unwrap();
    assert_eq!(lacks(VALUE).await, None, "a second value does not hide the first");
    assert_eq!(
        lacks(OTHER).await.unwrap(),
        "ns2.example.test has other values of the TXT record, but not this one yet"
    );
    bind.transfer("example.test").unwrap();
    assert_eq!(lacks(OTHER).await, None);
}

/// The servers come in any order.
fn sorted(sentence: &str) -> String {
    let mut parts: Vec<&str> = sentence.split("; ").collect();
    parts.sort_unstable();
    parts.join("; ")
}

#[tokio::test]
async fn resolvers_are_asked_where_nothing_else_can_be() {
    let options = BindOptions { zones: vec![BindZone::new("example.test")], secondary: true, ..BindOptions::default() };
    let Some(bind) = Bind::start_or_skip(&options) else { return };
    let dns = Dns::new(&Settings {
        resolvers: vec![bind.address(), bind.secondary()],
        recursive_only: true,
        ..settings(bind.address())
    })
    .unwrap();
    bind.add_record(&format!("{NAME} 60 TXT {VALUE}")).unwrap();
    let answers = dns.txt_everywhere(NAME).await.unwrap();
    assert_eq!(missing(&answers, VALUE).unwrap(), format!("{} does not have the TXT record yet", bind.secondary()));
    bind.transfer("example.test").unwrap();
    assert_eq!(missing(&dns.txt_everywhere(NAME).await.unwrap(), VALUE), None);
}

#[tokio::test]
async fn servers_that_cannot_answer_are_named_and_dead_addresses_are_not() {
    // A server of the zone that knows nothing of it, one without an address, and one from one of whose two addresses
    // nothing comes back.
    let stranger =
        BindOptions { zones: vec![BindZone::new("stranger.test")], secondary: true, ..BindOptions::default() };
    let Some(stranger) = Bind::start_or_skip(&stranger) else { return };
    let lame = stranger.secondary().ip();
    let zone = BindZone::new("example.test").records(&format!(
        "@ NS lame\nlame A {lame}\n@ NS nowhere.example.net.\n{NAME}. TXT {VALUE}\nns1 AAAA 100::1\nalias CNAME other"
    ));
    let Some(bind) = bind(vec![zone]) else { return };
    let dns = Dns::new(&Settings { timeout: Duration::from_secs(2), ..settings(bind.address()) }).unwrap();
    assert_eq!(
        sorted(&missing(&dns.txt_everywhere(NAME).await.unwrap(), VALUE).unwrap()),
        format!(
            "lame.example.test: it is named as a server of the zone, but answers REFUSED (lame) at {lame}; \
             nowhere.example.net: its name has no address"
        )
    );
    let alias = missing(&dns.txt_everywhere("alias.example.test").await.unwrap(), VALUE).unwrap();
    assert!(alias.contains("ns1.example.test: it says that the name is an alias of other.example.test"), "{alias}");
}
