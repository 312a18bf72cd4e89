//! A name and its wildcard from Pebble, which asks BIND: two values at one name, in another zone by an alias.

use std::time::{Duration, Instant};

use mailcert::dns::missing;
use mailcert::issuers::acme::account::{AcmeAccount, new_account_key, open, register};
use mailcert::issuers::acme::challenge::ChallengeKind;
use mailcert::issuers::acme::http::{BoundedHttp, Limits, Trust};
use mailcert::issuers::acme::order::{OrderRequest, OrderStatus, OrderView};
use mailcert::solvers::dns01::rfc2136::{Algorithm, Transport};
use mailcert_testenv::{Bind, BindOptions, BindZone, Pebble, PebbleOptions};

use crate::ground::{dns, solver};

const NAMES: [&str; 2] = ["mail.example.test", "*.mail.example.test"];

#[tokio::test]
async fn a_name_and_its_wildcard_are_proven_in_a_delegated_zone() {
    let main = BindZone::new("example.test").records("_acme-challenge.mail CNAME mail.acme.test.").policy("");
    let options = BindOptions { zones: vec![main, BindZone::new("acme.test")], secondary: true, notify: true };
    let Some(bind) = Bind::start_or_skip(&options) else { return };
    let options = PebbleOptions { dns_server: Some(bind.address()), ..PebbleOptions::default() };
    let pebble = Pebble::start(&options).unwrap();
    let trust = Trust::Bundle { pem: pebble.ca_pem().into(), and_mozilla: false };
    let http = BoundedHttp::new(&trust, Limits::default()).unwrap();
    let key = new_account_key().unwrap();
    let uri = register(&pebble.directory_url(), &http, &key, &[], true, None).await.unwrap().uri;
    let account = open(&pebble.directory_url(), &http, &uri, &key).await.unwrap();
    let names: Vec<String> = NAMES.map(str::to_owned).to_vec();
    let order = account.new_order(&OrderRequest { names, ..OrderRequest::default() }).await.unwrap();

    let order = account.look(&order.url).await.unwrap();
    let target = dns(bind.address()).follow("_acme-challenge.mail.example.test").await.unwrap();
    assert_eq!(target, "mail.acme.test");
    let values = publish(&bind, &order, &target).await;
    let chosen: Vec<_> = NAMES.map(|name| (name.to_owned(), ChallengeKind::Dns01)).to_vec();
    account.answer(&order.url, &chosen).await.unwrap();
    until(&account, &order.url, OrderStatus::Ready).await;
    let solver = solver(&bind, Algorithm::HmacSha512, Transport::Udp);
    for value in &values {
        solver.clean_up("acme.test", &target, value).await.unwrap();
    }
    assert_eq!(dns(bind.address()).txt(&target).await.unwrap(), [""; 0]);

    let params = rcgen::CertificateParams::new(NAMES.map(str::to_owned).to_vec()).unwrap();
    let csr = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap();
    account.finalize(&order.url, csr.der()).await.unwrap();
    until(&account, &order.url, OrderStatus::Valid).await;
    let chain = account.download(&order.url).await.unwrap();
    assert!(chain.starts_with("-----BEGIN CERTIFICATE-----"), "{chain}");
}

/// Publishes every authorization's value and waits until all servers have all of them.
async fn publish(bind: &Bind, order: &OrderView, target: &str) -> Vec<String> {
    let solver = solver(bind, Algorithm::HmacSha512, Transport::Udp);
    let zone = solver.zone_of(target).await.unwrap();
    assert_eq!(zone, "acme.test");
    let value = |authorization: &mailcert::issuers::acme::challenge::AuthorizationView| {
        authorization.challenge(&ChallengeKind::Dns01).unwrap().dns_value.clone().unwrap()
    };
    let values: Vec<String> = order.authorizations.iter().map(value).collect();
    assert!(values.len() == 2 && values[0] != values[1], "{values:?}");
    for value in &values {
        solver.present(&zone, target, value, 1).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answers = dns(bind.address()).txt_everywhere(target).await.unwrap();
        assert_eq!(answers.len(), 2, "both servers: {answers:?}");
        let Some(lacking) = values.iter().find_map(|value| missing(&answers, value)) else { return values };
        assert!(Instant::now() < deadline, "{lacking}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until(account: &AcmeAccount, url: &str, wanted: OrderStatus) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let view = account.look(url).await.unwrap();
        if view.status == wanted {
            return;
        }
        assert!(view.status != OrderStatus::Invalid && Instant::now() < deadline, "{view:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
