//! Pebble looks at our responder: orders driven by mailcert's own ACME client.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailcert::issuers::acme::account::{AcmeAccount, new_account_key, open, register};
use mailcert::issuers::acme::challenge::ChallengeKind;
use mailcert::issuers::acme::http::{BoundedHttp, Limits, Trust};
use mailcert::issuers::acme::order::{OrderRequest, OrderStatus, OrderView};
use mailcert::solvers::tls_alpn01::responder::{AlpnEntry, AlpnTable};
use mailcert::solvers::tls_alpn01::selfcheck::{Problem, SelfCheck, self_check};
use mailcert_testenv::{Pebble, PebbleOptions};

use crate::client::{entry, respond};

/// Pebble, our responder where Pebble looks, an account and a pending order.
struct Ca {
    // Ends when it is dropped.
    _pebble: Pebble,
    table: AlpnTable,
    check: SelfCheck,
    account: AcmeAccount,
    url: String,
    names: Vec<String>,
}

impl Ca {
    async fn with_order(names: &[&str]) -> Self {
        let pebble = Pebble::start(&PebbleOptions::default()).unwrap();
        names.iter().for_each(|name| pebble.set_a(name, Ipv4Addr::LOCALHOST).unwrap());
        let table = AlpnTable::default();
        respond(&table, pebble.tls_port()).await;
        let check = SelfCheck {
            lookup: Arc::new(|_| Box::pin(async { Ok(vec![IpAddr::from(Ipv4Addr::LOCALHOST)]) })),
            port: pebble.tls_port(),
            timeout: Duration::from_secs(10),
        };
        let trust = Trust::Bundle { pem: pebble.ca_pem().into(), and_mozilla: false };
        let http = BoundedHttp::new(&trust, Limits::default()).unwrap();
        let (server, key) = (pebble.directory_url(), new_account_key().unwrap());
        let uri = register(&server, &http, &key, &[], true, None).await.unwrap().uri;
        let account = open(&server, &http, &uri, &key).await.unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let request = OrderRequest { names: names.clone(), ..OrderRequest::default() };
        let url = account.new_order(&request).await.unwrap().url;
        Self { _pebble: pebble, table, check, account, url, names }
    }

    /// What the CA wants to see for each name.
    async fn wanted(&self) -> Vec<AlpnEntry> {
        let order = self.account.look(&self.url).await.unwrap();
        let wanted = order.authorizations.iter().map(|authorization| {
            let challenge = authorization.challenge(&ChallengeKind::TlsAlpn01).unwrap();
            entry(&authorization.name, challenge.key_authorization.as_ref().unwrap())
        });
        wanted.collect()
    }

    /// Lets the CA look, and waits until it has decided.
    async fn decided(&self) -> OrderView {
        let chosen: Vec<_> = self.names.iter().map(|name| (name.clone(), ChallengeKind::TlsAlpn01)).collect();
        self.account.answer(&self.url, &chosen).await.unwrap();
        self.until(|view| view.status != OrderStatus::Pending).await
    }

    async fn until(&self, done: impl Fn(&OrderView) -> bool) -> OrderView {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let view = self.account.look(&self.url).await.unwrap();
            if done(&view) {
                return view;
            }
            assert!(Instant::now() < deadline, "still {view:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn pebble_accepts_what_the_responder_shows() {
    let ca = Ca::with_order(&["mx.example.com", "imap.example.com", "xn--bcher-kva.example"]).await;
    let wanted = ca.wanted().await;
    assert_eq!(ca.table.replace_for("mail/mx".into(), wanted.clone()), 3);
    for entry in &wanted {
        assert_eq!(self_check(&entry.host, &entry.key_authorization, &ca.check).await, Ok(()));
    }
    assert_eq!(ca.decided().await.status, OrderStatus::Ready);

    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(ca.names.clone()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    ca.account.finalize(&ca.url, params.serialize_request(&key).unwrap().der()).await.unwrap();
    ca.until(|view| view.status == OrderStatus::Valid).await;
    assert!(ca.account.download(&ca.url).await.unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
}

#[tokio::test]
async fn pebble_refuses_what_the_self_check_refuses() {
    let ca = Ca::with_order(&["mx.example.com"]).await;
    ca.table.replace_for("mail/mx".into(), vec![entry("mx.example.com", "another.challenge")]);
    let right = ca.wanted().await.remove(0);
    let checked = self_check(&right.host, &right.key_authorization, &ca.check).await;
    assert!(matches!(checked, Err(Problem::OtherAnswer { .. })), "{checked:?}");
    let order = ca.decided().await;
    assert_eq!(order.status, OrderStatus::Invalid);
    let words = order.authorizations[0].error.clone().unwrap();
    assert!(words.contains("tls-alpn-01"), "{words}");
}
