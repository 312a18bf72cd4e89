//! Challenges of every type, renewal information and revocation, with Pebble as the CA.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use mailcert::issuers::acme::challenge::{AuthorizationView, ChallengeKind, ChallengeStatus};
use mailcert::issuers::acme::failure::Class;
use mailcert::issuers::acme::order::OrderRequest;
use mailcert::issuers::acme::renewal::renewal_info;
use mailcert::issuers::acme::revoke::{RevocationReason, revoke_with_key};
use mailcert::pki::{Chain, KeySpec, PemLimits, PrivateKey, SubjectSpec, Usage, ari_id, csr};
use mailcert_testenv::PebbleOptions;

use crate::lifecycle::{self, Ca};

fn request(name: &str) -> OrderRequest {
    OrderRequest { names: vec![name.to_owned()], ..OrderRequest::default() }
}

fn chain(pem: &str) -> Chain {
    Chain::from_pem(pem.as_bytes(), &PemLimits::CHAIN).expect("a chain")
}

fn own_csr(key: &PrivateKey, name: &str) -> Vec<u8> {
    let subject = SubjectSpec { dns_names: vec![name.to_owned()], ..SubjectSpec::default() };
    csr(key, &subject, &[Usage::ServerAuth]).expect("a request")
}

async fn issue(ca: &Ca, request: OrderRequest) -> (Option<String>, Chain) {
    let csr = lifecycle::csr(&request.names);
    let (order, pem) = ca.order(request, &csr).await;
    (order.replaces_dropped, chain(&pem))
}

