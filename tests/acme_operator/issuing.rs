//! HTTP-01 behind the operator's Service: from nothing to a certificate, and to the next.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::Secret;
use rustls::client::WebPkiServerVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

use crate::world::{World, condition, revision};

fn field(secret: &Secret, key: &str) -> Vec<u8> {
    secret.data.as_ref().unwrap().get(key).unwrap_or_else(|| panic!("the Secret has no {key}")).0.clone()
}

/// Key and chain belong together, and the chain leads to `root_pem` for each of the names.
pub fn verify(secret: &Secret, root_pem: &str, names: &[&str]) {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&field(secret, "tls.crt")).collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(&field(secret, "tls.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::sign::CertifiedKey::from_der(chain.clone(), key, &provider).expect("a key that fits the leaf");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    for name in names {
        let name = ServerName::try_from(name.to_string()).unwrap();
        use rustls::client::danger::ServerCertVerifier;
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now()).expect("a trusted chain");
    }
}

#[tokio::test]
async fn several_names_are_validated_and_stored_and_renewed() {
    let names = ["mail.issuing.test", "imap.issuing.test", "smtp.issuing.test"];
    let world = World::start("issuing", &[]).await;
    world.resolve(&names);
    world.issuer("ca", world.issuer_spec()).await;
    let begin = Instant::now();
    let before = world.proxy.log().len();
    world.certificate("mail", &names).await;
    let issued = world.issued("mail").await;
    let asked = world.proxy.log().len() - before;
    eprintln!("issued with {} names in {:?} and {asked} ACME requests", names.len(), begin.elapsed());
    assert_eq!((world.proxy.orders(), world.proxy.finalized(), revision(&issued)), (1, 1, 1));

    let secret = world.secret("mail-tls").await;
    verify(&secret, world.pebble.root_pem(), &names);
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    let combined = String::from_utf8(field(&secret, "tls-combined.pem")).unwrap();
    let (key, chain) = (field(&secret, "tls.key"), field(&secret, "tls.crt"));
    assert_eq!(combined.as_bytes(), [key.clone(), chain].concat());
    assert!(field(&secret, "ca.crt").starts_with(b"-----BEGIN CERTIFICATE-----"));
    let active = issued.status.clone().unwrap().active.unwrap();
    assert_eq!(active.dns_names.iter().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(names));
    assert!(condition(&issued, "Issuing").is_none());
    let events = world
        .until("Event", async || Some(world.events("mail").await).filter(|e| e.iter().any(|r| r == "Issued")))
        .await;
    assert_eq!(events.iter().filter(|r| *r == "Issued").count(), 1, "{events:?}");

    world.renew("mail", "once").await;
    let renewed = world.wait("mail", "renewed", |c| revision(c) == 2).await;
    assert_eq!((world.proxy.orders(), world.proxy.finalized()), (2, 2));
    let status = renewed.status.unwrap();
    assert_eq!(status.last_renew_request.as_deref(), Some("once"));
    assert_eq!(status.previous.iter().map(|r| r.revision).collect::<Vec<_>>(), [1]);
    verify(&world.secret("mail-tls").await, world.pebble.root_pem(), &names);
    assert_ne!(field(&world.secret("mail-tls").await, "tls.key"), key, "a renewal makes a new key");
    let old = world.secret(status.previous[0].secret_name.as_deref().expect("a Secret of the old revision")).await;
    assert_eq!(field(&old, "tls.key"), key);
    verify(&old, world.pebble.root_pem(), &names);
}
