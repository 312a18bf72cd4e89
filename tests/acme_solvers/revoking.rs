//! Revocation on demand.

use mailcert::api::MailCertificate;
use serde_json::json;

use crate::scene::{account, acme, certificate, change, http01, made, run_shared, status};
use crate::world::{World, revision};

#[test]
fn a_revoked_certificate_is_replaced_by_one_with_another_key() {
    run_shared(async |world, _| {
        let issuer = world.issuer("revoking", acme(world, json!([http01()]))).await;
        tokio::join!(revoked(world, "keyCompromise", 1), revoked(world, "superseded", 4));
        let mut asked = revocations(world);
        asked.sort();
        // A key that is compromised proves that itself; for the rest, the account vouches.
        assert_eq!(asked, [(1, None), (4, Some(account(&issuer)))]);
    });
}

/// Issues a certificate, has it revoked for a reason, and waits for the next one.
async fn revoked(world: &World, reason: &str, code: u64) {
    let name = format!("revoked-{}", reason.to_ascii_lowercase());
    let host = format!("{}.host.more.test", reason.to_ascii_lowercase());
    certificate(world, &name, "revoking", &[&host]).await;
    let before = status(&world.issued(&name).await).active.unwrap();
    assert_eq!(world.pebble.status_of(&before.serial).unwrap()["Status"], "Valid");

    let annotation = json!({"metadata": {"annotations": {"mailcert.dev/revoke": reason}}});
    change::<MailCertificate>(world, &name, annotation).await;
    world.wait(&name, "revoked", |c| status(c).revocation.is_some()).await;
    let judged = world.pebble.status_of(&before.serial).unwrap();
    assert_eq!((&judged["Status"], &judged["Reason"]), (&json!("Revoked"), &json!(code)), "{judged}");

    world.wait(&name, "replaced", |c| revision(c) > before.revision).await;
    let told = status(&world.issued(&name).await);
    let (after, revocation) = (told.active.unwrap(), told.revocation.unwrap());
    assert_ne!(after.spki_sha256, before.spki_sha256);
    assert_eq!(world.pebble.status_of(&after.serial).unwrap()["Status"], "Valid");
    assert_eq!((revocation.revision, &*revocation.serial, &*revocation.reason), (1, &*before.serial, reason));
    assert_eq!(made(world, &host), 2);
}

/// Reason and account of each revocation that was asked for; no account: the certificate's own key signed.
fn revocations(world: &World) -> Vec<(u64, Option<String>)> {
    let asked = world.proxy.log().into_iter().filter(|a| a.path == "/revoke-cert" && a.status == Some(200));
    asked.map(|a| (a.payload["reason"].as_u64().unwrap(), a.header["kid"].as_str().map(str::to_owned))).collect()
}
