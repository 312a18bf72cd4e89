//! The self check against servers that answer right, wrong, as strangers, or not at all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailcert::pki::{AlpnDefect, acme_identifier};
use mailcert::solvers::tls_alpn01::digest;
use mailcert::solvers::tls_alpn01::responder::AlpnTable;
use mailcert::solvers::tls_alpn01::selfcheck::{Place, Problem, SelfCheck, self_check};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::client::{entry, respond};

const NAME: &str = "mx.example.com";
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn at(port: u16, addresses: &'static [Ipv4Addr]) -> SelfCheck {
    SelfCheck {
        lookup: Arc::new(move |name| {
            Box::pin(async move {
                let addresses = if name == NAME { addresses } else { &[] };
                Ok(addresses.iter().copied().map(IpAddr::from).collect())
            })
        }),
        port,
        timeout: Duration::from_secs(8),
    }
}

async fn check(address: SocketAddr) -> Result<(), Problem> {
    self_check(NAME, "tok.thumb", &at(address.port(), &[HERE])).await
}

fn place(address: SocketAddr) -> Place {
    Place { name: NAME.into(), address: address.ip(), port: address.port() }
}

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A server that shows one certificate, whatever it is asked, even with a key that does not belong to it.
async fn stranger(
    bind: SocketAddr,
    certificate: CertificateDer<'static>,
    key: &PrivateKeyDer<'_>,
    alpn: &[&[u8]],
) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = provider.key_provider.load_private_key(key.clone_key()).unwrap();
    let shown = Fixed(Arc::new(CertifiedKey::new(vec![certificate], key)));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(bind).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { drop(acceptor.accept(tcp).await) });
        }
    });
    address
}

fn ordinary(subject: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    (certificate, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

fn any() -> SocketAddr {
    (HERE, 0).into()
}

#[tokio::test]
async fn the_responder_passes_for_its_own_challenges_only() {
    let table = AlpnTable::default();
    let (address, _) = respond(&table, 0).await;
    let unknown = check(address).await.unwrap_err();
    assert_eq!(unknown, Problem::Unknown(place(address)));
    assert!(unknown.to_string().contains("does not know this challenge"), "{unknown}");
    table.replace_for("ns/mx".into(), vec![entry(NAME, "tok.thumb")]);
    assert_eq!(check(address).await, Ok(()));
    table.replace_for("ns/mx".into(), vec![entry(NAME, "tok.another-account")]);
    let defect = AlpnDefect::OtherChallenge;
    assert_eq!(check(address).await, Err(Problem::OtherAnswer { at: place(address), defect }));
}

#[tokio::test]
async fn what_ends_tls_in_front_is_named_by_its_certificate() {
    let (certificate, key) = ordinary("TRAEFIK DEFAULT CERT");
    // One that passes over the protocols that it does not know, and one that refuses them.
    for alpn in [&[][..], &[&b"h2"[..], b"http/1.1"]] {
        let address = stranger(any(), certificate.clone(), &key, alpn).await;
        let problem = check(address).await.unwrap_err();
        assert_eq!(
            problem.to_string(),
            format!(
                "something else ends TLS on port {} of {NAME} (127.0.0.1) before the operator's challenge Service: it \
                 does not speak acme-tls/1 and shows the certificate \"CN=TRAEFIK DEFAULT CERT\" of issuer \
                 \"CN=TRAEFIK DEFAULT CERT\"; pass TLS through to the challenge Service there, or use another solver \
                 for this name",
                address.port()
            ),
            "{alpn:?}"
        );
    }
}

#[tokio::test]
async fn a_strangers_words_are_bounded_and_printable() {
    let odd = format!("a\u{202e}b\n\u{1b}[31m{}", "x".repeat(5000));
    let (certificate, key) = ordinary(&odd);
    let problem = check(stranger(any(), certificate, &key, &[]).await).await.unwrap_err().to_string();
    assert!(problem.chars().count() < 1000, "{problem}");
    assert!(!problem.contains(['\u{202e}', '\n', '\u{1b}']), "{problem}");
}

#[tokio::test]
async fn a_certificate_counts_only_with_its_key_its_name_and_its_extension() {
    let alpn: &[&[u8]] = &[b"acme-tls/1"];
    let (right, right_key) = acme_identifier(NAME, &digest("tok.thumb")).unwrap();
    let address = stranger(any(), right.clone(), &right_key, alpn).await;
    assert_eq!(check(address).await, Ok(()));

    let (plain, other_key) = ordinary("plain");
    let address = stranger(any(), right, &other_key, alpn).await;
    let problem = check(address).await.unwrap_err();
    assert!(matches!(problem, Problem::Handshake { .. }), "{problem:?}");
    assert!(problem.to_string().contains("does not hold the key"), "{problem}");

    let address = stranger(any(), plain, &other_key, alpn).await;
    assert_eq!(
        check(address).await,
        Err(Problem::OtherAnswer { at: place(address), defect: AlpnDefect::NoIdentifier })
    );

    let (other_name, key) = acme_identifier("imap.example.com", &digest("tok.thumb")).unwrap();
    let address = stranger(any(), other_name, &key, alpn).await;
    let defect = AlpnDefect::OtherNames("imap.example.com".into());
    assert_eq!(check(address).await, Err(Problem::OtherAnswer { at: place(address), defect }));
}

#[tokio::test]
async fn every_address_that_answers_must_answer_right() {
    let table = AlpnTable::default();
    table.replace_for("ns/mx".into(), vec![entry(NAME, "tok.thumb")]);
    let (address, _) = respond(&table, 0).await;
    let both = at(address.port(), &[HERE, THERE]);
    assert_eq!(self_check(NAME, "tok.thumb", &both).await, Ok(()), "a CA goes on when nothing listens at one");
    let (certificate, key) = ordinary("old proxy");
    let there = stranger((THERE, address.port()).into(), certificate, &key, &[]).await;
    match self_check(NAME, "tok.thumb", &both).await {
        Err(Problem::ForeignTls { at, certificate: Some(shown) }) => {
            assert_eq!(at, place(there));
            assert!(shown.contains("old proxy"), "{shown}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_tls_server_is_named() {
    let closed = mailcert_testenv::claim_port().unwrap();
    let address = SocketAddr::from((HERE, closed.number));
    assert_eq!(check(address).await, Err(Problem::Refused(place(address))));
    let nowhere = self_check("nowhere.example.com", "tok.thumb", &at(1, &[HERE])).await.unwrap_err();
    assert_eq!(nowhere, Problem::NotResolved { name: "nowhere.example.com".into() });

    let listener = TcpListener::bind(any()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(b"220 mx.example.com ESMTP\r\n").await;
        }
    });
    let problem = check(address).await.unwrap_err();
    assert!(problem.to_string().ends_with("what answers there does not speak TLS"), "{problem}");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for_longer_than_allowed() {
    let listener = TcpListener::bind(any()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
        }
    });
    let how = SelfCheck { timeout: Duration::from_secs(2), ..at(address.port(), &[HERE]) };
    let asked = Instant::now();
    let problem = self_check(NAME, "tok.thumb", &how).await.unwrap_err();
    assert!(matches!(problem, Problem::Timeout { .. }), "{problem:?}");
    assert!(asked.elapsed() < Duration::from_secs(4));
    held.abort();
}
