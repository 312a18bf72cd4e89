//! The scripted server against a client that knows nothing of it: what the other tests here rely on.

use std::sync::{Arc, Mutex};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RevocationRequest,
};
use mailcert_testenv::acme::{AcmeServer, Fault, Kind, Limit, Problem, Profile, Rule, Script, Validation};
use rustls_pki_types::{CertificateDer, pem::PemObject};

const NOW: i64 = 1_900_000_000;
const DAY: i64 = 86_400;

fn server(script: Script) -> AcmeServer {
    AcmeServer::start(Script { clock: Some(NOW), ..script }).unwrap()
}

async fn account(
    server: &AcmeServer,
    bound: Option<&ExternalAccountKey>,
) -> Result<(Account, AccountCredentials), Error> {
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), server.ca_pem()).unwrap();
    let new =
        NewAccount { contact: &["mailto:a@example.com"], terms_of_service_agreed: true, only_return_existing: false };
    Account::builder_with_root(ca.path()).unwrap().create(&new, server.directory_url(), bound).await
}

async fn order(account: &Account, names: &[&str], replaces: Option<&str>) -> Result<Order, Error> {
    let names: Vec<_> = names.iter().map(|n| Identifier::Dns(n.to_string())).collect();
    let mut new = NewOrder::new(&names);
    if let Some((key, serial)) = replaces.and_then(|id| id.split_once('.')) {
        new = new.replaces(CertificateIdentifier { authority_key_identifier: key.into(), serial: serial.into() });
    }
    account.new_order(&new).await
}

/// Answers every challenge of this type.
async fn answer(order: &mut Order, kind: ChallengeType) {
    let mut handles = order.authorizations();
    while let Some(handle) = handles.next().await {
        let mut handle = handle.unwrap();
        if handle.status == AuthorizationStatus::Pending {
            handle.challenge(kind.clone()).unwrap().set_ready().await.unwrap();
        }
    }
}

/// From an order to a chain, PEM.
async fn issue(account: &Account, names: &[&str], replaces: Option<&str>) -> Result<String, Error> {
    let mut order = order(account, names, replaces).await?;
    answer(&mut order, ChallengeType::Http01).await;
    order.refresh().await?;
    order.finalize().await?;
    order.refresh().await?;
    Ok(order.certificate().await?.expect("a certificate"))
}

fn kind(error: Error) -> String {
    match error {
        Error::Api(problem) => problem.r#type.unwrap().trim_start_matches("urn:ietf:params:acme:error:").to_owned(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_order_ends_with_a_chain_to_the_root() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let validation = Validation::By(Arc::new(move |challenge| {
        noted.lock().unwrap().push((challenge.name.clone(), challenge.key_authorization.clone()));
        Ok(())
    }));
    let profiles = vec![Profile::new("classic", 45 * DAY)];
    let server = server(Script { validation, validation_delay: 60, issuance_delay: 5, profiles, ..Script::default() });
    let (account, _) = account(&server, None).await.unwrap();
    let mut order = order(&account, &["mail.example.com", "b.example.com"], None).await.unwrap();
    assert_eq!(order.state().status, OrderStatus::Pending);
    let mut expected = Vec::new();
    {
        let mut handles = order.authorizations();
        while let Some(handle) = handles.next().await {
            let mut handle = handle.unwrap();
            let name = handle.identifier().to_string();
            let mut challenge = handle.challenge(ChallengeType::Dns01).unwrap();
            expected.push((name, challenge.key_authorization().as_str().to_owned()));
            challenge.set_ready().await.unwrap();
        }
    }
    while seen.lock().unwrap().len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(order.refresh().await.unwrap().status, OrderStatus::Pending);
    server.advance(60);
    // The other thread may still be about to say what it found.
    while order.refresh().await.unwrap().status == OrderStatus::Pending {}
    order.finalize().await.unwrap();
    assert_eq!(order.refresh().await.unwrap().status, OrderStatus::Processing);
    server.advance(5);
    assert_eq!(order.refresh().await.unwrap().status, OrderStatus::Valid);
    let chain = order.certificate().await.unwrap().unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    verify(&server, &chain, 0);

    let leaf = x509_parser::parse_x509_certificate(&chain[0]).unwrap().1;
    let validity = (leaf.validity.not_before.timestamp(), leaf.validity.not_after.timestamp());
    let issued = NOW + 60;
    assert_eq!(validity, (issued - 3600, issued - 3600 + 45 * DAY - 1));
    let log = server.log();
    let id = CertificateIdentifier::try_from(&chain[0]).unwrap();
    assert_eq!(log.certificates[0].ari_id, id.to_string());
    assert_eq!((log.orders.len(), log.certificates.len(), log.orders[0].status), (1, 1, "valid"));
    assert_eq!(log.succeeded(Kind::Finalize), 1);

    let (info, wait) = account.renewal_info(&id).await.unwrap();
    let middle = (info.suggested_window.start.unix_timestamp() + info.suggested_window.end.unix_timestamp()) / 2;
    assert_eq!((middle, (wait.as_secs() + 60) / 3600), (issued - 3600 + 30 * DAY - 1, 6));
}

