//! Pebble looks at our responder.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy};
use mailcert::solvers::tls_alpn01::responder::AlpnTable;
use mailcert::solvers::tls_alpn01::selfcheck::{SelfCheck, self_check};
use mailcert_testenv::{Pebble, PebbleOptions};

use crate::client::{entry, respond};

async fn account(pebble: &Pebble) -> Account {
    let mut root = tempfile::NamedTempFile::new().unwrap();
    root.write_all(pebble.ca_pem().as_bytes()).unwrap();
    let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_root(root.path()).unwrap();
    builder.create(&new, pebble.directory_url(), None).await.unwrap().0
}

/// Orders, lets `show` put each name and key authorization into the table, and tells how the CA decided: in which
/// state the order ended, or with which words.
async fn order(pebble: &Pebble, names: &[&str], show: impl AsyncFn(&str, &str)) -> Result<OrderStatus, String> {
    let account = account(pebble).await;
    let identifiers: Vec<Identifier> = names.iter().map(|name| Identifier::Dns((*name).to_owned())).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.unwrap();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.unwrap();
        let mut challenge = authorization.challenge(ChallengeType::TlsAlpn01).unwrap();
        let name = challenge.identifier().to_string();
        show(&name, challenge.key_authorization().as_str()).await;
        challenge.set_ready().await.map_err(|refused| refused.to_string())?;
    }
    order
        .poll_ready(&RetryPolicy::default().timeout(Duration::from_secs(60)))
        .await
        .map_err(|refused| refused.to_string())
}

fn start(names: &[&str]) -> Pebble {
    let pebble = Pebble::start(&PebbleOptions { nonce_reject_percent: 0, ..PebbleOptions::default() }).unwrap();
    for name in names {
        pebble.set_a(name, Ipv4Addr::LOCALHOST).unwrap();
    }
    pebble
}

#[tokio::test]
async fn pebble_accepts_what_the_responder_shows() {
    let names = ["mx.example.com", "imap.example.com", "xn--bcher-kva.example"];
    let pebble = start(&names);
    let table = AlpnTable::default();
    respond(&table, pebble.tls_port()).await;
    let check = SelfCheck {
        lookup: Arc::new(|_| Box::pin(async { Ok(vec![IpAddr::from(Ipv4Addr::LOCALHOST)]) })),
        port: pebble.tls_port(),
        timeout: Duration::from_secs(10),
    };
    let show = async |name: &str, key_authorization: &str| {
        assert_eq!(table.replace_for(format!("ns/{name}"), vec![entry(name, key_authorization)]), 1);
        assert_eq!(self_check(name, key_authorization, &check).await, Ok(()));
    };
    assert_eq!(order(&pebble, &names, show).await, Ok(OrderStatus::Ready));
    assert_eq!(table.len(), 3);
}

#[tokio::test]
async fn pebble_refuses_what_the_self_check_refuses() {
    let pebble = start(&["mx.example.com"]);
    let table = AlpnTable::default();
    respond(&table, pebble.tls_port()).await;
    let show = async |name: &str, _: &str| {
        table.replace_for("ns/mx".into(), vec![entry(name, "another.challenge")]);
    };
    let outcome = order(&pebble, &["mx.example.com"], show).await;
    assert!(!matches!(outcome, Ok(OrderStatus::Ready | OrderStatus::Valid)), "{outcome:?}");
    println!("{outcome:?}");
}
