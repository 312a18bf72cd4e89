//! DNS-01 with dynamic updates of a real BIND.

use kube::api::DeleteParams;
use mailcert::api::MailCertificate;
use mailcert_testenv::{Bind, BindOptions, BindZone};
use serde_json::json;

use crate::scene::{acme, asking, certificate, made, noted, resolvers, rfc2136, run, run_shared, says, status, tsig};
use crate::world::{World, condition, is};

const NAMES: [&str; 2] = ["mail.lag.test", "*.mail.lag.test"];
/// Where `_acme-challenge.mail.lag.test` leads.
const TARGET: &str = "mail.lagging.test";

#[test]
fn a_name_and_its_wildcard_through_an_alias_with_a_secondary_that_lags() {
    let main = BindZone::new("lag.test").records("_acme-challenge.mail CNAME mail.lagging.test.").policy("");
    let zones = vec![main, BindZone::new("lagging.test")];
    let Some(bind) = Bind::start_or_skip(&BindOptions { zones, secondary: true, notify: false }) else { return };
    run(async {
        let mut world = World::prepare("lag", &[&resolvers(bind.address())], asking(bind.address())).await;
        world.start_operator();
        tsig(&world, "key", &bind.key("hmac-sha256").1).await;
        world.issuer("ca", acme(&world, json!([rfc2136(&bind, "key")]))).await;
        certificate(&world, "mail", "ca", &NAMES).await;
        waits(&world, "mail").await;
        assert_eq!(world.proxy.count("/chalZ/", None), 0, "the CA was asked all the same");

        // Without the operator they stand for a while, and the next one knows of them.
        world.kill_operator();
        assert_eq!(bind.txt(TARGET).unwrap().len(), 2, "one value for each name");
        world.start_operator();
        bind.transfer("lagging.test").unwrap();
        let issued = status(&world.issued("mail").await);
        assert_eq!(issued.active.unwrap().dns_names, ["*.mail.lag.test", "mail.lag.test"]);
        assert!(issued.published_records.is_empty(), "{:?}", issued.published_records);
        assert_eq!(bind.txt(TARGET).unwrap(), [""; 0]);
        assert_eq!((world.proxy.orders(), world.proxy.finalized()), (1, 1));

        // Deleted in the middle of it, it leaves nothing behind either.
        bind.transfer("lagging.test").unwrap();
        certificate(&world, "other", "ca", &NAMES).await;
        waits(&world, "other").await;
        assert_eq!(bind.txt(TARGET).unwrap().len(), 2);
        world.api::<MailCertificate>().delete("other", &DeleteParams::default()).await.unwrap();
        world.until("end of the records", async || bind.txt(TARGET).unwrap().is_empty().then_some(())).await;
    });
}

/// Until the records are at the primary server, and the secondary is named.
async fn waits(world: &World, name: &str) {
    let lead = "waiting for the TXT record on every authoritative server: ";
    let waiting = world.wait(name, "waiting for the secondary", |c| says(c).contains(lead)).await;
    let words = says(&waiting);
    assert!(words.contains("ns2.lagging.test does not have the TXT record yet"), "{words}");
    assert!(!words.contains("ns1"), "{words}");
    assert!(is(&condition(&waiting, "Issuing"), "True", "OrderPending"));
    assert!(condition(&waiting, "Stalled").is_none());
    let records = status(&waiting).published_records;
    assert_eq!(records.len(), 2, "{records:?}");
    for published in &records {
        assert!(NAMES.contains(&published.for_name.as_str()));
        assert_eq!((&*published.record.name, published.record.zone.as_deref()), (TARGET, Some("lagging.test")));
    }
}

#[test]
fn a_wrong_secret_is_said_and_a_corrected_one_is_enough() {
    run_shared(async |world, bind| {
        tsig(world, "keys-key", "Zm9yZ2Vk").await;
        world.issuer("keys", acme(world, json!([rfc2136(bind, "keys-key")]))).await;
        certificate(world, "keys", "keys", &["mail.keys.test"]).await;
        let words = format!(
            "the TXT record cannot be published: mail.keys.test: the DNS server {} has another secret for the TSIG key \
             mailcert-sha256 (BADSIG)",
            bind.address()
        );
        let failing = world.issuing("keys", "PresentFailed").await;
        assert!(says(&failing).contains(&words), "{}", says(&failing));
        assert!(status(&failing).published_records.is_empty());
        let events = world.until("Event", async || noted(world, "keys", "PresentFailed").await.pop()).await;
        assert!(events.contains(&words), "{events}");
        assert_eq!(bind.txt("_acme-challenge.mail.keys.test").unwrap(), [""; 0]);

        tsig(world, "keys-key", &bind.key("hmac-sha256").1).await;
        let issued = status(&world.issued("keys").await);
        assert!(issued.published_records.is_empty() && issued.findings.iter().all(|f| f.reason == "ChainNotAnchored"));
        assert_eq!(bind.txt("_acme-challenge.mail.keys.test").unwrap(), [""; 0]);
        assert_eq!(made(world, "mail.keys.test"), 1, "the order is still the first one");
    });
}
