//! The keys that DNSSEC begins at.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hickory_proto::dnssec::{PublicKeyBuf, TrustAnchors, Verifier};
use hickory_proto::serialize::txt::trust_anchor::{Entry, Parser};

use super::answer::shown_text;

/// The most text of anchors that is read, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// The keys that DNSSEC begins at: those of the root, and any of your own.
#[derive(Clone)]
pub struct Anchors(Arc<TrustAnchors>);

impl Anchors {
    /// For the library.
    pub(super) fn shared(&self) -> Arc<TrustAnchors> {
        self.0.clone()
    }
}

impl Default for Anchors {
    /// The keys of the root, as IANA publishes them.
    fn default() -> Self {
        Self(Arc::new(TrustAnchors::default()))
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anchors")
    }
}

impl FromStr for Anchors {
    type Err = String;

    /// Reads DNSKEY records, one a line, as in a zone file (`corp.example. IN DNSKEY 257 3 13 …`). They are trusted
    /// besides those of the root.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("the trust anchors are longer than {MAX_TEXT} bytes"));
        }
        let wrong = |why: String| format!("a trust anchor is not a DNSKEY record of a zone file: {}", shown_text(&why));
        // The last line needs its end.
        let entries = Parser::new(format!("{}\n", text.trim())).parse().map_err(|error| wrong(error.to_string()))?;
        let mut anchors = TrustAnchors::default();
        for entry in entries {
            let Entry::DNSKEY(record) = entry else { continue };
            let key = record.data().key().map_err(|error| wrong(error.to_string()))?;
            let key = PublicKeyBuf::new(key.public_bytes().to_vec(), record.data().algorithm());
            anchors.insert_with_name(&key, record.name().into());
        }
        Ok(Self(Arc::new(anchors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";

    #[test]
    fn anchors_are_lines_of_a_zone_file() {
        let anchors: Anchors =
            format!(" corp.test. 3600 IN DNSKEY 257 3 13 {KEY}\n. IN DNSKEY 257 3 13 {KEY}").parse().unwrap();
        // Besides the two of the root that are compiled in.
        assert_eq!(anchors.shared().len(), 3);
        for wrong in ["corp.test. IN DS 1 13 2 00", "corp.test. IN DNSKEY 257 3", "a\u{1b}", &"x".repeat(70_000)] {
            let error = wrong.parse::<Anchors>().unwrap_err();
            assert!(error.chars().all(|c| (' '..='~').contains(&c)), "{error}");
        }
        assert_eq!("".parse::<Anchors>().unwrap().shared().len(), 2);
    }
}
