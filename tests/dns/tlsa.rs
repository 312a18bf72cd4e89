//! TLSA records: published in one message, looked at on every authoritative server, and validated (DNSSEC) from a trust
//! anchor on.

use std::collections::BTreeSet;

use mailcert::decide::domain::tlsa::{Sighting, Trust};
use mailcert::dns::{Dns, Settings};
use mailcert::solvers::dns01::rfc2136::{Algorithm, Rfc2136, Transport};
use mailcert_testenv::{Bind, BindOptions, BindZone};

use crate::ground::{settings, solver};

const CURRENT: &str = "3 1 1 aa0f16";
const NEXT: &str = "3 1 1 bb0f16";

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(ToString::to_string).collect()
}

/// One BIND for all of these tests would do, but each changes what the others look at.
fn bind(zones: Vec<BindZone>, secondary: bool) -> Option<(Bind, Dns, Rfc2136)> {
    let bind = Bind::start_or_skip(&BindOptions { zones, secondary, notify: false })?;
    let anchors = bind.anchor().parse().unwrap();
    let dns = Dns::new(&Settings { anchors, ..settings(bind.address()) }).unwrap();
    let server = solver(&bind, Algorithm::HmacSha256, Transport::Tcp);
    Some((bind, dns, server))
}

/// What each server has, by the servers' names: values, TTL, trust.
fn shown(sighting: &Sighting) -> Vec<String> {
    let mut all: Vec<String> = sighting
        .servers
        .iter()
        .map(|server| match &server.answer {
            Ok(a) => format!("{} {:?} {} {:?}", server.name, a.values, a.ttl, a.trust),
            Err(why) => format!("{} {why}", server.name),
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn records_change_in_one_message_and_every_server_is_validated() {
    let zones = vec![BindZone::new("dane.test").signed().records("mail A 127.0.0.1")];
    let Some((bind, dns, server)) = bind(zones, true) else { return };
    let (name, host) = ("_25._tcp.mail.dane.test", "mail.dane.test");
    let look = async || dns.tlsa_everywhere(name, host).await.unwrap();

    let before = look().await;
    assert_eq!((before.owner.as_str(), before.zone.as_str(), &before.alias), (name, "dane.test", &None));
    assert_eq!(shown(&before), ["ns1.dane.test {} 0 Secure", "ns2.dane.test {} 0 Secure"], "their absence is signed");

    server.replace_tlsa("dane.test", name, &set(&[CURRENT]), &set(&[]), 7).await.unwrap();
    assert_eq!(shown(&look().await)[0], format!("ns1.dane.test {{\"{CURRENT}\"}} 7 Secure"));
    assert_eq!(shown(&look().await)[1], "ns2.dane.test {} 0 Secure", "it lags");
    bind.transfer("dane.test").unwrap();
    assert_eq!(shown(&look().await)[1], format!("ns2.dane.test {{\"{CURRENT}\"}} 7 Secure"));

    // One comes, one goes, one of somebody else's stays; and the TTL is that of all.
    bind.add_record(&format!("{name}. 7 TLSA 2 1 1 cc0f16")).unwrap();
    server.replace_tlsa("dane.test", name, &set(&[NEXT]), &set(&[CURRENT]), 9).await.unwrap();
    let primary = shown(&look().await)[0].clone();
    assert_eq!(primary, format!("ns1.dane.test {{\"2 1 1 cc0f16\", \"{NEXT}\"}} 9 Secure"));
    // Twice is once.
    server.replace_tlsa("dane.test", name, &set(&[NEXT]), &set(&[CURRENT]), 9).await.unwrap();
    assert_eq!(shown(&look().await)[0], primary);
}

#[tokio::test]
async fn zones_without_signatures_and_with_wrong_ones_are_told_apart() {
    let zone = |apex: &str| BindZone::new(apex).records("_25._tcp.mail 600000 TLSA 3 1 1 aa0f16");
    let zones = vec![zone("dane.test").signed(), zone("plain.test"), zone("bogus.test").broken()];
    let Some((bind, dns, _)) = bind(zones, false) else { return };
    let trust = async |dns: &Dns, apex: &str| {
        let found = dns.tlsa_everywhere(&format!("_25._tcp.mail.{apex}"), &format!("mail.{apex}")).await.unwrap();
        let answer = found.servers[0].answer.clone().unwrap();
        assert_eq!(answer.values, set(&["3 1 1 aa0f16"]));
        assert_eq!(answer.ttl, 600_000);
        answer.trust
    };
    assert_eq!(trust(&dns, "dane.test").await, Trust::Secure);
    assert_eq!(trust(&dns, "plain.test").await, Trust::Insecure);
    let why = "its signature does not lead to a trust anchor: does the DS record in the parent zone name a key of \
               bogus.test?";
    assert_eq!(trust(&dns, "bogus.test").await, Trust::Bogus(why.to_owned()));
    // Somebody whose trust begins elsewhere believes nothing here.
    let stranger = Dns::new(&settings(bind.address())).unwrap();
    assert!(matches!(trust(&stranger, "dane.test").await, Trust::Bogus(_)));
}

#[tokio::test]
async fn aliases_are_followed_where_clients_follow_them() {
    let lines = "_25._tcp.mail CNAME tlsa\nold CNAME mail\n_25._tcp.old TLSA 3 1 1 aa0f16\nmail A 127.0.0.1";
    let Some((_bind, dns, server)) = bind(vec![BindZone::new("dane.test").signed().records(lines)], false) else {
        return;
    };
    // An alias of the record's name: the record is at its end.
    let found = dns.tlsa_everywhere("_25._tcp.mail.dane.test", "mail.dane.test").await.unwrap();
    assert_eq!((found.owner.as_str(), found.alias), ("tlsa.dane.test", None));
    server.replace_tlsa("dane.test", &found.owner, &set(&[CURRENT]), &set(&[]), 5).await.unwrap();
    // An alias of the host: clients look below its end first.
    let found = dns.tlsa_everywhere("_25._tcp.old.dane.test", "old.dane.test").await.unwrap();
    assert_eq!(found.owner, "_25._tcp.old.dane.test");
    let alias = found.alias.unwrap();
    assert_eq!((alias.end.as_str(), alias.values), ("mail.dane.test", set(&[CURRENT])));
    // At an alias nothing can be, and the server would say nothing.
    let words = server
        .replace_tlsa("dane.test", "_25._tcp.mail.dane.test", &set(&[CURRENT]), &set(&[]), 5)
        .await
        .unwrap_err()
        .words;
    assert_eq!(
        words,
        "_25._tcp.mail.dane.test is an alias (CNAME record), so it cannot have TLSA records: remove one of the two"
    );
}

#[tokio::test]
async fn a_refused_key_is_said_in_the_servers_words() {
    let Some((bind, _, server)) = bind(vec![BindZone::new("dane.test").signed().policy("")], false) else { return };
    let name = "_25._tcp.mail.dane.test";
    let refused = server.replace_tlsa("dane.test", name, &set(&[CURRENT]), &set(&[]), 5).await.unwrap_err();
    assert_eq!(
        refused.words,
        format!(
            "the DNS server {} did not update {name} in the zone dane.test: REFUSED; let the TSIG key mailcert-sha256 \
             update TLSA records of that name (in BIND: update-policy)",
            bind.address()
        )
    );
    let other = bind.key("hmac-sha512").1;
    let secret = mailcert::solvers::dns01::rfc2136::Secret::from_base64(other.as_bytes()).unwrap();
    let wrong = Rfc2136 { secret, ..server };
    let failure = wrong.replace_tlsa("dane.test", name, &set(&[CURRENT]), &set(&[]), 5).await.unwrap_err();
    assert!(failure.words.ends_with("has another secret for the TSIG key mailcert-sha256 (BADSIG)"), "{failure}");
}
