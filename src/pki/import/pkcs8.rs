//! Encrypted PKCS#8 keys (RFC 5958).

use ::pkcs12::pbe_params::EncryptedPrivateKeyInfo;
use der::Decode;

use super::{Finding, budget::Budget, password::Password, pbe, refusal::Refusal};
use crate::pki::key::PrivateKey;

/// Reads the structure, without opening it.
pub(super) fn encrypted(der: &[u8]) -> Option<EncryptedPrivateKeyInfo> {
    let info = EncryptedPrivateKeyInfo::from_der(der).ok()?;
    pbe::is_password_based(&info.encryption_algorithm.oid).then_some(info)
}

/// Decrypts and reads a key.
///
/// # Errors
/// What decryption refuses; [`Refusal::PasswordWrong`] also when what comes out is no key at all.
pub(super) fn open(
    info: &EncryptedPrivateKeyInfo,
    password: Option<&[u8]>,
    budget: &mut Budget,
) -> Result<PrivateKey, Refusal> {
    let password = password.ok_or(Refusal::PasswordMissing)?;
    let data = info.encrypted_data.as_bytes();
    let plain = pbe::decrypt(&info.encryption_algorithm, data, Password::Given(password), budget)?;
    key(&plain)
}

/// The key in what was decrypted.
pub(super) fn key(plain: &[u8]) -> Result<PrivateKey, Refusal> {
    // With a wrong password the padding is right once in 256 times, and what comes out is noise.
    PrivateKey::from_any_der(plain).map_err(|_| refusal(plain).unwrap_or(Refusal::PasswordWrong))
}

/// Why a key that is not encrypted cannot be used, with its kind, when the structure is that of a key.
pub(super) fn unusable(der: &[u8], about: &str) -> Option<Finding> {
    refusal(der).map(|refusal| refusal.finding(about, ""))
}

fn refusal(der: &[u8]) -> Option<Refusal> {
    let info = ::pkcs8::PrivateKeyInfoRef::try_from(der).ok()?;
    Some(Refusal::KeyUnusable { kind: kind(&info.algorithm) })
}

fn kind(algorithm: &::pkcs8::spki::AlgorithmIdentifierRef<'_>) -> String {
    match algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => "RSA".to_owned(),
        "1.2.840.113549.1.1.10" => "RSASSA-PSS".to_owned(),
        "1.2.840.10045.2.1" => "elliptic curve".to_owned(),
        "1.2.840.10040.4.1" => "DSA".to_owned(),
        "1.3.101.110" => "X25519".to_owned(),
        "1.3.101.112" => "Ed25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        other => other.to_owned(),
    }
}
