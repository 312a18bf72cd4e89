//! The CA says when to renew (ARI, RFC 9773).

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use mailcert_testenv::PebbleOptions;
use serde_json::{Value, json};

use crate::proxy::Fate;
use crate::scene::{finding, orders, run, status};
use crate::world::{World, revision};

const PATH: &str = "/draft-ietf-acme-ari-03/renewalInfo/";

/// Holds the question about the certificate that is issued next until Pebble has been told what to say. Returns that
/// certificate's ARI identifier.
async fn answered_with(world: &World, name: &str, host: &str, answer: Value) -> String {
    world.proxy.rule(|asked| if asked.path.starts_with(PATH) { Fate::Hold } else { Fate::Pass });
    world.certificate(name, &[host]).await;
    let issued = world.wait(name, "issued", |c| revision(c) == 1).await;
    let pem = world.secret(&format!("{name}-tls")).await.data.unwrap().remove("tls.crt").unwrap().0;
    let pem = String::from_utf8(pem).unwrap();
    let leaf = pem.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
    world.pebble.set_renewal_info(leaf, &answer.to_string()).unwrap();
    world.proxy.pass();
    status(&issued).active.unwrap().ari_id.unwrap()
}

fn ago(hours: i64) -> String {
    Timestamp::now().checked_sub(SignedDuration::from_hours(hours)).unwrap().to_string()
}

#[test]
fn the_window_decides_unless_it_makes_no_sense() {
    run(async {
        let mut world = World::prepare("ari", &[], PebbleOptions::default()).await;
        world.start_operator();
        world.resolve(&["due.ari.test", "nonsense.ari.test", "usual.ari.test"]);
        world.issuer("ca", world.issuer_spec()).await;

        // A window that is over: renewed at once, as a replacement.
        let past =
            json!({"suggestedWindow": {"start": ago(3), "end": ago(2)}, "explanationURL": "https://ca.test/why"});
        let replaced = answered_with(&world, "due", "due.ari.test", past).await;
        let renewed = world.wait("due", "renewed", |c| revision(c) == 2).await;
        assert_ne!(status(&renewed).active.unwrap().ari_id, Some(replaced.clone()));
        let made = orders(&world, "due.ari.test");
        let made: Vec<_> = made.iter().filter(|(_, status)| *status == Some(201)).collect();
        assert_eq!(made.len(), 2, "{made:?}");
        assert_eq!((&made[0].0["replaces"], &made[1].0["replaces"]), (&Value::Null, &json!(replaced)));
        assert_eq!(finding(&world.issued("due").await, "NotReplaced"), None);

        // What makes no sense is said, and the lifetime decides.
        let backwards = json!({"suggestedWindow": {"start": ago(1), "end": ago(2)}});
        answered_with(&world, "nonsense", "nonsense.ari.test", backwards).await;
        let told = world.wait("nonsense", "judged", |c| finding(c, "RenewalInfoIgnored").is_some()).await;
        let (_, words) = finding(&told, "RenewalInfoIgnored").unwrap();
        assert!(words.contains("makes no sense: the window ends at"), "{words}");
        assert_eq!((status(&told).renewal_info, revision(&told)), (None, 1));

        // What Pebble says by itself.
        world.certificate("usual", &["usual.ari.test"]).await;
        let told = status(&world.wait("usual", "told", |c| status(c).renewal_info.is_some()).await);
        let (active, info) = (told.active.unwrap(), told.renewal_info.unwrap());
        assert_eq!(Some(info.certificate_id), active.ari_id);
        assert!(active.not_before.0 < info.start.0 && info.start.0 < info.end.0 && info.end.0 < active.not_after.0);
        assert!((info.start.0..=info.end.0).contains(&info.renew_at.0));
        assert_eq!(told.renewal_time.unwrap(), info.renew_at);
        assert_eq!(orders(&world, "nonsense.ari.test").iter().filter(|(_, s)| *s == Some(201)).count(), 1);
    });
}
