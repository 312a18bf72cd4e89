//! What people do to files by mistake: what cannot be read is told with what most likely happened to it.

/// What most likely happened to a file that is not what it should be, and what to do.
pub(super) fn hint(bytes: &[u8]) -> Option<&'static str> {
    const EMPTY: &str = "it is empty; give the file with the certificate or the key";
    const UTF16: &str = "it is text in UTF-16, as Windows' Notepad and PowerShell write it; save it as UTF-8 or ASCII";
    const CHARACTERS: &str =
        "its line breaks are the two characters \\n, as in a JSON string; put line breaks in their place";
    const ONE_LINE: &str = "its line breaks are missing: each -----BEGIN …----- and each -----END …----- takes a line of its own, so put a \
                            line break behind the one and before the other";
    const PEM_TWICE: &str = "it is base64 of a PEM file, as a value that was encoded twice; decode it (base64 -d), or put the text under \
                             stringData of the Secret";
    const DER: &str = "it is base64 without -----BEGIN …----- and -----END …----- around it, as a value that was encoded twice; decode it \
                       (base64 -d), or copy the file with these lines";
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Some(EMPTY);
    }
    // Every other byte of ASCII in UTF-16 is zero.
    let zeros = |first: usize| bytes.len() > 16 && bytes.iter().skip(first).step_by(2).take(32).all(|b| *b == 0);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || zeros(0) != zeros(1) {
        return Some(UTF16);
    }
    if contains(text, b"-----BEGIN ") {
        return Some(if contains(text, br"\n") { CHARACTERS } else { ONE_LINE });
    }
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b) || b.is_ascii_whitespace();
    if text.len() < 64 || !text.iter().all(is_base64) {
        return None;
    }
    match text {
        // "-----BEGIN", and the first bytes of a SEQUENCE.
        [b'L', b'S', b'0', b't', b'L', b'S', ..] => Some(PEM_TWICE),
        [b'M', b'I', ..] => Some(DER),
        _ => None,
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}
