//! Which of an issuer's solvers answers for a name.

use mailcert::api::MailCertificate;
use serde_json::json;

use crate::scene::{acme, attempt, certificate, http01, made, rfc2136, run_shared, says, status, tsig};

/// Names of an order with the types of their challenges.
fn chosen(object: &MailCertificate) -> Option<Vec<(String, &'static str)>> {
    let order = attempt(object)?.order.filter(|o| !o.challenges.is_empty())?;
    let mut all: Vec<_> = order.challenges.into_iter().map(|c| (c.name, c.type_.as_str())).collect();
    all.sort();
    Some(all)
}

#[test]
fn names_go_to_the_closest_solver() {
    run_shared(async |world, bind| {
        tsig(world, "select-key", &bind.key("hmac-sha256").1).await;
        let mut dns = rfc2136(bind, "select-key");
        dns["selector"] = json!({"dnsZones": ["select.test"]});
        let tls = json!({"selector": {"dnsNames": ["imap.host.select.test"]}, "tlsAlpn01": {"selfCheck": "Skip"}});
        world.issuer("select", acme(world, json!([http01(), dns, tls]))).await;
        let names = ["mail.host.more.test", "imap.host.select.test", "smtp.select.test", "*.select.test"];
        certificate(world, "select", "select", &names).await;
        let ordered = world.wait("select", "ordered", |c| chosen(c).is_some()).await;
        let expected = [
            ("*.select.test", "dns-01"),
            ("imap.host.select.test", "tls-alpn-01"),
            ("mail.host.more.test", "http-01"),
            ("smtp.select.test", "dns-01"),
        ];
        assert_eq!(chosen(&ordered).unwrap(), expected.map(|(name, kind)| (name.to_owned(), kind)));
        let issued = status(&world.issued("select").await);
        assert_eq!(issued.active.unwrap().dns_names.len(), 4);
        assert!(issued.published_records.is_empty());
    });
}

#[test]
fn a_name_that_no_solver_is_for_is_said_and_nothing_is_asked() {
    run_shared(async |world, _| {
        let mut solver = http01();
        solver["selector"] = json!({"dnsZones": ["select.test"]});
        world.issuer("narrow", acme(world, json!([solver]))).await;
        for (name, host, words) in [
            (
                "nobody",
                "nobody.more.test",
                "no solver of the issuer is for nobody.more.test: add one to the MailIssuer, or widen a selector",
            ),
            (
                "asterisk",
                "*.wild.select.test",
                "only dns01 and dnsPersist01 can validate the wildcard *.wild.select.test",
            ),
        ] {
            certificate(world, name, "narrow", &["mail.host.select.test", host]).await;
            let stalled = world.issuing(name, "InvalidSpec").await;
            assert!(says(&stalled).contains(words), "{}", says(&stalled));
            assert_eq!(made(world, host), 0);
        }
    });
}
