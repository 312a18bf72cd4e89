//! A server with a certificate of each algorithm: each client is given the one that it takes.

use crate::{PATIENCE, limits};
use mailcert::api::domain::ServedAlgorithm;
use mailcert::api::endpoint::Protocol;
use mailcert::probes::{LookError, Target, look};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureAlgorithm};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// Gives the first certificate whose key the client can verify.
#[derive(Debug)]
struct Choice(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|c| c.key.choose_scheme(hello.signature_schemes()).is_some()).cloned()
    }
}

fn certified(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<CertifiedKey> {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let params = rcgen::CertificateParams::new(vec!["mail.example.com".to_owned()]).unwrap();
    let chain = vec![params.self_signed(&key).unwrap().der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    Arc::new(CertifiedKey::new(chain, signer))
}

/// A server that offers `keys`, in this order of preference; gives its port.
async fn serve(keys: Vec<Arc<CertifiedKey>>, version: &'static rustls::SupportedProtocolVersion) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Choice(keys)));
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut tls) = acceptor.accept(stream).await {
                let _ = tls.read(&mut [0; 16]).await;
            }
        }
    });
    port
}

async fn seen(port: u16, algorithm: Option<ServedAlgorithm>) -> Result<Vec<CertificateDer<'static>>, LookError> {
    let address = Some("127.0.0.1".to_owned());
    let target =
        Target { address, port, algorithm, ..Target::new(Protocol::HTTPS, "mail.example.com", "probe.example.com") };
    look(&target, &limits(PATIENCE)).await.map(|s| s.chain)
}

#[tokio::test]
async fn each_algorithm_is_looked_at_apart() {
    let (rsa, ecdsa) = (certified(&rcgen::PKCS_RSA_SHA256), certified(&rcgen::PKCS_ECDSA_P256_SHA256));
    assert_eq!((rsa.key.algorithm(), ecdsa.key.algorithm()), (SignatureAlgorithm::RSA, SignatureAlgorithm::ECDSA));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let port = serve(vec![rsa.clone(), ecdsa.clone()], version).await;
        assert_eq!(seen(port, Some(ServedAlgorithm::RSA)).await.unwrap(), rsa.cert, "{version:?}");
        assert_eq!(seen(port, Some(ServedAlgorithm::ECDSA)).await.unwrap(), ecdsa.cert, "{version:?}");
        // The server's preference.
        assert_eq!(seen(port, None).await.unwrap(), rsa.cert, "{version:?}");
        let port = serve(vec![ecdsa.clone()], version).await;
        let none = seen(port, Some(ServedAlgorithm::RSA)).await.unwrap_err();
        assert_eq!(none.word(), "handshake-failed", "{version:?}: {none}");
    }
}
