//! TLS that asks a server for proof that it holds the key of its certificate, and for nothing else.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use crate::api::domain::ServedAlgorithm;
use crate::pki::Certificate;

/// Verifies the handshake's signature and nothing else: the chain is the caller's to judge, and a look must be able to
/// see a certificate that is expired, of another name or of an unknown CA.
#[derive(Debug)]
struct ProofOfPossession {
    provider: Arc<CryptoProvider>,
    /// The only algorithm to take.
    algorithm: Option<ServedAlgorithm>,
}

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
        verify_tls12_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
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
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        schemes.retain(|scheme| self.algorithm.is_none_or(|algorithm| is_of(*scheme, algorithm)));
        schemes
    }
}

fn is_of(scheme: SignatureScheme, algorithm: ServedAlgorithm) -> bool {
    match algorithm {
        ServedAlgorithm::RSA => matches!(
            scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
                | SignatureScheme::RSA_PSS_SHA256
                | SignatureScheme::RSA_PSS_SHA384
                | SignatureScheme::RSA_PSS_SHA512
        ),
        ServedAlgorithm::ECDSA => matches!(
            scheme,
            SignatureScheme::ECDSA_NISTP256_SHA256
                | SignatureScheme::ECDSA_NISTP384_SHA384
                | SignatureScheme::ECDSA_NISTP521_SHA512
        ),
    }
}

/// The client side of such a look. For looking only: whoever sends a secret over it sends it to anyone.
///
/// # Errors
/// When the crypto provider lacks the protocol versions.
pub(crate) fn client_config(versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig, rustls::Error> {
    client_config_for(versions, None)
}

/// As [`client_config`], for a client that takes only keys of that algorithm.
///
/// # Errors
/// When the crypto provider lacks the protocol versions.
pub(crate) fn client_config_for(
    versions: &[&'static SupportedProtocolVersion],
    algorithm: Option<ServedAlgorithm>,
) -> Result<ClientConfig, rustls::Error> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // Up to TLS 1.2 the suite names the algorithm as well.
    provider.cipher_suites.retain(|suite| match (algorithm, suite) {
        (Some(algorithm), SupportedCipherSuite::Tls12(suite)) => suite.sign.iter().any(|s| is_of(*s, algorithm)),
        _ => true,
    });
    let provider = Arc::new(provider);
    let verifier = ProofOfPossession { provider: provider.clone(), algorithm };
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // A resumed session shows no certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}
