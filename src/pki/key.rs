//! Private keys: generation, import from PEM, export as PKCS#8.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, EcPrivateKeyRfc5915Der},
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair},
};
use pkcs8::PrivateKeyInfoRef;
use rcgen::PublicKeyData;
use rustls_pki_types::PrivatePkcs8KeyDer;
use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};
use zeroize::{Zeroize, Zeroizing};

use super::{
    fingerprint::Fingerprint,
    pem_blocks::{self, Block, PemError},
};

/// The largest PEM block of a private key, in bytes. An RSA key of 8192 bits takes about 6.5 KiB.
pub const MAX_KEY_BYTES: usize = 13 * 1024;
/// The largest text that is searched for a private key, in bytes: a key and a chain in one file.
pub const MAX_KEY_FILE_BYTES: usize = 128 * 1024;

/// A family of signature keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// Elliptic curves P-256, P-384 and P-521.
    Ecdsa,
    /// RSA with PKCS#1 v1.5 signatures.
    Rsa,
    /// Ed25519 (RFC 8410).
    Ed25519,
}

/// A key's algorithm and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeySpec {
    /// The family.
    pub algorithm: KeyAlgorithm,
    /// In bits: ECDSA 256, 384 or 521; RSA 2048, 3072 or 4096; always 256 for Ed25519, where any value is accepted as input.
    pub size: u32,
}

impl KeySpec {
    /// ECDSA on P-256, the default.
    pub const P256: Self = Self { algorithm: KeyAlgorithm::Ecdsa, size: 256 };
    /// Ed25519.
    pub const ED25519: Self = Self { algorithm: KeyAlgorithm::Ed25519, size: 256 };

    /// RSA with `size` bits.
    pub const fn rsa(size: u32) -> Self {
        Self { algorithm: KeyAlgorithm::Rsa, size }
    }

    /// ECDSA on the curve of `size` bits.
    pub const fn ecdsa(size: u32) -> Self {
        Self { algorithm: KeyAlgorithm::Ecdsa, size }
    }

    /// The algorithm and size of a DER SubjectPublicKeyInfo, or `None` when it is of a kind we do not support.
    pub(crate) fn of_spki(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        match spki.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => {
                let parsed = spki.parsed().ok()?;
                Some(Self::rsa(u32::try_from(parsed.key_size()).ok()?))
            }
            "1.2.840.10045.2.1" => {
                let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
                match curve.to_id_string().as_str() {
                    "1.2.840.10045.3.1.7" => Some(Self::ecdsa(256)),
                    "1.3.132.0.34" => Some(Self::ecdsa(384)),
                    "1.3.132.0.35" => Some(Self::ecdsa(521)),
                    _ => None,
                }
            }
            "1.3.101.112" => Some(Self::ED25519),
            _ => None,
        }
    }

    /// Whether public CAs and mail clients still accept a key of this kind: RSA from 2048 bits on, every supported curve.
    pub fn is_strong(&self) -> bool {
        self.algorithm != KeyAlgorithm::Rsa || self.size >= 2048
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm {
            KeyAlgorithm::Ecdsa => write!(f, "ECDSA P-{}", self.size),
            KeyAlgorithm::Rsa => write!(f, "RSA {}", self.size),
            KeyAlgorithm::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// Why there is no private key. No message holds any part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The input is larger than we read.
    #[error("the private key's text is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The PEM text is damaged.
    #[error("the private key cannot be read: {0}")]
    Pem(#[from] PemError),
    /// No block ends in PRIVATE KEY.
    #[error("there is no PEM block with a private key; it must start with -----BEGIN PRIVATE KEY-----")]
    NoKey,
    /// More than one key.
    #[error("there are {0} private keys; keep only the one that belongs to the certificate")]
    Several(usize),
    /// The key needs a password.
    #[error(
        "the private key is encrypted; decrypt it first (openssl pkey -in encrypted.pem -out tls.key), or import PKCS#12 with a password"
    )]
    Encrypted,
    /// A kind of PEM block that holds no key for TLS.
    #[error("the PEM block \"{0}\" is not supported; use PKCS#8, PKCS#1 or SEC1 (openssl pkey converts)")]
    UnsupportedBlock(String),
    /// Well-formed PEM around a key that is damaged or of another algorithm.
    #[error(
        "the private key is damaged or of an unsupported kind; supported are ECDSA P-256, P-384, P-521, RSA from 2048 to 8192 bits and Ed25519"
    )]
    Unsupported,
    /// A size that the algorithm does not have.
    #[error("there is no key of kind {0}; ECDSA has the sizes 256, 384 and 521, RSA has 2048, 3072 and 4096")]
    Size(KeySpec),
    /// The crypto library failed.
    #[error("the crypto library could not make a key")]
    Generate,
}