fn kinds(authorization: &AuthorizationView) -> Vec<&str> {
    let mut kinds: Vec<_> = authorization.challenges.iter().map(|c| c.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds
}

#[tokio::test]
async fn every_challenge_type_is_shown_with_what_its_solver_needs() {
    let ca = Ca::start(PebbleOptions::default(), false).await;
    let names = vec!["mx.example.com".to_owned(), "*.example.com".to_owned()];
    let account = ca.fresh().await;
    let order = account.new_order(&OrderRequest { names, ..OrderRequest::default() }).await.expect("an order");
    let find = |name: &str| order.authorizations.iter().find(|a| a.name == name).expect("an authorization");
    let (host, wildcard) = (find("mx.example.com"), find("*.example.com"));
    assert!(!host.wildcard && wildcard.wildcard);
    assert_eq!(kinds(host), ["dns-01", "dns-account-01", "dns-persist-01", "http-01", "tls-alpn-01"]);
    assert_eq!(kinds(wildcard), ["dns-01", "dns-account-01", "dns-persist-01"]);
    for kind in [ChallengeKind::Http01, ChallengeKind::TlsAlpn01, ChallengeKind::Dns01] {
        let challenge = host.challenge(&kind).expect("it");
        let (token, text) = (challenge.token.as_deref().expect("a token"), challenge.key_authorization.as_deref());
        assert_eq!(text, Some(format!("{token}.{}", account.thumbprint()).as_str()));
        assert_eq!(challenge.dns_value.is_some(), kind == ChallengeKind::Dns01);
        assert_eq!(challenge.status, ChallengeStatus::Pending);
    }
    let persist = wildcard.challenge(&ChallengeKind::DnsPersist01).expect("dns-persist-01");
    assert_eq!(persist.token, None);

    // The CA looks at the chosen challenge, and at no other one.
    let chosen = [("*.example.com".to_owned(), ChallengeKind::DnsPersist01)];
    account.answer(&order.url, &chosen).await.expect("an answer");
    let failed = ca.until(&order.url, mailcert::issuers::acme::order::OrderStatus::Invalid).await;
    let status = |name: &str, kind: ChallengeKind| {
        let authorization = failed.authorizations.iter().find(|a| a.name == name).expect("an authorization");
        authorization.challenge(&kind).map(|c| c.status)
    };
    assert_eq!(status("*.example.com", ChallengeKind::DnsPersist01), Some(ChallengeStatus::Invalid));
    assert_ne!(status("*.example.com", ChallengeKind::Dns01), Some(ChallengeStatus::Invalid));
    assert_eq!(status("mx.example.com", ChallengeKind::Http01), Some(ChallengeStatus::Pending));
}

#[tokio::test]
async fn renewal_information_is_read_and_nonsense_is_said_to_be_so() {
    let ca = Ca::start(PebbleOptions::default(), true).await;
    let (_, issued) = issue(&ca, request("mx.example.com")).await;
    let (leaf, url, now) = (issued.leaf(), ca.pebble.directory_url(), Timestamp::now());
    let id = ari_id(leaf).expect("an identifier");
    let info = renewal_info(&url, &ca.http, &id, now).await.expect("a window");
    assert!(info.start > leaf.not_before && info.end > info.start && info.end < leaf.not_after, "{info:?}");
    assert_eq!((info.retry_after, info.explanation_url.as_deref()), (Some(Duration::from_secs(6 * 3600)), None));

    let (start, end) = (now - SignedDuration::from_hours(2), now - SignedDuration::from_hours(1));
    let said = |start: Timestamp, end: Timestamp| {
        format!(
            r#"{{"suggestedWindow":{{"start":"{start}","end":"{end}"}},"explanationURL":"https://ca.example/why"}}"#
        )
    };
    ca.pebble.set_renewal_info(&leaf.to_pem(), &said(start, end)).expect("told");
    let info = ca.fresh().await.renewal_info(&id, now).await.expect("a window");
    assert_eq!((info.start, info.end), (start, end));
    assert_eq!(info.explanation_url.as_deref(), Some("https://ca.example/why"));

    for odd in [said(end, start), "{}".to_owned(), "<html>s3cret</html>".to_owned(), "null".to_owned()] {
        ca.pebble.set_renewal_info(&leaf.to_pem(), &odd).expect("told");
        let failure = ca.fresh().await.renewal_info(&id, now).await.expect_err("nonsense");
        assert_eq!(failure.class, Class::Unusable, "{odd}: {failure}");
        assert!(!failure.words.contains("s3cret"), "{failure}");
    }
    let unknown = ca.fresh().await.renewal_info("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", now).await;
    assert_eq!(unknown.expect_err("another CA's certificate").class, Class::Unusable);
}

#[tokio::test]
async fn what_is_replaced_is_told_and_dropped_when_the_ca_does_not_take_it() {
    let ca = Ca::start(PebbleOptions::default(), true).await;
    let (_, first) = issue(&ca, request("mx.example.com")).await;
    let replaces = ari_id(first.leaf());
    let again = OrderRequest { replaces: replaces.clone(), ..request("mx.example.com") };
    let (dropped, _) = issue(&ca, again.clone()).await;
    assert_eq!(dropped, None);
    // It has been replaced now.
    let (dropped, _) = issue(&ca, again).await;
    assert!(dropped.expect("why").contains("alreadyReplaced"));
    let (dropped, _) = issue(&ca, OrderRequest { replaces, ..request("other.example.com") }).await;
    assert!(dropped.is_some());
    let foreign = Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".to_owned());
    let (dropped, _) = issue(&ca, OrderRequest { replaces: foreign, ..request("mx.example.com") }).await;
    assert!(dropped.is_some());
}

#[tokio::test]
async fn a_profile_decides_the_lifetime_and_an_unknown_one_is_explained() {
    let ca = Ca::start(PebbleOptions::default(), true).await;
    let with = |profile: &str| OrderRequest { profile: Some(profile.to_owned()), ..request("mx.example.com") };
    let (_, short) = issue(&ca, with("shortlived")).await;
    let days = (short.leaf().not_after.as_second() - short.leaf().not_before.as_second()) / 86_400;
    assert!((5..=6).contains(&days), "{days} days");
    let unknown = ca.fresh().await.new_order(&with("nonesuch")).await.expect_err("no such profile");
    assert_eq!(unknown.class, Class::NeedsUser);
    assert!(unknown.words.ends_with("choose one of the profiles in the issuer's status.acme.profiles"), "{unknown}");
}

#[tokio::test]
async fn certificates_are_revoked_by_their_key_and_by_the_account() {
    let ca = Ca::start(PebbleOptions::default(), true).await;
    let url = ca.pebble.directory_url();
    let other = PrivateKey::generate(&KeySpec::P256).expect("a key");
    for spec in [KeySpec::P256, KeySpec::ecdsa(384), KeySpec::ecdsa(521), KeySpec::rsa(2048)] {
        let key = PrivateKey::generate(&spec).expect("a key");
        let (_, pem) = ca.order(request("mx.example.com"), &own_csr(&key, "mx.example.com")).await;
        let leaf = chain(&pem).leaf().clone();
        let reason = RevocationReason::KeyCompromise;
        let refused = revoke_with_key(&url, &ca.http, &other, leaf.der(), reason).await.expect_err("another key");
        assert_eq!(refused.class, Class::NeedsUser, "{refused}");
        for _ in 0..2 {
            revoke_with_key(&url, &ca.http, &key, leaf.der(), reason).await.unwrap_or_else(|e| panic!("{spec}: {e}"));
        }
        // A revoked certificate is to be renewed at once, which shows that it is revoked.
        let now = Timestamp::now();
        let info = ca.fresh().await.renewal_info(&ari_id(&leaf).expect("an identifier"), now).await.expect("a window");
        assert!(info.end <= Timestamp::now(), "{info:?}");
    }
    for reason in RevocationReason::ALL {
        let (_, issued) = issue(&ca, request("imap.example.com")).await;
        let account = ca.fresh().await;
        account.revoke(issued.leaf().der(), reason).await.unwrap_or_else(|e| panic!("{reason:?}: {e}"));
        account.revoke(issued.leaf().der(), reason).await.expect("revoked already");
    }
    let unknown = ca.fresh().await.revoke(&[0x30, 0], RevocationReason::Superseded).await.expect_err("no certificate");
    assert_eq!(unknown.class, Class::Refused, "{unknown}");
}
