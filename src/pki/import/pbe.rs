//! Password-based decryption: PBES2 (RFC 8018), and the schemes of PKCS#12 (RFC 7292, appendix C).

use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit, block_padding::Pkcs7};
use der::{
    Decode, Encode,
    asn1::{ObjectIdentifier, OctetStringRef},
};
use des::{TdesEde2, TdesEde3};
use pkcs8::pkcs5::pbes2;
use pkcs8::spki::AlgorithmIdentifierOwned;
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use pkcs12::pbe_params::Pkcs12PbeParams;
use rc2::Rc2;
use sha1::Sha1;
use zeroize::Zeroizing;

use super::{budget::Budget, password::Password, refusal::Refusal};

/// Bytes of a block of DES.
const DES_BLOCK_BYTES: usize = 8;
/// Bytes of the longest key of a cipher.
const MOST_KEY_BYTES: usize = 32;
/// Bytes of a SHA-1 hash.
const SHA1_BYTES: usize = 20;

/// Decrypts `data`.
///
/// # Errors
/// [`Refusal::PasswordWrong`] when the padding is not right; with a wrong password it is right once in 256 times, so
/// that the caller has to look at the content.
pub(super) fn decrypt(
    algorithm: &AlgorithmIdentifierOwned,
    data: &[u8],
    password: Password<'_>,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let parameters = || {
        let any = algorithm.parameters.as_ref().ok_or(Refusal::Damaged("the encryption has no parameters"))?;
        any.to_der().map_err(|_| Refusal::Damaged("the parameters of the encryption cannot be read"))
    };
    if algorithm.oid == pbes2::PBES2_OID {
        return pbes2(&parameters()?, data, password, budget);
    }
    let decrypt = match algorithm.oid {
        pkcs12::PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC => pbes1::<TdesEde3, 24>,
        pkcs12::PKCS_12_PBE_WITH_SHAAND2_KEY_TRIPLE_DES_CBC => pbes1::<TdesEde2, 16>,
        pkcs12::PKCS_12_PBE_WITH_SHAAND128_BIT_RC2_CBC => pbes1::<Rc2, 16>,
        pkcs12::PKCS_12_PBEWITH_SHAAND40_BIT_RC2_CBC => pbes1::<Rc2, 5>,
        other => return Err(Refusal::algorithm(&other)),
    };
    decrypt(&parameters()?, data, password, budget)
}

fn pbes2(
    parameters: &[u8],
    data: &[u8],
    password: Password<'_>,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let found = Pbes2Parameters::from_der(parameters)
        .map_err(|_| Refusal::Damaged("the parameters of the encryption cannot be read"))?;
    // The library takes the first bytes of this one as they come, and panics where there are too few.
    if found.encryption.oid == pbes2::DES_EDE3_CBC_OID && !found.has_iv(DES_BLOCK_BYTES) {
        return Err(Refusal::Damaged("the parameters of the encryption do not fit"));
    }
    let parameters = pbes2::Parameters::from_der(parameters).map_err(|_| found.unsupported())?;
    budget.take_kdf(&parameters.kdf, MOST_KEY_BYTES)?;
    match parameters.decrypt(password.bytes(), data) {
        Ok(plain) => Ok(Zeroizing::new(plain)),
        Err(pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid }) => Err(Refusal::algorithm(&oid)),
        Err(pkcs8::pkcs5::Error::AlgorithmParametersInvalid { .. }) => {
            Err(Refusal::Damaged("the parameters of the encryption do not fit"))
        }
        Err(_) => Err(Refusal::PasswordWrong),
    }
}

/// PBES2-params (RFC 8018, appendix A.4), whatever the algorithms are.
#[derive(der::Sequence)]
struct Pbes2Parameters {
    derivation: AlgorithmIdentifierOwned,
    encryption: AlgorithmIdentifierOwned,
}

impl Pbes2Parameters {
    fn has_iv(&self, bytes: usize) -> bool {
        let iv = self.encryption.parameters.as_ref().and_then(|p| p.decode_as::<&OctetStringRef>().ok());
        iv.is_some_and(|iv| iv.as_bytes().len() == bytes)
    }

    /// What it is in them that the library does not read.
    fn unsupported(&self) -> Refusal {
        const CIPHERS: [ObjectIdentifier; 4] =
            [pbes2::AES_128_CBC_OID, pbes2::AES_192_CBC_OID, pbes2::AES_256_CBC_OID, pbes2::DES_EDE3_CBC_OID];
        if ![pbes2::PBKDF2_OID, pbes2::SCRYPT_OID].contains(&self.derivation.oid) {
            return Refusal::algorithm(&self.derivation.oid);
        }
        if !CIPHERS.contains(&self.encryption.oid) {
            return Refusal::algorithm(&self.encryption.oid);
        }
        Refusal::Unsupported {
            what: "it is encrypted with PBES2 whose key derivation has parameters that are not known here".to_owned(),
            instead: "export it again with PBKDF2 and AES-256 (openssl pkcs8 -topk8 -v2 aes-256-cbc, or openssl pkcs12 -export)",
        }
    }
}

fn pbes1<C, const KEY: usize>(
    parameters: &[u8],
    data: &[u8],
    password: Password<'_>,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Refusal>
where
    C: KeyInit + BlockCipherDecrypt,
{
    const IV: usize = 8;
    let damaged = |_| Refusal::Damaged("the parameters of the encryption do not fit");
    let parameters = Pkcs12PbeParams::from_der(parameters).map_err(damaged)?;
    let rounds = u64::try_from(parameters.iterations).map_err(|_| Refusal::Damaged("its rounds are negative"))?;
    budget.take(rounds, (KEY.div_ceil(SHA1_BYTES) + 1) as u64)?;
    let (password, salt) = (password.utf16(), parameters.salt.as_bytes());
    let derive = |kind, size| Zeroizing::new(derive_key::<Sha1>(&password, salt, kind, parameters.iterations, size));
    let (key, iv) = (derive(Pkcs12KeyType::EncryptionKey, KEY), derive(Pkcs12KeyType::Iv, IV));
    let cipher =
        cbc::Decryptor::<C>::new_from_slices(&key, &iv).map_err(|_| Refusal::Damaged("its key does not fit"))?;
    let plain = cipher.decrypt_padded_vec::<Pkcs7>(data).map_err(|_| Refusal::PasswordWrong)?;
    Ok(Zeroizing::new(plain))
}

/// Whether that is PBES2 or a scheme of PKCS#12 at all, for those who want to know what a file is.
pub(super) fn is_password_based(oid: &ObjectIdentifier) -> bool {
    let oid = oid.to_string();
    oid.starts_with("1.2.840.113549.1.5.") || oid.starts_with("1.2.840.113549.1.12.1.")
}
