//! Private keys as JSON Web Keys (RFC 7517) that sign JSON Web Signatures (RFC 7515), as ACME wants them.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, RSA_PKCS1_SHA256,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::key::{KeyAlgorithm, KeyError, PrivateKey};

/// How a curve is called (RFC 7518 section 6.2.1.1), its signature algorithm (section 3.4), and the bytes of a
/// coordinate.
struct Curve {
    name: &'static str,
    algorithm: &'static str,
    signing: &'static EcdsaSigningAlgorithm,
    coordinate: usize,
}

const P256: Curve =
    Curve { name: "P-256", algorithm: "ES256", signing: &ECDSA_P256_SHA256_FIXED_SIGNING, coordinate: 32 };
const P384: Curve =
    Curve { name: "P-384", algorithm: "ES384", signing: &ECDSA_P384_SHA384_FIXED_SIGNING, coordinate: 48 };
const P521: Curve =
    Curve { name: "P-521", algorithm: "ES512", signing: &ECDSA_P521_SHA512_FIXED_SIGNING, coordinate: 66 };

impl PrivateKey {
    /// The `alg` of the signatures that [`Self::sign_jws`] makes: ES256, ES384, ES512 or RS256. `None` for Ed25519,
    /// which ACME servers do not take.
    pub fn jws_algorithm(&self) -> Option<&'static str> {
        match self.spec().algorithm {
            KeyAlgorithm::Ecdsa => self.curve().map(|c| c.algorithm),
            KeyAlgorithm::Rsa => Some("RS256"),
            KeyAlgorithm::Ed25519 => None,
        }
    }

    /// The public key as JWK: its required members alone, sorted and without spaces, the form that is hashed for the
    /// thumbprint (RFC 7638 section 3.2).
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for Ed25519.
    pub fn jwk(&self) -> Result<String, KeyError> {
        self.public_members().ok_or(KeyError::Unsupported)
    }

    /// The JWK thumbprint with SHA-256 (RFC 7638), in base64url.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for Ed25519.
    pub fn jwk_thumbprint(&self) -> Result<String, KeyError> {
        let hash = digest::digest(&digest::SHA256, self.jwk()?.as_bytes());
        Ok(BASE64_URL_SAFE_NO_PAD.encode(hash))
    }

    /// Signs a JWS signing input with [`Self::jws_algorithm`].
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for Ed25519.
    pub fn sign_jws(&self, input: &[u8]) -> Result<Vec<u8>, KeyError> {
        let der = self.to_pkcs8_der();
        let signature = match self.spec().algorithm {
            KeyAlgorithm::Ecdsa => self.curve().and_then(|curve| {
                let pair = EcdsaKeyPair::from_pkcs8(curve.signing, &der).ok()?;
                Some(pair.sign(&SystemRandom::new(), input).ok()?.as_ref().to_vec())
            }),
            KeyAlgorithm::Rsa => RsaKeyPair::from_pkcs8(&der).ok().and_then(|pair| {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature).ok()?;
                Some(signature)
            }),
            KeyAlgorithm::Ed25519 => None,
        };
        signature.ok_or(KeyError::Unsupported)
    }

    fn curve(&self) -> Option<&'static Curve> {
        [&P256, &P384, &P521].into_iter().find(|c| c.name == format!("P-{}", self.spec().size))
    }

    fn public_members(&self) -> Option<String> {
        let (_, spki) = SubjectPublicKeyInfo::from_der(self.spki_der()).ok()?;
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match self.spec().algorithm {
            KeyAlgorithm::Ecdsa => {
                let curve = self.curve()?;
                // An uncompressed point (SEC 1, section 2.3.3): 0x04, then both coordinates.
                let point = spki.subject_public_key.data.get(1..=2 * curve.coordinate)?;
                let (x, y) = point.split_at_checked(curve.coordinate)?;
                Some(format!(r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#, curve.name, text(x), text(y)))
            }
            KeyAlgorithm::Rsa => {
                let PublicKey::RSA(rsa) = spki.parsed().ok()? else { return None };
                // DER integers carry a sign byte, which Base64urlUInt (RFC 7518 section 2) leaves out.
                let unsigned = |bytes: &[u8]| text(bytes.strip_prefix(&[0]).unwrap_or(bytes));
                Some(format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, unsigned(rsa.exponent), unsigned(rsa.modulus)))
            }
            KeyAlgorithm::Ed25519 => None,
        }
    }
}
