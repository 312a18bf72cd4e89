//! Profiles, chains and trust anchors.

use mailcert::api::{MailCertificate, MailIssuer};
use serde_json::json;

use crate::scene::{acme, certificate, change, finding, http01, orders, run_shared, says, status};
use crate::world::{World, condition, is, issuer_condition, revision};

/// An issuer with one more field.
async fn issuer(world: &World, name: &str, field: &str, value: serde_json::Value) -> MailIssuer {
    let mut spec = acme(world, json!([http01()]));
    spec["acme"][field] = value;
    world.issuer(name, spec).await
}

/// The common name of a certificate, PEM.
fn common_name(pem: &str) -> String {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let parsed = pem.parse_x509().unwrap();
    parsed.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
}

#[test]
fn the_profile_decides_the_lifetime() {
    run_shared(async |world, _| {
        let made_issuer = issuer(world, "shortlived", "profile", json!("shortlived")).await;
        let profiles = made_issuer.status.unwrap().acme.unwrap().profiles;
        assert!(profiles.contains(&"shortlived".to_owned()), "{profiles:?}");
        certificate(world, "shortlived", "shortlived", &["short.host.chains.test"]).await;
        let active = status(&world.issued("shortlived").await).active.unwrap();
        let hours = active.not_after.0.duration_since(active.not_before.0).as_hours();
        assert!((5 * 24..=6 * 24).contains(&hours), "{hours}");
    });
}

#[test]
fn a_profile_that_the_ca_does_not_have_is_named() {
    run_shared(async |world, _| {
        let mut spec = acme(world, json!([http01()]));
        spec["acme"]["profile"] = json!("nonesuch");
        world.create::<MailIssuer>("unknown", spec).await;
        certificate(world, "unknown", "unknown", &["unknown.host.chains.test"]).await;
        let words = "has no profile nonesuch; it has: default, shortlived";
        world.wait_issuer("unknown", "refused", |i| is(&issuer_condition(i, "Ready"), "False", "InvalidSpec")).await;
        world.wait("unknown", "told", |c| says(c).contains(words)).await;
        assert_eq!(orders(world, "unknown.host.chains.test"), []);

        // Another one that it has is enough.
        change::<MailIssuer>(world, "unknown", json!({"spec": {"acme": {"profile": "default"}}})).await;
        world.issued("unknown").await;
    });
}

#[test]
fn the_preferred_chain_is_taken_where_it_is_offered() {
    run_shared(async |world, _| {
        let other = common_name(&world.pebble.alternate_root_pem(1).unwrap());
        issuer(world, "preferred", "preferredChain", json!(other)).await;
        certificate(world, "preferred", "preferred", &["preferred.host.chains.test"]).await;
        let chain = status(&world.issued("preferred").await).active.unwrap().chain.unwrap();
        assert_eq!(chain.issuers.last(), Some(&other), "{chain:?}");

        issuer(world, "missing-chain", "preferredChain", json!("No Such Root")).await;
        certificate(world, "missing-chain", "missing-chain", &["missing.host.chains.test"]).await;
        let issued = world.issued("missing-chain").await;
        let own = common_name(world.pebble.root_pem());
        assert_eq!(status(&issued).active.unwrap().chain.unwrap().issuers.last(), Some(&own));
        let (about, words) = finding(&issued, "ChainNotOffered").unwrap();
        assert_eq!(about, "No Such Root");
        assert!(words.contains(&own) && words.contains(&other) && words.contains("preferredChain"), "{words}");
    });
}

#[test]
fn what_leads_to_no_trust_anchor_is_not_used() {
    run_shared(async |world, _| {
        let roots = world.pebble.root_pem().to_owned();
        issuer(world, "anchored", "trustAnchors", json!(roots)).await;
        certificate(world, "anchored", "anchored", &["anchored.host.chains.test"]).await;
        let issued = world.issued("anchored").await;
        let chain = status(&issued).active.unwrap().chain.unwrap();
        assert_eq!(chain.anchor, Some(common_name(&roots)), "{chain:?}");
        assert_eq!(finding(&issued, "ChainNotAnchored"), None);

        // The CA of its HTTPS certificate is another one.
        let patch = json!({"spec": {"acme": {"trustAnchors": world.pebble.ca_pem()}}});
        change::<MailIssuer>(world, "anchored", patch).await;
        let before = world.secret("anchored-tls").await;
        let annotation = json!({"metadata": {"annotations": {"mailcert.dev/renew": "other anchors"}}});
        world.wait_issuer("anchored", "seen", |i| i.status.as_ref().unwrap().observed_generation == Some(2)).await;
        change::<MailCertificate>(world, "anchored", annotation).await;
        let refused = world.issuing("anchored", "IssuedInvalid").await;
        assert!(says(&refused).contains("trustAnchors"), "{}", says(&refused));
        assert!(is(&condition(&refused, "Ready"), "True", "Active"));
        assert_eq!(revision(&refused), 1);
        assert_eq!(world.secret("anchored-tls").await.data, before.data);
    });
}
