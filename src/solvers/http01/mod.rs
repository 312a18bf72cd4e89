//! The http-01 challenge (RFC 8555 section 8.3): a text under a well-known path of the name, on port 80.
//!
//! The operator answers it itself, from every replica ([`responder`]); an Ingress or HTTPRoute brings the CA there
//! ([`exposure`]); and before the CA is asked to look, the operator looks ([`selfcheck`]), because a failed look of
//! the CA counts against its limits.

pub mod exposure;
pub mod responder;
pub mod selfcheck;

/// The path under which a CA asks, up to the token.
pub const PATH_PREFIX: &str = "/.well-known/acme-challenge/";

/// Whether `text` can be a challenge token: base64url characters (RFC 8555 section 8.3), at most 256. Nothing else
/// may become part of a path.
pub fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether `text` can be a key authorization: two base64url texts joined by a dot (RFC 8555 section 8.1).
pub fn is_key_authorization(text: &str) -> bool {
    text.split_once('.').is_some_and(|(token, thumbprint)| is_token(token) && is_token(thumbprint))
}

/// Whether `text` can be a host in a URL and a rule: lower-case letters, digits, hyphens, underscores and dots.
pub fn is_host(text: &str) -> bool {
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_label_byte);
    text.len() <= 253 && text.split('.').all(label)
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base64url_is_a_token() {
        assert!(is_token("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"));
        for bad in ["", "a/b", "..", "a b", "a%2fb", "a\n", "ä", &"a".repeat(257)] {
            assert!(!is_token(bad), "{bad}");
        }
        assert!(is_key_authorization("abc.def"));
        for bad in ["abc", "abc.", ".def", "a.b.c", "a.b\n"] {
            assert!(!is_key_authorization(bad), "{bad}");
        }
    }

    #[test]
    fn only_lower_case_names_are_hosts() {
        assert!(is_host("mail.example.com") && is_host("_x.example"));
        for bad in ["", "a..b", "A.example", "*.example", "a.example:80", "a/b", "a.example.", &"a".repeat(64)] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
