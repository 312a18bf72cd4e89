//! A TLS client that takes any certificate, and our responder for it to ask.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mailcert::solvers::tls_alpn01::responder::{AlpnEntry, AlpnTable, serve};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// A responder on a free port, or on the given one; it ends with the token or with its runtime.
pub async fn respond(table: &AlpnTable, port: u16) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, table.clone(), stop.clone()));
    (address, stop)
}

pub fn entry(host: &str, key_authorization: &str) -> AlpnEntry {
    AlpnEntry { host: host.into(), key_authorization: key_authorization.into() }
}

#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// How to shake hands.
pub struct Hello<'a> {
    pub name: &'a str,
    pub sni: bool,
    pub protocols: &'a [&'a [u8]],
    pub versions: &'a [&'static SupportedProtocolVersion],
}

impl<'a> Hello<'a> {
    /// As a CA does.
    pub fn ca(name: &'a str) -> Self {
        Self { name, sni: true, protocols: &[b"acme-tls/1"], versions: rustls::ALL_VERSIONS }
    }

    pub async fn to(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything(provider)))
            .with_no_client_auth();
        config.enable_sni = self.sni;
        config.alpn_protocols = self.protocols.iter().map(|p| p.to_vec()).collect();
        let name = ServerName::try_from(self.name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
    }

    /// The certificate, once the server has closed the connection.
    pub async fn leaf(&self, address: SocketAddr) -> io::Result<Vec<u8>> {
        let mut stream = self.to(address).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
        let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        assert_eq!(stream.read(&mut [0; 16]).await?, 0, "closed in order, and nothing was said");
        Ok(leaf)
    }
}
