//! JSON Web Signatures as ACME uses them (RFC 8555 section 6.2): flattened, with the URL and the nonce protected.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::external::ExternalAccount;
use super::failure::AcmeFailure;
use crate::pki::PrivateKey;

/// Who signs a request, and how the server finds the public key.
pub(crate) enum Signer<'a> {
    /// The key of the account with this URL (`kid`).
    Account(&'a PrivateKey, &'a str),
    /// A key that shows itself (`jwk`): of an account to be, or of a certificate.
    Key(&'a PrivateKey),
}

impl Signer<'_> {
    /// The signed request. The nonce is left out only where one JWS is inside another.
    pub(crate) fn sign(&self, nonce: Option<&str>, url: &str, payload: &str) -> Result<String, AcmeFailure> {
        let (key, name, value) = match self {
            Self::Account(key, uri) => (key, "kid", Value::from(*uri)),
            Self::Key(key) => (key, "jwk", jwk(key)?),
        };
        let algorithm = key.jws_algorithm().ok_or_else(no_signature)?;
        let mut header = json!({"alg": algorithm, "url": url, name: value});
        if let Some(nonce) = nonce {
            header["nonce"] = nonce.into();
        }
        let (header, payload) = (encoded(header.to_string()), encoded(payload));
        let signature = key.sign_jws(format!("{header}.{payload}").as_bytes()).map_err(|_| no_signature())?;
        Ok(flattened(&header, &payload, &signature).to_string())
    }
}

/// The public key of `key` as JSON.
pub(crate) fn jwk(key: &PrivateKey) -> Result<Value, AcmeFailure> {
    let members = key.jwk().map_err(|_| no_signature())?;
    serde_json::from_str(&members).map_err(|_| no_signature())
}

/// The account key's public half, signed with the key of an account elsewhere (RFC 8555 section 7.3.4).
pub(crate) fn binding(external: &ExternalAccount, key: &PrivateKey, url: &str) -> Result<Value, AcmeFailure> {
    let header = json!({"alg": external.algorithm.name(), "kid": external.key_id, "url": url});
    let (header, payload) = (encoded(header.to_string()), encoded(jwk(key)?.to_string()));
    let mac = hmac::Key::new(external.algorithm.hmac(), external.mac_key());
    let tag = hmac::sign(&mac, format!("{header}.{payload}").as_bytes());
    Ok(flattened(&header, &payload, tag.as_ref()))
}

fn flattened(header: &str, payload: &str, signature: &[u8]) -> Value {
    json!({"protected": header, "payload": payload, "signature": encoded(signature)})
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn no_signature() -> AcmeFailure {
    AcmeFailure::needs_user("ACME requests cannot be signed with this kind of key; use ECDSA or RSA")
}
