//! The handshake: proof that the server holds the key, without a judgement of its chain.

use super::error::{LookError, Printable, Step};
use super::line::Deadline;
use super::possession;
use super::sighting::{CHAIN_MAX, Sighting};
use super::target::Target;
use rustls::{CertificateError, ClientConfig, InvalidMessage, ProtocolVersion};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

fn config(target: &Target) -> Result<ClientConfig, rustls::Error> {
    let mut config = possession::client_config_for(rustls::ALL_VERSIONS, target.algorithm)?;
    config.enable_sni = target.sni;
    Ok(config)
}

/// Shakes hands on a connection on which TLS is next.
pub(super) async fn handshake(
    stream: TcpStream,
    target: &Target,
    deadline: &Deadline,
) -> Result<TlsStream<TcpStream>, LookError> {
    let config = config(target).map_err(|error| failed(&error.to_string()))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(target.server_name()?, stream);
    deadline.within(Step::Handshake, connecting).await?.map_err(|error| describe(&error))
}

/// What the handshake showed.
pub(super) fn sighting(stream: &TlsStream<TcpStream>, address: SocketAddr) -> Result<Sighting, LookError> {
    let (_, connection) = stream.get_ref();
    let chain: Vec<_> = connection.peer_certificates().unwrap_or_default().iter().take(CHAIN_MAX).cloned().collect();
    if chain.is_empty() {
        return Err(failed("the server presented no certificate"));
    }
    let tls_version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        other => format!("{other:?}"),
    };
    let cipher_suite = connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    Ok(Sighting { address, chain, tls_version, cipher_suite: cipher_suite.unwrap_or_default() })
}

fn failed(text: &str) -> LookError {
    LookError::HandshakeFailed(Printable::from(text))
}

fn describe(error: &std::io::Error) -> LookError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature)) => failed(
            "its signature does not fit the key in the certificate served: the server uses another private key, or \
             the key is one that clients refuse (RSA below 2048 bits)",
        ),
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            failed("the server answered something that is not TLS; if the port begins in plaintext, set tls: StartTLS")
        }
        Some(other) => failed(&other.to_string()),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => failed("the server closed the connection"),
        None => failed(&error.to_string()),
    }
}
