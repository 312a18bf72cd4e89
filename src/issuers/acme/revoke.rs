//! Revocation (RFC 8555 section 7.6).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::account::AcmeAccount;
use super::client::Client;
use super::failure::{About, AcmeFailure, Class};
use super::http::BoundedHttp;
use super::jws::Signer;
use crate::pki::PrivateKey;

/// Why a certificate is revoked: the reasons of RFC 5280 section 5.3.1 that CAs take from subscribers (Baseline
/// Requirements section 4.9.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationReason {
    /// No reason given.
    Unspecified,
    /// Somebody else has or had the private key.
    KeyCompromise,
    /// The subject's name or other facts have changed.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// The names are not the subscriber's any more, or the service has ended.
    CessationOfOperation,
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// The reason of this name, as RFC 5280 writes it (`keyCompromise`).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The name as RFC 5280 writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
        }
    }

    /// The CRLReason code (RFC 5280 section 5.3.1).
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_their_names_and_codes() {
        for reason in RevocationReason::ALL {
            assert_eq!(RevocationReason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(RevocationReason::ALL.map(RevocationReason::code), [0, 1, 3, 4, 5]);
        assert_eq!(RevocationReason::parse("cACompromise"), None);
    }
}