fn verify(server: &AcmeServer, chain: &[CertificateDer<'_>], root: usize) {
    let root = CertificateDer::from_pem_slice(server.root_pem(root).unwrap().as_bytes()).unwrap();
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap().to_owned()];
    let now = rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(server.now() as u64));
    let leaf = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let usage = webpki::KeyUsage::server_auth();
    leaf.verify_for_usage(algorithms, &anchors, &chain[1..], now, usage, None, None).unwrap();
    for name in ["mail.example.com", "b.example.com"] {
        leaf.verify_is_valid_for_subject_name(&name.try_into().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn accounts_are_bound_changed_rekeyed_and_deactivated() {
    let mac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let external_accounts = vec![("kid-1".to_owned(), mac.to_owned())];
    let server = server(Script { external_accounts, ..Script::default() });
    assert_eq!(kind(account(&server, None).await.err().unwrap()), "externalAccountRequired");
    let wrong = ExternalAccountKey::new("kid-1".to_owned(), b"wrong");
    assert_eq!(kind(account(&server, Some(&wrong)).await.err().unwrap()), "unauthorized");
    let mac = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, mac).unwrap();
    let bound = ExternalAccountKey::new("kid-1".to_owned(), &mac);
    let (mut account, _) = account(&server, Some(&bound)).await.unwrap();
    let url = account.id().to_owned();
    account.update_contacts(&["mailto:b@example.com"]).await.unwrap();
    assert_eq!(kind(account.update_contacts(&["tel:1"]).await.unwrap_err()), "unsupportedContact");
    let _ = account.update_key().await.unwrap();
    issue(&account, &["mail.example.com"], None).await.unwrap();
    assert_eq!(account.id(), url);
    let clone = account.clone();
    account.deactivate().await.unwrap();
    assert_eq!(kind(issue(&clone, &["mail.example.com"], None).await.unwrap_err()), "unauthorized");
}

#[tokio::test]
async fn limits_are_kept_and_replacements_are_exempt() {
    let server = server(Script::default());
    let (account, _) = account(&server, None).await.unwrap();
    for _ in 0..5 {
        issue(&account, &["mail.example.com"], None).await.unwrap();
    }
    let refused = issue(&account, &["mail.example.com"], None).await.unwrap_err();
    assert_eq!(kind(refused), "rateLimited");
    let old = server.log().certificates[4].ari_id.clone();
    assert_eq!(kind(issue(&account, &["other.example.com"], Some(&old)).await.unwrap_err()), "malformed");
    issue(&account, &["mail.example.com", "more.example.com"], Some(&old)).await.unwrap();
    issue(&account, &["mail.example.com"], Some(&server.log().certificates[3].ari_id)).await.unwrap();
    assert_eq!(kind(issue(&account, &["mail.example.com"], Some(&old)).await.unwrap_err()), "alreadyReplaced");
    assert_eq!(server.log().limited.get(&Limit::ExactSet), Some(&1));
    server.advance(7 * DAY);
    issue(&account, &["mail.example.com"], None).await.unwrap();
}

#[tokio::test]
async fn an_open_order_is_found_again() {
    let server = server(Script { order_reuse: true, ..Script::default() });
    let (account, _) = account(&server, None).await.unwrap();
    let first = order(&account, &["a.example.com", "b.example.com"], None).await.unwrap();
    let same = order(&account, &["b.example.com", "a.example.com"], None).await.unwrap();
    let other = order(&account, &["a.example.com"], None).await.unwrap();
    assert_eq!(first.url(), same.url());
    assert_ne!(first.url(), other.url());
    issue(&account, &["a.example.com"], None).await.unwrap();
    issue(&account, &["a.example.com"], None).await.unwrap();
    assert_eq!((server.log().orders.len(), server.log().certificates.len()), (3, 2));
}

#[tokio::test]
async fn a_certificate_is_revoked_once_and_its_window_is_over() {
    let server = server(Script::default());
    let (account, _) = account(&server, None).await.unwrap();
    let chain = issue(&account, &["mail.example.com"], None).await.unwrap();
    let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    let request = RevocationRequest { certificate: &leaf, reason: None };
    account.revoke(&request).await.unwrap();
    assert_eq!(kind(account.revoke(&request).await.unwrap_err()), "alreadyRevoked");
    let id = CertificateIdentifier::try_from(&leaf).unwrap();
    let window = account.renewal_info(&id).await.unwrap().0.suggested_window;
    assert!(window.end.unix_timestamp() < server.now());
}

#[tokio::test]
async fn faults_happen_to_the_requests_that_were_named() {
    let server = server(Script { authorization_reuse: DAY, ..Script::default() });
    let (account, _) = account(&server, None).await.unwrap();
    let names = ["mail.example.com", "b.example.com"];
    issue(&account, &names, None).await.unwrap();
    // Its authorizations are used again.
    assert_eq!(order(&account, &names, None).await.unwrap().state().status, OrderStatus::Ready);

    server.rules([Rule::on(Kind::Finalize, Fault::MissingName)]);
    let chain = issue(&account, &names, None).await.unwrap();
    let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    let leaf = x509_parser::parse_x509_certificate(&leaf).unwrap().1;
    let san = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(san.value.general_names.len(), 1);

    server.rules([Rule::on(Kind::Certificate, Fault::LongChain(20))]);
    let chain = issue(&account, &names, None).await.unwrap();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 21);

    server
        .rules([Rule::on(Kind::Finalize, Fault::InvalidOrder(Problem::new(500, "serverInternal", "no luck"))).nth(1)]);
    let mut order = order(&account, &names, None).await.unwrap();
    order.finalize().await.unwrap();
    assert_eq!(order.state().status, OrderStatus::Invalid);
    assert_eq!(order.state().error.as_ref().unwrap().detail.as_deref(), Some("no luck"));

    let before = server.log().count(Kind::NewOrder);
    server.rules([Rule::on(Kind::NewOrder, Fault::BadNonce).first(2)]);
    issue(&account, &["c.example.com"], None).await.unwrap();
    assert_eq!(server.log().count(Kind::NewOrder) - before, 3);
    assert_eq!(server.log().faults().get("bad nonce"), Some(&2));
}
