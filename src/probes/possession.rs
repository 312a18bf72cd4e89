//! TLS that asks a server for proof that it holds the key of its certificate, and for nothing else.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use crate::pki::Certificate;

/// Verifies the handshake's signature and nothing else: the chain is the caller's to judge, and a look must be able to
/// see a certificate that is expired, of another name or of an unknown CA.
#[derive(Debug)]
struct ProofOfPossession(Arc<CryptoProvider>);

impl ServerCertVerifier for ProofOfPossession {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        match verify_tls13_signature(message, leaf, signature, algorithms) {
            // webpki refuses a critical extension that it does not know, such as the acmeIdentifier of tls-alpn-01.
            Err(error @ rustls::Error::InvalidCertificate(CertificateError::Other(_))) => {
                let read = Certificate::parse_der(leaf).map_err(|_| error)?;
                let key = SubjectPublicKeyInfoDer::from(read.spki_der());
                verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
            }
            verified => verified,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The client side of such a look. For looking only: whoever sends a secret over it sends it to anyone.
///
/// # Errors
/// When the crypto provider lacks the protocol versions.
pub(crate) fn client_config(versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ProofOfPossession(provider)))
        .with_no_client_auth();
    // A resumed session shows no certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}