/// A private key. Wiped on drop; `Debug` shows only its kind and the hash of its public key.
pub struct PrivateKey {
    /// Its `serialized_der` is always PKCS#8 version 1, and is wiped in `drop`.
    pair: rcgen::KeyPair,
    spki: Vec<u8>,
    spec: KeySpec,
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, spki sha256 {})", self.spec, self.spki_sha256())
    }
}

impl PrivateKey {
    /// A new key from the operating system's randomness. RSA of 4096 bits can take seconds of CPU time.
    ///
    /// # Errors
    /// [`KeyError::Size`] for a size that the algorithm does not have.
    pub fn generate(spec: &KeySpec) -> Result<Self, KeyError> {
        let pkcs8 = match (spec.algorithm, spec.size) {
            (KeyAlgorithm::Ecdsa, size) => {
                let curve = curve(size).ok_or(KeyError::Size(*spec))?;
                EcdsaKeyPair::generate(curve).and_then(|k| k.to_pkcs8v1()).map(|d| d.as_ref().to_vec())
            }
            (KeyAlgorithm::Rsa, size) => {
                let size = match size {
                    2048 => KeySize::Rsa2048,
                    3072 => KeySize::Rsa3072,
                    4096 => KeySize::Rsa4096,
                    _ => return Err(KeyError::Size(*spec)),
                };
                RsaKeyPair::generate(size).and_then(|k| k.as_der()).map(|d| d.as_ref().to_vec())
            }
            (KeyAlgorithm::Ed25519, _) => {
                Ed25519KeyPair::generate().and_then(|k| k.to_pkcs8v1()).map(|d| d.as_ref().to_vec())
            }
        };
        Self::from_own_pkcs8(Zeroizing::new(pkcs8.map_err(|_| KeyError::Generate)?))
    }

