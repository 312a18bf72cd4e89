//! A server that never finishes an answer holds up its own certificates only.

use std::time::{Duration, Instant};

use mailcert::api::{MailCertificate, MailIssuer};
use serde_json::json;

use crate::proxy::{Fate, Proxy};
use crate::world::{World, certificate_spec, condition};

/// More than the operator has workers.
const HUNG: usize = 40;

#[tokio::test]
async fn a_hung_server_holds_up_nobody_else() {
    let world = World::start("hung", &["--concurrency=16", "--reconcile-timeout=60s"]).await;
    let hung = Proxy::start(&world.pebble).await;
    world.resolve(&["good.hung.test"]);
    world.issuer("ca", world.issuer_spec()).await;
    world.create::<MailIssuer>("own", json!({"selfSigned": {}})).await;
    let mut spec = world.issuer_spec();
    spec["acme"]["server"] = json!(hung.directory());
    spec["acme"]["caBundle"] = json!(hung.ca_pem());
    world.issuer("slow", spec).await;
    hung.rule(|asked| if asked.method == "HEAD" { Fate::Hold } else { Fate::Drip });
    for n in 0..HUNG {
        let (name, host) = (format!("slow{n}"), format!("slow{n}.hung.test"));
        world.create::<MailCertificate>(&name, certificate_spec(&name, "slow", &[&host])).await;
    }
    world.until("request that hangs", async || (hung.log().len() > 3).then_some(())).await;
    let begin = Instant::now();
    for n in 0..5 {
        let name = format!("own{n}");
        world.create::<MailCertificate>(&name, certificate_spec(&name, "own", &["own.hung.test"])).await;
        world.issued(&name).await;
    }
    let own = begin.elapsed();
    world.certificate("good", &["good.hung.test"]).await;
    world.issued("good").await;
    eprintln!("while {HUNG} hang: 5 self-signed in {own:?}, then one of another ACME server: {:?}", begin.elapsed());
    // One request to the hung server takes 15 s: nobody else waits for one.
    assert!(own < Duration::from_secs(12), "{own:?}");
    let failed =
        world.wait("slow0", "failed", |c| condition(c, "Issuing").is_some_and(|c| c.reason == "ServerUnavailable"));
    let message = condition(&failed.await, "Issuing").unwrap().message;
    assert!(message.contains("did not answer within 15 s"), "{message}");
}
