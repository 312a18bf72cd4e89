//! The integrity check of PKCS#12: the classic MAC (RFC 7292, appendix B) and PBMAC1 (RFC 9579).

use aws_lc_rs::{constant_time, hmac, pbkdf2};
use der::{Decode, Encode, asn1::ObjectIdentifier};
use pkcs8::pkcs5::pbes2::{Kdf, Pbkdf2Prf};
use pkcs8::spki::AlgorithmIdentifierOwned;
use pkcs12::MacData;
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use zeroize::Zeroizing;

use super::super::{budget::Budget, password::Password, refusal::Refusal};

/// `id-PBMAC1`.
const PBMAC1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.14");

/// PBMAC1-params (RFC 8018, appendix A.5).
#[derive(der::Sequence)]
struct Pbmac1Parameters {
    derivation: AlgorithmIdentifierOwned,
    mac: AlgorithmIdentifierOwned,
}

/// Checks that `content` is what the MAC was made of with that password.
///
/// # Errors
/// [`Refusal::PasswordWrong`] when it was not; changed content cannot be told from a wrong password.
pub(super) fn verify(
    mac: &MacData,
    content: &[u8],
    password: Password<'_>,
    budget: &mut Budget,
) -> Result<(), Refusal> {
    let algorithm = &mac.mac.algorithm;
    let expected = mac.mac.digest.as_bytes();
    if algorithm.oid == PBMAC1 {
        return pbmac1(algorithm, expected, content, password, budget);
    }
    let rounds = u64::try_from(mac.iterations).map_err(|_| Refusal::Damaged("its rounds are negative"))?;
    budget.take(rounds, 1)?;
    let (password, salt) = (password.utf16(), mac.mac_salt.as_bytes());
    macro_rules! key {
        ($digest:ty, $bytes:literal) => {
            derive_key::<$digest>(&password, salt, Pkcs12KeyType::Mac, mac.iterations, $bytes)
        };
    }
    let (hash, key) = match algorithm.oid.to_string().as_str() {
        "1.3.14.3.2.26" => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key!(sha1::Sha1, 20)),
        "2.16.840.1.101.3.4.2.4" => (hmac::HMAC_SHA224, key!(sha2::Sha224, 28)),
        "2.16.840.1.101.3.4.2.1" => (hmac::HMAC_SHA256, key!(sha2::Sha256, 32)),
        "2.16.840.1.101.3.4.2.2" => (hmac::HMAC_SHA384, key!(sha2::Sha384, 48)),
        "2.16.840.1.101.3.4.2.3" => (hmac::HMAC_SHA512, key!(sha2::Sha512, 64)),
        other => return Err(unsupported(other)),
    };
    compare(hash, &Zeroizing::new(key), content, expected)
}

fn pbmac1(
    algorithm: &AlgorithmIdentifierOwned,
    expected: &[u8],
    content: &[u8],
    password: Password<'_>,
    budget: &mut Budget,
) -> Result<(), Refusal> {
    let damaged = |_| Refusal::Damaged("the parameters of its integrity check cannot be read");
    let der = algorithm.parameters.to_der().map_err(damaged)?;
    let parameters = Pbmac1Parameters::from_der(&der).map_err(damaged)?;
    let derivation = parameters.derivation.to_der().map_err(damaged)?;
    let kdf = Kdf::from_der(&derivation).map_err(damaged)?;
    let Kdf::Pbkdf2(pbkdf2) = &kdf else { return Err(unsupported("scrypt")) };
    let prf = match pbkdf2.prf {
        Pbkdf2Prf::HmacWithSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Pbkdf2Prf::HmacWithSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Pbkdf2Prf::HmacWithSha384 => pbkdf2::PBKDF2_HMAC_SHA384,
        Pbkdf2Prf::HmacWithSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        _ => return Err(unsupported("HMAC-SHA224")),
    };
    let hash = match parameters.mac.oid.to_string().as_str() {
        "1.2.840.113549.2.9" => hmac::HMAC_SHA256,
        "1.2.840.113549.2.10" => hmac::HMAC_SHA384,
        "1.2.840.113549.2.11" => hmac::HMAC_SHA512,
        other => return Err(unsupported(other)),
    };
    // RFC 9579, section 6: the length of the key must be there. A short one would make the MAC easy to forge.
    let length = usize::from(pbkdf2.key_length.unwrap_or(0));
    if !(20..=64).contains(&length) {
        return Err(Refusal::Damaged(
            "its integrity check (PBMAC1) has no key length, or one that is too short or too long",
        ));
    }
    budget.take_kdf(&kdf, length)?;
    let rounds = std::num::NonZeroU32::new(pbkdf2.iteration_count);
    let rounds = rounds.ok_or(Refusal::Damaged("its integrity check has no rounds"))?;
    let mut key = Zeroizing::new(vec![0; length]);
    pbkdf2::derive(prf, rounds, pbkdf2.salt.as_ref(), password.bytes(), &mut key);
    compare(hash, &key, content, expected)
}

fn compare(hash: hmac::Algorithm, key: &[u8], content: &[u8], expected: &[u8]) -> Result<(), Refusal> {
    let found = hmac::sign(&hmac::Key::new(hash, key), content);
    constant_time::verify_slices_are_equal(found.as_ref(), expected).map_err(|_| Refusal::PasswordWrong)
}

fn unsupported(what: &str) -> Refusal {
    Refusal::Unsupported {
        what: format!("its integrity check uses an algorithm ({what})"),
        instead: "export it again with SHA-256 (openssl pkcs12 -export -macalg sha256)",
    }
}
