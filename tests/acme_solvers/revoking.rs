//! Revocation on demand.

use mailcert::api::MailCertificate;
use serde_json::json;

use crate::scene::{acme, certificate, change, http01, made, run_shared, status};
use crate::world::revision;

#[test]
fn a_revoked_certificate_is_replaced_by_one_with_another_key() {
    run_shared(async |world, _| {
        let issuer = world.issuer("revoking", acme(world, json!([http01()]))).await;
        let account = crate::scene::account(&issuer);
        for (reason, code) in [("keyCompromise", 1), ("superseded", 4)] {
            let name = format!("revoked-{}", reason.to_ascii_lowercase());
            let host = format!("{}.host.more.test", reason.to_ascii_lowercase());
            certificate(world, &name, "revoking", &[&host]).await;
            let before = status(&world.issued(&name).await).active.unwrap();
            assert_eq!(world.pebble.status_of(&before.serial).unwrap()["Status"], "Valid");
            change::<MailCertificate>(
                world,
                &name,
                json!({"metadata": {"annotations": {"mailcert.dev/revoke": reason}}}),
            )
            .await;
            world.wait(&name, "revoked", |c| status(c).revocation.is_some()).await;
            let judged = world.pebble.status_of(&before.serial).unwrap();
            assert_eq!((&judged["Status"], &judged["Reason"]), (&json!("Revoked"), &json!(code)), "{judged}");
            let after = world.wait(&name, "replaced", |c| revision(c) > before.revision).await;
            let after = status(&world.issued(&name).await).active.filter(|_| revision(&after) > 0).unwrap();
            assert_ne!(after.spki_sha256, before.spki_sha256);
            assert_eq!(world.pebble.status_of(&after.serial).unwrap()["Status"], "Valid");
            let revocation = status(&world.issued(&name).await).revocation.unwrap();
            assert_eq!((revocation.revision, &*revocation.serial, &*revocation.reason), (1, &*before.serial, reason));
            assert_eq!(made(world, &host), 2);
        }
        let keys: Vec<_> = revocations(world).into_iter().filter(|(_, kid)| kid.as_deref() == Some(&account)).collect();
        assert_eq!(
            keys.len(),
            1,
            "superseded is asked for with the account's key, keyCompromise with the certificate's"
        );
        assert_eq!(keys[0].0, 4);
    });
}

/// Reason and account (none: the certificate's own key signed) of each revocation that was asked for.
fn revocations(world: &crate::world::World) -> Vec<(u64, Option<String>)> {
    let asked = world.proxy.log().into_iter().filter(|a| a.path == "/revoke-cert" && a.status == Some(200));
    asked.map(|a| (a.payload["reason"].as_u64().unwrap(), a.header["kid"].as_str().map(str::to_owned))).collect()
}
