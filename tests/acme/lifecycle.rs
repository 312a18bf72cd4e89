//! From an account to a certificate, with Pebble as the CA.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailcert::issuers::acme::account::{AcmeAccount, new_account_key, open, register, registered};
use mailcert::issuers::acme::challenge::{AuthorizationStatus, AuthorizationView, ChallengeKind};
use mailcert::issuers::acme::directory::directory;
use mailcert::issuers::acme::failure::Class;
use mailcert::issuers::acme::http::{BoundedHttp, Limits, Trust};
use mailcert::issuers::acme::order::{OrderRequest, OrderStatus, OrderView};
use mailcert::solvers::http01::responder::{ChallengeTable, Entry, router};
use mailcert::solvers::http01::selfcheck::{SelfCheck, self_check};
use mailcert_testenv::{Pebble, PebbleOptions};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

/// Pebble, our responder where Pebble looks, and an account.
pub struct Ca {
    pub pebble: Pebble,
    pub http: BoundedHttp,
    table: ChallengeTable,
    check: SelfCheck,
    pub key: Zeroizing<Vec<u8>>,
    pub uri: String,
}

impl Ca {
    pub async fn start(options: PebbleOptions, serve: bool) -> Self {
        let pebble = Pebble::start(&options).expect("Pebble");
        let trust = Trust::Bundle { pem: pebble.ca_pem().into(), and_mozilla: false };
        let http = BoundedHttp::new(&trust, Limits::default()).expect("a client");
        let table = ChallengeTable::default();
        if serve {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, pebble.http_port()));
            let listener = tokio::net::TcpListener::bind(address).await.expect("Pebble's validation port");
            let router = router(table.clone());
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        let check = SelfCheck {
            lookup: Arc::new(|_| Box::pin(async { Ok(vec![IpAddr::from(Ipv4Addr::LOCALHOST)]) })),
            port: pebble.http_port(),
            timeout: Duration::from_secs(10),
        };
        let key = new_account_key().expect("a key");
        let contacts = ["first@example.com".to_string()];
        let account = register(&pebble.directory_url(), &http, &key, &contacts, true, None).await.expect("an account");
        Self { pebble, http, table, check, key, uri: account.uri }
    }

    /// A handle as a restarted operator has it.
    pub async fn fresh(&self) -> AcmeAccount {
        open(&self.pebble.directory_url(), &self.http, &self.uri, &self.key).await.expect("a handle")
    }

    pub async fn until(&self, url: &str, wanted: OrderStatus) -> OrderView {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let view = self.fresh().await.look(url).await.expect("a view");
            if view.status == wanted {
                return view;
            }
            assert!(Instant::now() < deadline, "still {view:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Every step with a handle of its own, and every step twice.
    pub async fn issue(&self, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let csr = csr(&names);
        self.order(OrderRequest { names, ..OrderRequest::default() }, &csr).await.1
    }

    async fn authorize(&self, url: &str, names: &[String]) {
        let pending = self.fresh().await.look(url).await.expect("a view");
        assert_eq!((pending.status, pending.authorizations.len()), (OrderStatus::Pending, names.len()));
        self.table.replace_for("mail/mx".into(), entries(&pending));
        for entry in entries(&pending) {
            let checked = self_check(&entry.host, &entry.token, &entry.key_authorization, &self.check).await;
            checked.expect("the responder answers");
        }
        for _ in 0..2 {
            self.fresh().await.answer(url, &http01(names)).await.expect("an answer");
        }
    }

    /// As [`Ca::issue`], with what the order shall say and the view of the fresh order.
    pub async fn order(&self, request: OrderRequest, csr: &[u8]) -> (OrderView, String) {
        let names = request.names.clone();
        for name in &names {
            self.pebble.set_a(name, Ipv4Addr::LOCALHOST).expect("a record");
        }
        let placed = self.fresh().await.new_order(&request).await.expect("an order");
        let url = placed.url.clone();
        // Told never to, Pebble still uses one authorization in a hundred again.
        if placed.status != OrderStatus::Ready {
            self.authorize(&url, &names).await;
        }
        let ready = self.until(&url, OrderStatus::Ready).await;
        assert!(ready.authorizations.is_empty());
        self.table.remove("mail/mx");
        self.fresh().await.answer(&url, &http01(&names)).await.expect("nothing to answer");
        assert!(self.fresh().await.download(&url).await.is_err(), "nothing to download yet");
        for _ in 0..2 {
            let status = self.fresh().await.finalize(&url, csr).await.expect("finalized").status;
            assert!([OrderStatus::Processing, OrderStatus::Valid].contains(&status), "{status:?}");
        }
        self.until(&url, OrderStatus::Valid).await;
        let chain = self.fresh().await.download(&url).await.expect("a chain");
        assert_eq!(chain, self.fresh().await.download(&url).await.expect("the chain again"));
        assert_eq!(self.fresh().await.finalize(&url, csr).await.expect("a view").status, OrderStatus::Valid);
        (placed, chain)
    }
}

fn entries(view: &OrderView) -> Vec<Entry> {
    let entry = |authorization: &AuthorizationView| {
        let challenge = authorization.challenge(&ChallengeKind::Http01).expect("http-01");
        Entry {
            host: authorization.name.clone(),
            token: challenge.token.clone().expect("a token"),
            key_authorization: challenge.key_authorization.clone().expect("a key authorization"),
        }
    };
    view.authorizations.iter().map(entry).collect()
}

pub fn http01(names: &[String]) -> Vec<(String, ChallengeKind)> {
    names.iter().map(|name| (name.clone(), ChallengeKind::Http01)).collect()
}

pub fn csr(names: &[String]) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(names.to_vec()).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serialize_request(&key).expect("a request").der().to_vec()
}