    /// Reads the one private key in a PEM text: PKCS#8, PKCS#1 or SEC1, at most [`MAX_KEY_BYTES`] in a text of at
    /// most [`MAX_KEY_FILE_BYTES`]. Certificates and curve parameters around it are skipped.
    ///
    /// # Errors
    /// Says whether there is no key, several, an encrypted one, or one of an unsupported kind.
    pub fn from_pem(input: &[u8]) -> Result<Self, KeyError> {
        if input.len() > MAX_KEY_FILE_BYTES {
            return Err(KeyError::TooLarge { limit: MAX_KEY_FILE_BYTES });
        }
        let blocks = pem_blocks::blocks(input)?;
        let mut keys = blocks.iter().filter(|b| b.label.ends_with("PRIVATE KEY"));
        let block = keys.next().ok_or(KeyError::NoKey)?;
        let more = keys.count();
        if more > 0 {
            return Err(KeyError::Several(more + 1));
        }
        if block.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLarge { limit: MAX_KEY_BYTES });
        }
        Self::from_block(block)
    }

    /// Reads the key in one PEM block whose size has been looked at.
    pub(super) fn from_block(block: &Block<'_>) -> Result<Self, KeyError> {
        if block.label == "ENCRYPTED PRIVATE KEY" || block.has_encryption_header() {
            return Err(KeyError::Encrypted);
        }
        let form = match block.label {
            "PRIVATE KEY" => Form::Pkcs8,
            "RSA PRIVATE KEY" => Form::Pkcs1,
            "EC PRIVATE KEY" => Form::Sec1,
            other => return Err(KeyError::UnsupportedBlock(other.to_owned())),
        };
        let der = block.decode()?;
        // Some programs write PKCS#8 under the label of the old forms, and the other way round.
        Self::from_der(&der, form).or_else(|error| Self::from_any_der(&der).map_err(|_| error))
    }

    /// Reads an unencrypted PKCS#8 key in DER, as PKCS#12 stores hold it.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] when it is damaged or of another algorithm.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLarge { limit: MAX_KEY_BYTES });
        }
        Self::from_der(der, Form::Pkcs8)
    }

    /// Reads a key in DER, whichever of PKCS#8, PKCS#1 and SEC1 it is. The caller bounds its size.
    pub(super) fn from_any_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_der(der, Form::Pkcs8).or_else(|_| Self::from_der(der, Form::Pkcs1))
    }

    fn from_der(der: &[u8], form: Form) -> Result<Self, KeyError> {
        let pkcs8 = match form {
            Form::Pkcs1 => rsa_pkcs8(RsaKeyPair::from_der(der).ok()),
            Form::Sec1 => ecdsa_pkcs8(der),
            Form::Pkcs8 => {
                ecdsa_pkcs8(der).or_else(|| ed25519_pkcs8(der)).or_else(|| rsa_pkcs8(RsaKeyPair::from_pkcs8(der).ok()))
            }
        };
        Self::from_own_pkcs8(pkcs8.ok_or(KeyError::Unsupported)?)
    }

    fn from_own_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let pair = rcgen::KeyPair::try_from(&der).map_err(|_| KeyError::Unsupported)?;
        let spki = pair.subject_public_key_info();
        let spec = SubjectPublicKeyInfo::from_der(&spki).ok().and_then(|(_, parsed)| KeySpec::of_spki(&parsed));
        Ok(Self { pair, spki, spec: spec.ok_or(KeyError::Unsupported)? })
    }

    /// The key as PKCS#8 in PEM (`-----BEGIN PRIVATE KEY-----`), whatever form it was read from.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pem_blocks::encode("PRIVATE KEY", self.pair.serialized_der())
    }

    /// The key as PKCS#8 in DER.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialized_der().to_vec())
    }

    /// The key in the form that came before PKCS#8: PKCS#1 for RSA, SEC1 (RFC 5915) for ECDSA. Ed25519 has none.
    pub fn to_traditional_pem(&self) -> Option<Zeroizing<String>> {
        let pkcs8 = self.pair.serialized_der();
        match self.spec.algorithm {
            KeyAlgorithm::Rsa => {
                let info = PrivateKeyInfoRef::try_from(pkcs8).ok()?;
                Some(pem_blocks::encode("RSA PRIVATE KEY", info.private_key.as_bytes()))
            }
            KeyAlgorithm::Ecdsa => {
                let pair = EcdsaKeyPair::from_private_key_der(curve(self.spec.size)?, pkcs8).ok()?;
                let sec1: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().ok()?;
                Some(pem_blocks::encode("EC PRIVATE KEY", sec1.as_ref()))
            }
            KeyAlgorithm::Ed25519 => None,
        }
    }

    /// The public key as DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The SHA-256 hash of [`Self::spki_der`], which TLSA records with selector 1 also carry (RFC 6698).
    pub fn spki_sha256(&self) -> Fingerprint {
        Fingerprint::of(&self.spki)
    }

    /// The key's algorithm and size.
    pub fn spec(&self) -> KeySpec {
        self.spec
    }

    /// Whether the key is of the wanted algorithm and size.
    pub fn matches_spec(&self, wanted: &KeySpec) -> bool {
        self.spec.algorithm == wanted.algorithm
            && (wanted.algorithm == KeyAlgorithm::Ed25519 || self.spec.size == wanted.size)
    }

    pub(super) fn pair(&self) -> &rcgen::KeyPair {
        &self.pair
    }
}

enum Form {
    Pkcs8,
    Pkcs1,
    Sec1,
}

fn curve(size: u32) -> Option<&'static EcdsaSigningAlgorithm> {
    match size {
        256 => Some(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
        384 => Some(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
        521 => Some(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
        _ => None,
    }
}

fn ecdsa_pkcs8(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    [256, 384, 521].into_iter().filter_map(curve).find_map(|curve| {
        let pair = EcdsaKeyPair::from_private_key_der(curve, der).ok()?;
        Some(Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec()))
    })
}

fn ed25519_pkcs8(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
    // Version 1, since OpenSSL refuses version 2 (RFC 5958), which carries the public key.
    Some(Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec()))
}

fn rsa_pkcs8(pair: Option<RsaKeyPair>) -> Option<Zeroizing<Vec<u8>>> {
    Some(Zeroizing::new(pair?.as_der().ok()?.as_ref().to_vec()))
}
