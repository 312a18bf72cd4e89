//! How much is asked of a CA at most: no restart and no new object makes the operator forget what it has asked.

use std::collections::BTreeSet;

use kube::api::DeleteParams;
use mailcert::api::{MailCertificate, MailIssuer};
use mailcert_testenv::PebbleOptions;
use serde_json::json;

use crate::scene::{attempt, certificate, change, run, says, status};
use crate::world::{World, condition, is, revision};

const HOST: &str = "mail.guard.test";

#[test]
fn the_fifth_order_for_the_same_names_waits_whatever_happens() {
    run(async {
        let mut world = World::prepare("guard", &[], PebbleOptions::default()).await;
        world.start_operator();
        world.resolve(&[HOST]);
        world.issuer("ca", world.issuer_spec()).await;
        world.certificate("mail", &[HOST]).await;
        world.issued("mail").await;
        for number in 2..=4 {
            world.renew("mail", &format!("renewal {number}")).await;
            world.wait("mail", "renewed", |c| revision(c) == number).await;
        }
        assert_eq!(world.proxy.orders(), 4);
        world.renew("mail", "one too many").await;
        held_back(&world, "mail").await;

        world.kill_operator();
        world.start_operator();
        world.renew("mail", "once more").await;
        world.wait("mail", "seen", |c| status(c).last_renew_request.as_deref() == Some("once more")).await;
        held_back(&world, "mail").await;

        // A new object for the same names, without the old one's Secret.
        world.api::<MailCertificate>().delete("mail", &DeleteParams::default()).await.unwrap();
        world
            .until("end", async || {
                world.api::<MailCertificate>().get_opt("mail").await.unwrap().is_none().then_some(())
            })
            .await;
        world
            .create::<MailCertificate>("mail", {
                let mut spec = crate::world::certificate_spec("mail", "ca", &[HOST]);
                spec["secretName"] = json!("another-tls");
                spec
            })
            .await;
        held_back(&world, "mail").await;
        assert_eq!(
            world.proxy.count("/order-plz", None),
            world.proxy.orders() + world.proxy.count("/order-plz", Some(400))
        );
        assert_eq!(world.proxy.orders(), 4);

        change::<MailIssuer>(&world, "ca", json!({"spec": {"acme": {"limits": {"perNameSet": 5}}}})).await;
        world.wait_issuer("ca", "seen", |i| i.status.as_ref().unwrap().observed_generation == Some(2)).await;
        world.renew("mail", "the limit is higher now").await;
        world.issued("mail").await;
        assert_eq!(world.proxy.orders(), 5);
    });
}

/// Until the object says that the guard holds its order back, and until when.
async fn held_back(world: &World, name: &str) {
    let held = world.issuing(name, "BudgetSpent").await;
    let words = says(&held);
    assert!(words.starts_with("4 orders for exactly these names in the last 7 days, and the limit is 4 "), "{words}");
    assert!(words.contains("(perNameSet)"), "{words}");
    let retry = attempt(&held).unwrap().retry_time.unwrap().0;
    let hours = retry.duration_since(k8s_openapi::jiff::Timestamp::now()).as_hours();
    assert!((22..=24).contains(&hours), "{retry}: looked at again within a day");
    assert!(!is(&condition(&held, "Stalled"), "True", "BudgetSpent"));
}

#[test]
fn orders_of_an_issuer_take_turns() {
    crate::scene::run_shared(async |world, _| {
        let mut spec = world.issuer_spec();
        spec["acme"]["limits"] = json!({"concurrent": 1});
        world.issuer("turns", spec).await;
        let names = ["turn-a", "turn-b", "turn-c"];
        for name in names {
            certificate(world, name, "turns", &[&format!("{name}.host.more.test")]).await;
        }
        let (mut issued, mut waited) = (BTreeSet::new(), false);
        world
            .until("certificate of each", async || {
                let all = world.api::<MailCertificate>().list(&Default::default()).await.unwrap().items;
                let ours: Vec<_> =
                    all.iter().filter(|c| c.spec.issuer_ref.as_ref().is_some_and(|i| i.name == "turns")).collect();
                let open = |c: &&&MailCertificate| attempt(c).is_some_and(|a| a.order.is_some());
                let open: Vec<_> = ours.iter().filter(open).map(|c| c.metadata.name.as_deref()).collect();
                assert!(open.len() <= 1, "{open:?} at once");
                waited |= ours.iter().any(|c| says(c).contains("as many as its limits allow"));
                issued.extend(ours.iter().filter(|c| revision(c) == 1).filter_map(|c| c.metadata.name.clone()));
                (issued.len() == names.len()).then_some(())
            })
            .await;
        assert!(waited, "the others say what they wait for");
    });
}