fn assert_covers(chain: &str, names: &[&str]) {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).map(|der| der.expect("PEM")).collect();
    assert!(chain.len() >= 2, "a leaf and an intermediate");
    let leaf = webpki::EndEntityCert::try_from(&chain[0]).expect("a leaf");
    for name in names {
        let name = rustls_pki_types::ServerName::try_from(*name).expect("a name");
        leaf.verify_is_valid_for_subject_name(&name).expect("the leaf covers its names");
    }
}

/// Reconciles run on many threads, so every step has to be `Send`; that it compiles is the test.
#[tokio::test]
async fn every_step_can_run_on_any_thread() {
    let ca = Ca::start(PebbleOptions::default(), false).await;
    let (url, http, key, uri) = (ca.pebble.directory_url(), ca.http.clone(), ca.key.clone(), ca.uri.clone());
    let steps = tokio::spawn(async move {
        register(&url, &http, &key, &[], true, None).await?;
        let account = open(&url, &http, &uri, &key).await?;
        let names = vec!["mx.example.com".to_string()];
        let order = account.new_order(&OrderRequest { names: names.clone(), ..Default::default() }).await?.url;
        account.look(&order).await?;
        account.answer(&order, &[]).await?;
        account.finalize(&order, &csr(&names)).await?;
        assert!(account.download(&order).await.is_err());
        account.deactivate_pending(&order).await
    });
    assert_eq!(steps.await.expect("no panic").expect("every step"), 1);
}

#[tokio::test]
async fn an_order_comes_through_with_a_fresh_handle_at_every_step() {
    let ca = Ca::start(PebbleOptions::default(), true).await;
    let names = ["mx.example.com", "imap.example.com"];
    assert_covers(&ca.issue(&names).await, &names);
}

#[tokio::test]
async fn half_of_the_nonces_may_be_refused() {
    let ca = Ca::start(PebbleOptions { nonce_reject_percent: 50, ..PebbleOptions::default() }, true).await;
    for round in 0..3 {
        let names = [format!("a{round}.example.com"), format!("b{round}.example.com")];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_covers(&ca.issue(&names).await, &names);
    }
}

#[tokio::test]
async fn alternate_chains_are_found_and_read() {
    let ca = Ca::start(PebbleOptions { alternate_roots: 2, ..PebbleOptions::default() }, true).await;
    let names = vec!["mx.example.com".to_string()];
    let default = ca.issue(&["imap.example.com"]).await;
    ca.pebble.set_a("mx.example.com", Ipv4Addr::LOCALHOST).expect("a record");
    let account = ca.fresh().await;
    let url =
        account.new_order(&OrderRequest { names: names.clone(), ..Default::default() }).await.expect("an order").url;
    ca.table.replace_for("mail/mx".into(), entries(&account.look(&url).await.expect("a view")));
    account.answer(&url, &http01(&names)).await.expect("an answer");
    ca.until(&url, OrderStatus::Ready).await;
    account.finalize(&url, &csr(&names)).await.expect("finalized");
    ca.until(&url, OrderStatus::Valid).await;
    let (chain, alternates) = account.download_with_alternates(&url).await.expect("a chain");
    assert_ne!(chain, default);
    assert_eq!(alternates.len(), 2, "{alternates:?}");
    for alternate in alternates {
        let other = account.download_alternate(&alternate).await.expect("an alternate chain");
        assert_covers(&other, &["mx.example.com"]);
        assert_ne!(other, chain);
    }
}

