//! Names, zones, addresses and CAA records, as BIND serves them.

use std::net::Ipv4Addr;

use mailcert::dns::CaaRecord;
use mailcert_testenv::{Bind, BindZone};

use crate::ground::{bind, dns};

fn served() -> Option<Bind> {
    let example = BindZone::new("example.test").records(
        "mail A 192.0.2.1\nmail A 192.0.2.2\nmail AAAA 2001:db8::1\nwww CNAME mail\nempty TXT \"no address\"\n\
         _acme-challenge.mail CNAME mail.acme.other.test.\n\
         _acme-challenge.twice CNAME hop\nhop CNAME twice.acme.other.test.\n\
         circle CNAME circle2\ncircle2 CNAME circle\n\
         away CNAME www.example.net.\n\
         caa CAA 0 issue \"ca.test; accounturi=https://ca.test/1\"\ncaa CAA 128 IssueWild \";\"\n\
         alias CNAME caa\n*.wild A 192.0.2.9\n*.wild CAA 0 issue \"wild.test\"\n\
         texts TXT \"one\" \" two\"\ntexts TXT \"three\"\n\
         sub NS ns1.sub",
    );
    let chain: String = (0..12).map(|i| format!("c{i} CNAME c{}\n", i + 1)).collect();
    let other = BindZone::new("other.test").records(&format!("@ CAA 0 issue \"other.test\"\n{chain}c12 A 192.0.2.3"));
    bind(vec![example, other, BindZone::new("sub.example.test")])
}

#[tokio::test]
async fn aliases_are_followed_into_other_zones() {
    let Some(bind) = served() else { return };
    let dns = dns(bind.address());
    for (name, end) in [
        ("_acme-challenge.mail.example.test", "mail.acme.other.test"),
        ("_ACME-Challenge.Twice.Example.Test.", "twice.acme.other.test"),
        ("_acme-challenge.none.example.test", "_acme-challenge.none.example.test"),
        ("mail.example.test", "mail.example.test"),
        ("away.example.test", "www.example.net"),
        ("c2.other.test", "c12.other.test"),
    ] {
        assert_eq!(dns.follow(name).await.unwrap(), end);
    }
    let circle = dns.follow("circle.example.test").await.unwrap_err();
    assert_eq!(
        circle.words,
        "the aliases (CNAME records) that begin at circle.example.test lead in a circle; remove one of them"
    );
    let long = dns.follow("c1.other.test").await.unwrap_err();
    assert_eq!(
        long.words,
        "more than 10 aliases (CNAME records) follow one another from c1.other.test; shorten the chain"
    );
    assert!(!circle.transient && !long.transient);
    dns.addresses("circle.example.test").await.unwrap_err();
    dns.follow("a..example.test").await.unwrap_err();
    dns.follow("").await.unwrap_err();
}

#[tokio::test]
async fn the_zone_of_a_name_is_where_its_soa_is() {
    let Some(bind) = served() else { return };
    let dns = dns(bind.address());
    for (name, apex) in [
        ("_acme-challenge.mail.example.test", "example.test"),
        ("_acme-challenge.none.Example.Test.", "example.test"),
        ("example.test", "example.test"),
        ("a.b.c.sub.example.test", "sub.example.test"),
        ("mail.acme.other.test", "other.test"),
    ] {
        let zone = dns.zone(name).await.unwrap();
        assert_eq!(zone.apex, apex, "{name}");
        assert_eq!(zone.servers.len(), 1);
        assert_eq!(zone.servers[0].name, format!("ns1.{apex}"));
        assert_eq!(zone.servers[0].addresses, [bind.address().ip()]);
    }
    assert_eq!(
        dns.zone("mail.example.net").await.unwrap_err().words,
        "no zone in DNS holds mail.example.net: there is no SOA record at it or above it; is its domain registered and \
         delegated?"
    );
}

#[tokio::test]
async fn addresses_and_texts_that_do_not_exist_are_no_failure() {
    let Some(bind) = served() else { return };
    let dns = dns(bind.address());
    for name in ["mail.example.test", "www.example.test"] {
        let mut found = dns.addresses(name).await.unwrap();
        found.v4.sort();
        assert_eq!(found.v4, [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]);
        assert_eq!(found.v6.iter().map(ToString::to_string).collect::<Vec<_>>(), ["2001:db8::1"]);
    }
    assert_eq!(dns.addresses("a.wild.example.test").await.unwrap().v4, [Ipv4Addr::new(192, 0, 2, 9)]);
    for name in ["empty.example.test", "none.example.test", "away.example.test"] {
        let found = dns.addresses(name).await.unwrap();
        assert!(found.v4.is_empty() && found.v6.is_empty(), "{name}");
    }
    let mut texts = dns.txt("texts.example.test").await.unwrap();
    texts.sort();
    assert_eq!(texts, ["one two", "three"]);
    assert_eq!(dns.txt("mail.example.test").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn caa_records_are_found_by_walking_up_the_tree() {
    let Some(bind) = served() else { return };
    let dns = dns(bind.address());
    let record = |critical, tag: &str, value: &str| CaaRecord { critical, tag: tag.into(), value: value.into() };
    let own = [record(false, "issue", "ca.test; accounturi=https://ca.test/1"), record(true, "issuewild", ";")];
    let other = [record(false, "issue", "other.test")];
    for (name, at, records) in [
        ("caa.example.test", Some("caa.example.test"), own.as_slice()),
        ("a.b.caa.example.test", Some("caa.example.test"), &own),
        ("*.caa.example.test", Some("caa.example.test"), &own),
        // Found at the alias, though the records are its target's.
        ("alias.example.test", Some("alias.example.test"), &own),
        ("a.wild.example.test", Some("a.wild.example.test"), &[record(false, "issue", "wild.test")]),
        ("mail.example.test", None, &[]),
        // An alias is followed for its own records only, never for those above its target.
        ("_acme-challenge.mail.example.test", None, &[]),
        ("mail.acme.other.test", Some("other.test"), &other),
    ] {
        let mut found = dns.caa(name).await.unwrap();
        found.records.sort_by_key(|record| record.critical);
        assert_eq!((found.at.as_deref(), found.records.as_slice()), (at, records), "{name}");
    }
}
