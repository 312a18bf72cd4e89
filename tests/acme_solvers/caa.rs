//! What DNS says of names before an order is made.

use mailcert::api::MailIssuer;
use serde_json::json;

use crate::scene::{account, acme, attempt, certificate, change, finding, http01, made, orders, run_shared, says};

const OTHER: &str = "0 issue \"other.test\"";

#[test]
fn a_caa_record_that_forbids_the_ca_stops_the_order() {
    run_shared(async |world, bind| {
        bind.add_record(&format!("one.host.caa.test. 1 A 127.0.0.1\nadd one.host.caa.test. 1 CAA {OTHER}")).unwrap();
        world.issuer("caa", acme(world, json!([http01()]))).await;
        certificate(world, "caa", "caa", &["one.host.caa.test"]).await;
        let failing = world.issuing("caa", "PreflightFailed").await;
        let (about, words) = finding(&failing, "CAAForbids").unwrap();
        assert_eq!(about, "one.host.caa.test");
        assert!(words.contains("let only other CAs issue") || words.contains("lets only another CA issue"), "{words}");
        assert!(words.contains(OTHER) && says(&failing).contains(&words), "{words}");
        assert_eq!(orders(world, "one.host.caa.test"), [], "the CA was asked all the same");

        // Where the cluster sees another DNS than the CA: Pebble itself looks at no CAA records.
        change::<MailIssuer>(world, "caa", json!({"spec": {"acme": {"caaCheck": "Report"}}})).await;
        world.wait_issuer("caa", "seen", |i| i.status.as_ref().unwrap().observed_generation == Some(2)).await;
        world.renew("caa", "at once").await;
        let ordered = world.wait("caa", "ordered", |c| attempt(c).is_some_and(|a| a.order.is_some())).await;
        assert_eq!(finding(&ordered, "CAAForbids"), Some((about, words)));
        world.issued("caa").await;
        assert_eq!(made(world, "one.host.caa.test"), 1);
    });
}

#[test]
fn the_account_and_the_method_count_too() {
    run_shared(async |world, bind| {
        let issuer = world.issuer("caa-bound", acme(world, json!([http01()]))).await;
        let uri = account(&issuer);
        let bound = |host: &str, parameter: &str| {
            let caa = format!("{host}. 1 CAA 0 issue \"pebble.letsencrypt.org; {parameter}\"");
            bind.add_record(&format!("{host}. 1 A 127.0.0.1\nadd {caa}")).unwrap();
        };
        bound("account.host.caa.test", "accounturi=https://ca.test/acct/1");
        bound("method.host.caa.test", "validationmethods=dns-01");
        bound("own.host.caa.test", &format!("accounturi={uri}; validationmethods=http-01"));
        for (name, words) in [("account", uri.as_str()), ("method", "allows only the challenge types dns-01")] {
            let host = format!("{name}.host.caa.test");
            certificate(world, &format!("caa-{name}"), "caa-bound", &[&host]).await;
            let failing = world.issuing(&format!("caa-{name}"), "PreflightFailed").await;
            let (_, told) = finding(&failing, "CAAForbids").unwrap();
            assert!(told.contains(words), "{told}");
            assert_eq!(orders(world, &host), []);
        }
        certificate(world, "caa-own", "caa-bound", &["own.host.caa.test"]).await;
        let issued = world.issued("caa-own").await;
        assert!(finding(&issued, "CAAForbids").is_none() && finding(&issued, "NoAddress").is_none());
    });
}

#[test]
fn a_name_without_an_address_is_said() {
    run_shared(async |world, _| {
        world.issuer("addresses", acme(world, json!([http01()]))).await;
        certificate(world, "addresses", "addresses", &["nowhere.caa.test"]).await;
        let told = world.wait("addresses", "looked at", |c| finding(c, "NoAddress").is_some()).await;
        let (about, words) = finding(&told, "NoAddress").unwrap();
        assert_eq!(about, "nowhere.caa.test");
        assert!(words.contains("has no A or AAAA record"), "{words}");
    });
}