#[tokio::test]
async fn a_failed_authorization_carries_the_cas_words() {
    let ca = Ca::start(PebbleOptions::default(), false).await;
    let account = ca.fresh().await;
    ca.pebble.set_a("mx.example.com", Ipv4Addr::LOCALHOST).expect("a record");
    let names = vec!["mx.example.com".to_string()];
    let url =
        account.new_order(&OrderRequest { names: names.clone(), ..Default::default() }).await.expect("an order").url;
    account.answer(&url, &http01(&names)).await.expect("an answer");
    let failed = ca.until(&url, OrderStatus::Invalid).await;
    let authorization = &failed.authorizations[0];
    assert_eq!((authorization.name.as_str(), authorization.status), ("mx.example.com", AuthorizationStatus::Invalid));
    let words = authorization.error.as_deref().expect("the CA's words");
    assert!(words.contains("connection refused") && words.contains("urn:ietf:params:acme:error:connection"), "{words}");
    let challenge = authorization.challenge(&ChallengeKind::Http01).expect("http-01");
    assert_eq!(challenge.error.as_deref(), Some(words));
    let lost = account.download(&url).await.expect_err("no certificate");
    assert_eq!(lost.class, Class::OrderLost);
}

#[tokio::test]
async fn what_the_ca_does_not_know_or_want_has_its_class() {
    let options = PebbleOptions { blocked_names: vec!["blocked.example".into()], ..PebbleOptions::default() };
    let ca = Ca::start(options, false).await;
    let account = ca.fresh().await;
    let order = |name: &str, profile: Option<&str>| OrderRequest {
        names: vec![name.into()],
        profile: profile.map(String::from),
        replaces: None,
    };
    let blocked = account.new_order(&order("blocked.example", None)).await.expect_err("a no");
    assert_eq!(blocked.class, Class::Refused, "{blocked}");
    assert!(blocked.words.contains("rejectedIdentifier"), "{blocked}");
    let profile = account.new_order(&order("mx.example.com", Some("nonesuch"))).await.expect_err("a no");
    assert_eq!(profile.class, Class::NeedsUser, "{profile}");
    let url = account.new_order(&order("mx.example.com", Some("shortlived"))).await.expect("an order").url;
    let unknown = format!("{}x", url);
    assert_eq!(account.look(&unknown).await.expect_err("no order").class, Class::OrderLost);
    assert_eq!(account.look("no url").await.expect_err("no order").class, Class::OrderLost);

    assert_eq!(account.deactivate_pending(&url).await.expect("given up"), 1);
    assert_eq!(account.deactivate_pending(&url).await.expect("nothing left"), 0);

    let nobody = open(&ca.pebble.directory_url(), &ca.http, &format!("{}x", ca.uri), &ca.key).await.expect("a handle");
    let gone = nobody.new_order(&order("mx.example.com", None)).await.expect_err("no account");
    assert_eq!(gone.class, Class::AccountGone, "{gone}");
    let other = open(&ca.pebble.directory_url(), &ca.http, &ca.uri, &new_account_key().expect("a key")).await;
    assert!(other.expect("a handle").look(&url).await.is_err(), "another key is not this account");
}

/// What the server shows when it is asked for the account alone.
async fn contacts(ca: &Ca) -> Vec<String> {
    let found = registered(&ca.pebble.directory_url(), &ca.http, &ca.key).await.expect("an answer");
    found.expect("the account").contacts
}

#[tokio::test]
async fn registration_is_idempotent_and_keeps_contacts_current() {
    let ca = Ca::start(PebbleOptions { nonce_reject_percent: 0, ..PebbleOptions::default() }, false).await;
    assert_eq!(contacts(&ca).await, ["mailto:first@example.com"]);
    let url = ca.pebble.directory_url();
    for wanted in [vec!["mailto:second@example.com".to_string(), "third@example.com".into()], Vec::new()] {
        for _ in 0..2 {
            let again = register(&url, &ca.http, &ca.key, &wanted, true, None).await.expect("the account");
            assert_eq!(again.uri, ca.uri);
        }
        let present = contacts(&ca).await;
        assert_eq!(present.len(), wanted.len());
    }
    let refused = register(&url, &ca.http, &ca.key, &[], false, None).await.expect_err("terms");
    assert_eq!(refused.class, Class::NeedsUser);
    let odd = register(&url, &ca.http, &ca.key, &["tel:+1".into()], true, None).await.expect_err("a bad contact");
    assert_eq!(odd.class, Class::NeedsUser, "{odd}");
}

#[tokio::test]
async fn an_account_that_needs_a_binding_is_the_users_to_mend() {
    let external_accounts =
        vec![("kid-1".to_string(), "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W".into())];
    let pebble = Pebble::start(&PebbleOptions { external_accounts, ..PebbleOptions::default() }).expect("Pebble");
    let trust = Trust::Bundle { pem: pebble.ca_pem().into(), and_mozilla: true };
    let http = BoundedHttp::new(&trust, Limits::default()).expect("a client");
    let view = directory(&http, &pebble.directory_url()).await.expect("a directory");
    assert!(view.external_account_required && view.profiles.contains_key("shortlived"), "{view:?}");
    assert!(view.terms_of_service.is_some());
    let key = new_account_key().expect("a key");
    let failure = register(&pebble.directory_url(), &http, &key, &[], true, None).await.expect_err("no binding");
    assert_eq!(failure.class, Class::NeedsUser, "{failure}");
}
