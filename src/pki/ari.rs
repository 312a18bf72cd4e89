//! The identifier of a certificate in ACME renewal information (RFC 9773).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::cert::Certificate;

/// The certificate's unique identifier: its authority key identifier and its serial number, each in base64url, with a
/// dot between (RFC 9773 section 4.1). `None` for a certificate without authority key identifier.
pub fn ari_id(certificate: &Certificate) -> Option<String> {
    let authority = bytes(certificate.aki.as_deref()?)?;
    // The content of the DER integer, with its leading zero byte when there is one.
    let serial = bytes(&certificate.serial)?;
    if authority.is_empty() || serial.is_empty() {
        return None;
    }
    Some(format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(authority), BASE64_URL_SAFE_NO_PAD.encode(serial)))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
