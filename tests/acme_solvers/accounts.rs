//! One account key in two issuers.

use serde_json::json;

use crate::scene::{account, acme, certificate, http01, run_shared, status};

#[test]
fn issuers_with_the_same_key_share_the_account() {
    run_shared(async |world, _| {
        let mut spec = acme(world, json!([http01()]));
        spec["acme"]["accountKeySecretRef"] = json!({"name": "shared-account-key"});
        let one = world.issuer("shares-a", spec.clone()).await;
        let key = world.secret("shared-account-key").await;
        let two = world.issuer("shares-b", spec).await;
        assert_eq!(account(&one), account(&two));
        assert_eq!(world.secret("shared-account-key").await.data, key.data);
        certificate(world, "shared", "shares-b", &["shared.host.more.test"]).await;
        assert_eq!(status(&world.issued("shared").await).active.unwrap().issuer_ref.unwrap().name, "shares-b");
    });
}
