//! Passwords in the forms that the key derivations take.

use zeroize::Zeroizing;

/// A password to try. PKCS#12 tells no password from an empty one; both are met where there is none.
#[derive(Clone, Copy)]
pub(super) enum Password<'a> {
    /// None at all.
    Null,
    /// Maybe empty.
    Given(&'a [u8]),
}

impl Password<'_> {
    /// As PBES2 takes it: the bytes as they are.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Null => &[],
            Self::Given(bytes) => bytes,
        }
    }

    /// As the key derivation of PKCS#12 takes it: UTF-16 in network order with two zero bytes behind it (RFC 7292,
    /// appendix B.1). Bytes that are no UTF-8 are read as Latin-1, as OpenSSL does.
    pub fn utf16(&self) -> Zeroizing<Vec<u8>> {
        let Self::Given(bytes) = self else { return Zeroizing::new(Vec::new()) };
        let mut out = Zeroizing::new(Vec::with_capacity(2 * bytes.len() + 2));
        match std::str::from_utf8(bytes) {
            Ok(text) => text.encode_utf16().for_each(|unit| out.extend(unit.to_be_bytes())),
            Err(_) => bytes.iter().for_each(|byte| out.extend([0, *byte])),
        }
        out.extend([0, 0]);
        out
    }
}

/// What messages add when the password looks as if something got into it by mistake.
pub(super) fn hint(password: Option<&[u8]>) -> &'static str {
    match password {
        Some([.., b'\n']) => " (the one that was given ends with a line break, which is most likely not part of it)",
        Some([]) => " (the one that was given is empty)",
        _ => "",
    }
}
