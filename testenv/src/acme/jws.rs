//! Signed requests (RFC 8555 section 6.2, RFC 7515): what is signed, by which key, for which URL.

use aws_lc_rs::{
    digest, hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use super::answer::Problem;

/// Decodes base64url without padding.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// Encodes as base64url without padding.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A public key (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Jwk {
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl Jwk {
    pub fn parse(jwk: &Value) -> Result<Self, Problem> {
        let bad = || Problem::new(400, "badPublicKey", "the JWK is not one that this server knows");
        let field = |name: &str| jwk[name].as_str().and_then(decode).ok_or_else(bad);
        let point = |size: usize| {
            let (x, y) = (field("x")?, field("y")?);
            // An uncompressed point (SEC 1, section 2.3.3).
            if x.len() == size && y.len() == size { Ok([vec![4], x, y].concat()) } else { Err(bad()) }
        };
        match (jwk["kty"].as_str(), jwk["crv"].as_str()) {
            (Some("EC"), Some("P-256")) => Ok(Self::P256(point(32)?)),
            (Some("EC"), Some("P-384")) => Ok(Self::P384(point(48)?)),
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519(field("x")?)),
            (Some("RSA"), _) => Ok(Self::Rsa { n: field("n")?, e: field("e")? }),
            _ => Err(bad()),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
            Self::Rsa { .. } => "RS256",
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Self::P384(point) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            Self::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok(),
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
        }
    }

    /// Whether this is the key whose bytes an X.509 certificate has in its BIT STRING.
    pub fn is_spki(&self, raw: &[u8]) -> bool {
        match self {
            Self::P256(key) | Self::P384(key) | Self::Ed25519(key) => key == raw,
            // Both numbers stand in the DER of RSAPublicKey as they are.
            Self::Rsa { n, e } => raw.ends_with(e) && raw.windows(n.len()).any(|window| window == n),
        }
    }

    /// RFC 7638, for the key types of accounts.
    pub fn thumbprint(&self) -> String {
        let members = match self {
            Self::P256(point) => ec("P-256", point, 32),
            Self::P384(point) => ec("P-384", point, 48),
            Self::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
        };
        encode(digest::digest(&digest::SHA256, members.as_bytes()))
    }
}

fn ec(curve: &str, point: &[u8], size: usize) -> String {
    let (x, y) = point[1..].split_at(size);
    format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
}

/// Who says to have signed.
#[derive(Clone, Debug)]
pub(super) enum Signer {
    /// An account, by its URL.
    Account(String),
    /// Whoever has this key.
    Key(Jwk),
}

/// A JWS in its flattened JSON form, not verified yet.
#[derive(Clone, Debug)]
pub(super) struct Jws {
    pub header: Value,
    message: Vec<u8>,
    pub payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Jws {
    pub fn parse(jws: &Value) -> Result<Self, Problem> {
        let bad = |what: &str| Problem::malformed(format!("the JWS has no valid {what}"));
        let text = |name: &str| jws[name].as_str().ok_or_else(|| bad(name));
        let (protected, payload) = (text("protected")?, text("payload")?);
        let header = decode(protected).and_then(|json| serde_json::from_slice(&json).ok());
        Ok(Self {
            header: header.ok_or_else(|| bad("protected header"))?,
            message: format!("{protected}.{payload}").into_bytes(),
            payload: decode(payload).ok_or_else(|| bad("payload"))?,
            signature: text("signature").map(decode)?.ok_or_else(|| bad("signature"))?,
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.header[name].as_str()
    }

    pub fn nonce(&self) -> Option<&str> {
        self.text("nonce")
    }

    pub fn url(&self) -> Option<&str> {
        self.text("url")
    }

    /// Exactly one of `jwk` and `kid`.
    pub fn signer(&self) -> Result<Signer, Problem> {
        match (self.text("kid"), &self.header["jwk"]) {
            (Some(kid), Value::Null) => Ok(Signer::Account(kid.to_owned())),
            (None, jwk) if !jwk.is_null() => Ok(Signer::Key(Jwk::parse(jwk)?)),
            _ => Err(Problem::malformed("the JWS header needs exactly one of jwk and kid")),
        }
    }

    pub fn verify(&self, key: &Jwk) -> Result<(), Problem> {
        if self.text("alg") != Some(key.algorithm()) {
            let words = format!("this key signs with {}", key.algorithm());
            return Err(Problem::new(400, "badSignatureAlgorithm", words));
        }
        match key.verify(&self.message, &self.signature) {
            true => Ok(()),
            false => Err(Problem::malformed("the JWS signature is wrong")),
        }
    }

    /// The payload as JSON; nothing for a POST-as-GET.
    pub fn json(&self) -> Result<Option<Value>, Problem> {
        if self.payload.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&self.payload).map(Some).map_err(|_| Problem::malformed("the payload is not JSON"))
    }

    /// An external account binding (RFC 8555 section 7.3.4) by one of `accounts` for `key`, made for `url`.
    pub fn verify_binding(&self, accounts: &[(String, String)], key: &Jwk, url: &str) -> Result<String, Problem> {
        let kid = self.text("kid").ok_or_else(|| Problem::malformed("the external account binding has no kid"))?;
        if self.nonce().is_some() || self.url() != Some(url) {
            return Err(Problem::malformed("the external account binding has a nonce, or another url"));
        }
        let known = accounts.iter().find(|(id, _)| id == kid).and_then(|(_, mac)| decode(mac));
        let mac = known.ok_or_else(|| Problem::unauthorized(format!("unknown external account {kid:?}")))?;
        let algorithm = match self.text("alg") {
            Some("HS256") => hmac::HMAC_SHA256,
            Some("HS384") => hmac::HMAC_SHA384,
            Some("HS512") => hmac::HMAC_SHA512,
            _ => return Err(Problem::new(400, "badSignatureAlgorithm", "the external account binding needs a MAC")),
        };
        let verified = hmac::verify(&hmac::Key::new(algorithm, &mac), &self.message, &self.signature);
        verified.map_err(|_| Problem::unauthorized("the external account binding's MAC is wrong"))?;
        match self.json()?.map(|jwk| Jwk::parse(&jwk)) {
            Some(Ok(bound)) if bound == *key => Ok(kid.to_owned()),
            _ => Err(Problem::new(400, "badPublicKey", "the external account binding is for another key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        // RFC 7638, section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = Jwk::parse(&json!({"kty": "RSA", "n": n, "e": "AQAB"})).unwrap();
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_header_needs_one_of_jwk_and_kid() {
        let jws = |header: Value| {
            Jws::parse(&json!({"protected": encode(header.to_string()), "payload": "", "signature": ""})).unwrap()
        };
        assert!(jws(json!({"kid": "https://a"})).signer().is_ok());
        assert!(jws(json!({})).signer().is_err());
        assert!(jws(json!({"kid": "https://a", "jwk": {"kty": "EC"}})).signer().is_err());
    }
}
