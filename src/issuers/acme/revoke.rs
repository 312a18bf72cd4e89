//! Revocation (RFC 8555 section 7.6).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::account::AcmeAccount;
use super::client::Client;
use super::failure::{About, AcmeFailure, Class};
use super::http::BoundedHttp;
use super::jws::Signer;
pub use crate::api::revocation::RevocationReason;
use crate::pki::PrivateKey;

impl AcmeAccount {
    /// Revokes a certificate with the account that ordered it. One that is revoked already counts as success.
    ///
    /// # Errors
    /// [`Class::NeedsUser`] when the account may not.
    pub async fn revoke(&self, certificate_der: &[u8], reason: RevocationReason) -> Result<(), AcmeFailure> {
        revoke(self.client(), &self.signer(), certificate_der, reason).await
    }

    /// As [`revoke_with_key`], at this account's server.
    ///
    /// # Errors
    /// As there.
    pub async fn revoke_with_key(
        &self,
        certificate_key: &PrivateKey,
        certificate_der: &[u8],
        reason: RevocationReason,
    ) -> Result<(), AcmeFailure> {
        revoke(self.client(), &Signer::Key(certificate_key), certificate_der, reason).await
    }
}

/// Revokes a certificate with its own key, which needs no account: the CA then knows that the key is compromised. One
/// that is revoked already counts as success.
///
/// # Errors
/// [`Class::NeedsUser`] for an Ed25519 key, or when it is not the certificate's key.
pub async fn revoke_with_key(
    server: &str,
    http: &BoundedHttp,
    certificate_key: &PrivateKey,
    certificate_der: &[u8],
    reason: RevocationReason,
) -> Result<(), AcmeFailure> {
    let client = Client::open(http, server).await?;
    revoke(&client, &Signer::Key(certificate_key), certificate_der, reason).await
}

async fn revoke(
    client: &Client,
    signer: &Signer<'_>,
    certificate_der: &[u8],
    reason: RevocationReason,
) -> Result<(), AcmeFailure> {
    let url = client.urls().revoke_cert.as_deref().ok_or_else(|| {
        AcmeFailure::new(
            Class::NeedsUser,
            "the ACME server's directory names no revokeCert: revoke at the CA's website",
        )
    })?;
    let certificate = BASE64_URL_SAFE_NO_PAD.encode(certificate_der);
    let mut payload = json!({"certificate": certificate});
    // Absent and `unspecified` mean the same, and some CAs refuse the number 0 (RFC 5280 section 5.3.1).
    if reason != RevocationReason::Unspecified {
        payload["reason"] = reason.code().into();
    }
    let step = async {
        match client.post(signer, url, &payload.to_string()).await {
            Err(error) if error.is("alreadyRevoked") => Ok(()),
            answer => answer.map(|_| ()),
        }
    };
    client.step(About::Revocation, step).await
}
