//! Accounts with Pebble as the CA: bound to others, with new keys, and given up.

use mailcert::issuers::acme::account::{key_from_pem, new_account_key, open, register, registered, thumbprint};
use mailcert::issuers::acme::external::{ExternalAccount, MacAlgorithm};
use mailcert::issuers::acme::failure::Class;
use mailcert::issuers::acme::http::{BoundedHttp, Limits, Trust};
use mailcert::issuers::acme::order::OrderRequest;
use mailcert::issuers::acme::rollover::roll_over;
use mailcert::pki::{KeySpec, PrivateKey};
use mailcert_testenv::{Pebble, PebbleOptions};

use crate::lifecycle::Ca;

const MAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

fn request(name: &str) -> OrderRequest {
    OrderRequest { names: vec![name.to_owned()], ..OrderRequest::default() }
}

#[tokio::test]
async fn an_account_is_bound_to_the_one_that_the_customer_has() {
    let external_accounts = vec![("kid-1".to_owned(), MAC.to_owned())];
    let pebble = Pebble::start(&PebbleOptions { external_accounts, ..PebbleOptions::default() }).expect("Pebble");
    let trust = Trust::Bundle { pem: pebble.ca_pem().into(), and_mozilla: false };
    let http = BoundedHttp::new(&trust, Limits::default()).expect("a client");
    let (url, key) = (pebble.directory_url(), new_account_key().expect("a key"));
    let external = |id: &str, mac: &str| ExternalAccount::new(id, mac.as_bytes(), MacAlgorithm::Hs256).expect("it");

    let missing = register(&url, &http, &key, &[], true, None).await.expect_err("no binding");
    assert_eq!(missing.class, Class::NeedsUser, "{missing}");
    assert!(missing.words.ends_with("the issuer needs spec.acme.externalAccountBinding"), "{missing}");
    for wrong in [external("kid-2", MAC), external("kid-1", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")] {
        let refused = register(&url, &http, &key, &[], true, Some(&wrong)).await.expect_err("a wrong binding");
        assert_eq!(refused.class, Class::NeedsUser, "{refused}");
        assert!(!refused.words.contains("AAAA"), "{refused}");
    }
    assert_eq!(registered(&url, &http, &key).await.expect("an answer"), None);
    let bound = register(&url, &http, &key, &[], true, Some(&external("kid-1", MAC))).await.expect("an account");
    assert_eq!(registered(&url, &http, &key).await.expect("an answer").map(|a| a.uri), Some(bound.uri));
}

#[tokio::test]
async fn a_key_rolls_over_and_a_crash_between_shows_which_one_counts() {
    let ca = Ca::start(PebbleOptions { nonce_reject_percent: 30, ..PebbleOptions::default() }, false).await;
    let url = ca.pebble.directory_url();
    let next = new_account_key().expect("a key");
    let known = async |key: &[u8]| registered(&url, &ca.http, key).await.expect("an answer").map(|a| a.uri);
    // A crash before the request: the old key is the account's.
    assert_eq!((known(&ca.key).await, known(&next).await), (Some(ca.uri.clone()), None));
    roll_over(&url, &ca.http, &ca.uri, &ca.key, &next).await.expect("rolled over");
    // A crash before the answer was stored: now the new one is.
    assert_eq!((known(&ca.key).await, known(&next).await), (None, Some(ca.uri.clone())));
    let with_new = open(&url, &ca.http, &ca.uri, &next).await.expect("a handle");
    assert_eq!(with_new.thumbprint(), thumbprint(&next).expect("a thumbprint"));
    with_new.new_order(&request("mx.example.com")).await.expect("an order");
    assert!(ca.fresh().await.new_order(&request("mx.example.com")).await.is_err(), "the old key is no more");

    // The new key is another account's.
    let other = new_account_key().expect("a key");
    register(&url, &ca.http, &other, &[], true, None).await.expect("an account");
    let conflict = roll_over(&url, &ca.http, &ca.uri, &next, &other).await.expect_err("a conflict");
    assert_eq!(conflict.class, Class::NeedsUser);
    assert!(conflict.words.contains("an ACME account already"), "{conflict}");
    assert!(roll_over(&url, &ca.http, &ca.uri, &ca.key, &new_account_key().expect("a key")).await.is_err());
}

#[tokio::test]
async fn keys_that_other_clients_made_are_good_too() {
    let ca = Ca::start(PebbleOptions::default(), false).await;
    let url = ca.pebble.directory_url();
    for spec in [KeySpec::ecdsa(384), KeySpec::ecdsa(521), KeySpec::rsa(2048)] {
        let pem = PrivateKey::generate(&spec).expect("a key").to_pkcs8_pem();
        let key = key_from_pem(pem.as_bytes()).expect("an account key");
        let account = register(&url, &ca.http, &key, &[], true, None).await.expect("an account");
        let handle = open(&url, &ca.http, &account.uri, &key).await.expect("a handle");
        handle.new_order(&request("mx.example.com")).await.unwrap_or_else(|e| panic!("{spec}: {e}"));
        roll_over(&url, &ca.http, &account.uri, &key, &new_account_key().expect("a key")).await.expect("rolled over");
    }
}

#[tokio::test]
async fn an_account_that_is_given_up_is_of_no_more_use() {
    let ca = Ca::start(PebbleOptions::default(), false).await;
    ca.fresh().await.deactivate().await.expect("given up");
    let refused = ca.fresh().await.new_order(&request("mx.example.com")).await.expect_err("no account");
    assert_eq!(refused.class, Class::NeedsUser, "{refused}");
    ca.fresh().await.deactivate().await.expect("given up already");
    let shown = register(&ca.pebble.directory_url(), &ca.http, &ca.key, &[], true, None).await.expect_err("closed");
    assert_eq!(shown.class, Class::NeedsUser);
    assert!(shown.words.contains("deactivated"), "{shown}");
}
