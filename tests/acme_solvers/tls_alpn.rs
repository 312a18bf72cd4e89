//! TLS-ALPN-01 through the operator's TLS port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mailcert_testenv::PebbleOptions;
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::scene::{acme, attempt, certificate, run, run_shared, says, status};
use crate::world::World;

/// A loopback address that nobody else has, for port 443.
const DOOR: Ipv4Addr = Ipv4Addr::new(127, 80, 1, 8);

#[test]
fn a_certificate_by_tls_alone() {
    run_shared(async |world, _| {
        let spec = acme(world, json!([{"tlsAlpn01": {"selfCheck": "Skip"}}]));
        world.issuer("alpn", spec).await;
        certificate(world, "alpn", "alpn", &["mail.host.alpn.test", "imap.host.alpn.test"]).await;
        let types =
            |c: &_| attempt(c)?.order.map(|o| o.challenges.into_iter().map(|c| c.type_.as_str()).collect::<Vec<_>>());
        let pending = world.wait("alpn", "ordered", |c| types(c).is_some_and(|t| !t.is_empty())).await;
        assert_eq!(types(&pending).unwrap(), ["tls-alpn-01", "tls-alpn-01"]);
        let issued = status(&world.issued("alpn").await);
        assert_eq!(issued.active.unwrap().dns_names, ["imap.host.alpn.test", "mail.host.alpn.test"]);
    });
}

#[test]
fn the_ca_is_not_asked_while_something_else_ends_tls() {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !is_root {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI=true, and this test needs root");
        eprintln!("skipped, since it needs root (a mount namespace and port 443)");
        return;
    }
    run(async {
        let options = PebbleOptions { tls_port: Some(443), ..PebbleOptions::default() };
        let inside = mailcert_testenv::claim_port().unwrap();
        let listen = format!("--challenge-tls-listen=127.0.0.1:{}", inside.number);
        let mut world = World::prepare("alpn-door", &[&listen], options).await;
        let door = Door::open(SocketAddr::from((Ipv4Addr::LOCALHOST, inside.number))).await;
        let hosts = world.cluster().dir().join("alpn-hosts");
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{DOOR} mail.door.test\n")).unwrap();
        world.with_hosts(hosts);
        world.start_operator();
        world.pebble.set_a("mail.door.test", DOOR).unwrap();
        world.issuer("ca", acme(&world, json!([{"tlsAlpn01": {}}]))).await;
        world.certificate("mail", &["mail.door.test"]).await;
        let message = says(&world.issuing("mail", "SelfCheckFailed").await);
        assert!(message.contains("with nothing that ends TLS on the way"), "{message}");
        assert!(message.contains("mail.door.test"), "{message}");
        assert_eq!(world.proxy.count("/chalZ/", None), 0, "the CA was asked all the same");

        door.passes.store(true, Ordering::SeqCst);
        world.issued("mail").await;
        assert_eq!((world.proxy.orders(), world.proxy.count("/chalZ/", Some(200))), (1, 1));
    });
}

/// A proxy on port 443: it ends TLS itself, or hands connections on as they are.
struct Door {
    passes: Arc<AtomicBool>,
}

impl Door {
    async fn open(inside: SocketAddr) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["mail.door.test".into()]).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let passes = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind((DOOR, 443)).await.unwrap();
        let open = passes.clone();
        tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let (acceptor, open) = (acceptor.clone(), open.load(Ordering::SeqCst));
                tokio::spawn(async move {
                    if !open {
                        let _ = acceptor.accept(outside).await;
                    } else if let Ok(mut inside) = TcpStream::connect(inside).await {
                        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        Self { passes }
    }
}
