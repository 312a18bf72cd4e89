//! PKCS#12 stores (RFC 7292): a key with its chain, or certificates to trust.

use std::fmt;

use p12_keystore::{
    Certificate as StoreCertificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm,
    PrivateKey as StoreKey, PrivateKeyChain,
};
use zeroize::Zeroizing;

use super::{cert::Certificate, chain::Chain, key::PrivateKey};

/// The alias of the key, and the first one of the trusted certificates' (`ca`, `ca-2`, …).
const KEY_ALIAS: &str = "certificate";
/// Rounds of the password's derivation, for each store: what OpenSSL and Java write is no more.
pub const ITERATIONS: u32 = 10_000;
/// The longest password, in characters.
pub const MAX_PASSWORD: usize = 256;

/// How a store is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// AES-256-CBC and HMAC-SHA-256 (PBES2).
    Modern2023,
    /// Triple DES and HMAC-SHA-1.
    LegacyDes,
}

/// A password that every reader of PKCS#12 takes. Wiped on drop, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Why a password cannot be used. No message holds any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// A line end after it, as `echo` makes one.
    #[error(
        "it ends with a line end: write it without one (kubectl create secret --from-literal, or printf instead of echo)"
    )]
    LineEnd,
    /// Other characters.
    #[error("it has characters other than letters, digits, punctuation and spaces of ASCII, which Java cannot read")]
    NotAscii,
    /// Too many characters.
    #[error("it is longer than {MAX_PASSWORD} characters")]
    TooLong,
}

impl Password {
    /// Takes a password as it is, of printable ASCII: Java's own tools refuse others, whoever wrote the store.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(bytes: &[u8]) -> Result<Self, PasswordError> {
        match bytes {
            [] => return Err(PasswordError::Empty),
            [.., b'\n' | b'\r'] => return Err(PasswordError::LineEnd),
            _ if bytes.len() > MAX_PASSWORD => return Err(PasswordError::TooLong),
            _ => {}
        }
        let printable = bytes.iter().all(|b| (0x20..0x7f).contains(b));
        let text = std::str::from_utf8(bytes).ok().filter(|_| printable).ok_or(PasswordError::NotAscii)?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The characters.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// The library could not write a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the PKCS#12 store cannot be written: {0}")]
pub struct KeystoreError(String);

/// A store with a key and its chain under the alias `certificate`. Salted: no two are the same.
///
/// # Errors
/// When the library fails.
pub fn keystore(
    key: &PrivateKey,
    chain: &Chain,
    password: &Password,
    profile: Profile,
) -> Result<Vec<u8>, KeystoreError> {
    let stored = StoreKey::from_der(&key.to_pkcs8_der()).map_err(failed)?;
    let certificates = chain.iter().map(certificate).collect::<Result<Vec<_>, _>>()?;
    let mut store = KeyStore::new();
    // Ties the key to its leaf. The fingerprint, so that stores with several keys stay readable.
    let id = chain.leaf().fingerprint.0.to_vec();
    store.add_entry(KEY_ALIAS, KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, stored, certificates)));
    write(&store, password, profile)
}

/// A store with certificates to trust, under the aliases `ca`, `ca-2` and so on. Salted: no two are the same.
///
/// # Errors
/// When the library fails.
pub fn truststore<'a>(
    certificates: impl IntoIterator<Item = &'a Certificate>,
    password: &Password,
    profile: Profile,
) -> Result<Vec<u8>, KeystoreError> {
    let mut store = KeyStore::new();
    for (index, trusted) in certificates.into_iter().enumerate() {
        let alias = if index == 0 { "ca".to_owned() } else { format!("ca-{}", index + 1) };
        store.add_entry(&alias, KeyStoreEntry::Certificate(certificate(trusted)?));
    }
    write(&store, password, profile)
}

fn certificate(of: &Certificate) -> Result<StoreCertificate, KeystoreError> {
    StoreCertificate::from_der(of.der()).map_err(failed)
}

fn write(store: &KeyStore, password: &Password, profile: Profile) -> Result<Vec<u8>, KeystoreError> {
    let (encryption, mac) = match profile {
        Profile::Modern2023 => (EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256),
        Profile::LegacyDes => (EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1),
    };
    let writer = store.writer(password.expose()).encryption_algorithm(encryption).mac_algorithm(mac);
    writer.encryption_iterations(ITERATIONS).mac_iterations(ITERATIONS).write().map_err(failed)
}

fn failed(error: p12_keystore::error::Error) -> KeystoreError {
    KeystoreError(error.to_string())
}
