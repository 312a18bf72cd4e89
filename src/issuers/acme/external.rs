//! The account that a customer has at a CA already, to which an ACME account is bound (RFC 8555 section 7.3.4).

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::failure::AcmeFailure;

/// The shortest and the longest MAC key, in bytes. RFC 7518 section 3.2 wants as many as the hash has, which some CAs
/// fall short of.
const MAC_KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=512;

/// How a binding is signed (RFC 7518 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacAlgorithm {
    /// HMAC with SHA-256, what nearly every CA wants.
    #[default]
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

impl MacAlgorithm {
    /// `HS256`, `HS384` or `HS512`.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Hs256, Self::Hs384, Self::Hs512].into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    pub(crate) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
        }
    }
}

/// What the CA gave to the customer. The MAC key is wiped on drop and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    pub(crate) key_id: String,
    pub(crate) algorithm: MacAlgorithm,
    mac_key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalAccount({:?}, {})", self.key_id, self.algorithm.name())
    }
}

impl ExternalAccount {
    /// `mac_key` is the key in base64url as CAs hand it out; padding, the characters of plain base64 and white space
    /// around it are accepted.
    ///
    /// # Errors
    /// When the key identifier is empty or longer than 512 printable ASCII characters, or the key is no base64 of 16
    /// to 512 bytes. The words never quote the key.
    pub fn new(key_id: &str, mac_key: &[u8], algorithm: MacAlgorithm) -> Result<Self, AcmeFailure> {
        let printable = key_id.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if key_id.is_empty() || key_id.len() > 512 || !printable {
            return Err(AcmeFailure::needs_user(
                "the key ID of the external account binding must have 1 to 512 printable ASCII characters",
            ));
        }
        let mac_key = decoded(mac_key).filter(|key| MAC_KEY_BYTES.contains(&key.len())).ok_or_else(|| {
            AcmeFailure::needs_user(
                "the HMAC key of the external account binding is not base64url of 16 to 512 bytes; store it as the CA \
                 shows it, without encoding it again",
            )
        })?;
        Ok(Self { key_id: key_id.to_owned(), algorithm, mac_key })
    }

    pub(crate) fn mac_key(&self) -> &[u8] {
        &self.mac_key
    }
}

fn decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() > 4 * MAC_KEY_BYTES.end() {
        return None;
    }
    let text = text.trim_ascii();
    let unpadded = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let to_url = |b: &u8| match b {
        b'+' => b'-',
        b'/' => b'_',
        other => *other,
    };
    let url: Zeroizing<Vec<u8>> = Zeroizing::new(unpadded.iter().map(to_url).collect());
    BASE64_URL_SAFE_NO_PAD.decode(url.as_slice()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

    #[test]
    fn keys_are_read_as_people_paste_them() {
        let expected = ExternalAccount::new("kid-1", KEY, MacAlgorithm::Hs256).unwrap();
        let with_newline = [KEY, b"\n"].concat();
        assert_eq!(ExternalAccount::new("kid-1", &with_newline, MacAlgorithm::Hs256).unwrap(), expected);
        let plain = ExternalAccount::new("k", b"+/+/+/+/+/+/+/+/+/+/+w==", MacAlgorithm::Hs256).unwrap();
        let url = ExternalAccount::new("k", b"-_-_-_-_-_-_-_-_-_-_-w", MacAlgorithm::Hs256).unwrap();
        assert_eq!(plain, url);
    }

    #[test]
    fn bad_ones_are_refused_without_being_quoted() {
        let long = "A".repeat(5000);
        for key in ["", "c2hvcnQ", "no base64 at all, s3cret!", long.as_str()] {
            let failure = ExternalAccount::new("kid", key.as_bytes(), MacAlgorithm::Hs256).unwrap_err();
            assert!(failure.words.contains("HMAC key") && !failure.words.contains("s3cret"), "{failure}");
        }
        for id in ["", "a\nb", &"x".repeat(513)] {
            assert!(ExternalAccount::new(id, KEY, MacAlgorithm::Hs256).unwrap_err().words.contains("key ID"));
        }
        let account = ExternalAccount::new("kid-1", KEY, MacAlgorithm::Hs384).unwrap();
        assert_eq!(format!("{account:?}"), "ExternalAccount(\"kid-1\", HS384)");
        assert_eq!(MacAlgorithm::parse("HS512"), Some(MacAlgorithm::Hs512));
        assert_eq!(MacAlgorithm::parse("RS256"), None);
    }
}
