//! PEM blocks in linear time, with errors that name the block.
//!
//! Decoders that look for a matching END line from every BEGIN line take quadratic time on hostile input.
//! So one pass over the lines cuts out the blocks, and only then is each block decoded, by the `pem` crate.

use zeroize::Zeroizing;

/// Why PEM text cannot be read. Blocks and lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A BEGIN line without its END line.
    #[error("PEM block {block} ({label}, line {line}) has no matching END line; the text was cut off or mixed up")]
    Unterminated {
        /// The number of the block.
        block: usize,
        /// The line of its BEGIN.
        line: usize,
        /// Its label, such as CERTIFICATE.
        label: String,
    },
    /// An END and a BEGIN in one line, as where files were joined of which one lacks its last line break.
    #[error("line {line} has two markers; put a line break between -----END {label}----- and what follows it")]
    Joined {
        /// The line.
        line: usize,
        /// The label of the END.
        label: String,
    },
    /// The text between BEGIN and END is no base64.
    #[error("PEM block {block} ({label}, line {line}) is not valid base64")]
    Base64 {
        /// The number of the block.
        block: usize,
        /// The line of its BEGIN.
        line: usize,
        /// Its label.
        label: String,
    },
}

/// One block between a BEGIN and an END line, not decoded yet.
pub(crate) struct Block<'a> {
    /// Counted from 1.
    pub number: usize,
    pub line: usize,
    pub label: &'a str,
    text: &'a [u8],
}

impl Block<'_> {
    /// Whether the header of RFC 1421 says that the content is encrypted, as OpenSSL's traditional format does.
    pub fn has_encryption_header(&self) -> bool {
        const HEADER: &[u8] = b"Proc-Type: 4,ENCRYPTED";
        self.text.windows(HEADER.len()).any(|w| w == HEADER)
    }

    /// Bytes of the block with its BEGIN and END lines.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// The DER inside. It is wiped on drop, as it may be a private key.
    pub fn decode(&self) -> Result<Zeroizing<Vec<u8>>, PemError> {
        // The crate knows line breaks with a line feed only.
        let unix: Option<Zeroizing<Vec<u8>>> = (line_end(self.text) == b'\r')
            .then(|| Zeroizing::new(self.text.iter().map(|b| if *b == b'\r' { b'\n' } else { *b }).collect()));
        match pem::parse(unix.as_deref().map_or(self.text, Vec::as_slice)) {
            Ok(block) if !block.contents().is_empty() => Ok(Zeroizing::new(block.into_contents())),
            _ => Err(PemError::Base64 { block: self.number, line: self.line, label: self.label.to_owned() }),
        }
    }
}

/// Text of old Macs, and of programs that remove line feeds, has carriage returns alone.
fn line_end(input: &[u8]) -> u8 {
    if input.contains(&b'\r') && !input.contains(&b'\n') { b'\r' } else { b'\n' }
}

/// A line without the white space around it, and without the byte order mark that is in the middle where Windows' files
/// were joined.
fn bare(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii();
    line.strip_prefix(b"\xef\xbb\xbf").map_or(line, <[u8]>::trim_ascii_start)
}

/// Whether a line of the input begins a PEM block.
pub(crate) fn has_begin_line(input: &[u8]) -> bool {
    let end = line_end(input);
    input.split(|b| *b == end).any(|line| bare(line).starts_with(b"-----BEGIN "))
}

/// Cuts `input` into its PEM blocks; text before, between and after them is skipped.
pub(crate) fn blocks(input: &[u8]) -> Result<Vec<Block<'_>>, PemError> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize, &str)> = None;
    let mut start = 0;
    let end = line_end(input);
    for (index, line) in input.split(|b| *b == end).enumerate() {
        let begins = start;
        start += line.len() + 1;
        let Some((kind, label)) = marker(line) else {
            match open.and_then(|(_, _, label)| joined(line, label)) {
                Some(label) => return Err(PemError::Joined { line: index + 1, label: label.to_owned() }),
                None => continue,
            }
        };
        let unterminated = |(_, line, label): (usize, usize, &str), block| {
            Err(PemError::Unterminated { block, line, label: label.to_owned() })
        };
        match (kind, open.take()) {
            (Marker::Begin, None) => open = Some((begins, index + 1, label)),
            (Marker::End, Some((from, line_number, opened))) if opened == label => found.push(Block {
                number: found.len() + 1,
                line: line_number,
                label,
                text: &input[from..begins + line.len()],
            }),
            (_, Some(block)) => return unterminated(block, found.len() + 1),
            // An END line without its BEGIN is text around the blocks.
            (Marker::End, None) => {}
        }
    }
    match open {
        Some((_, line, label)) => Err(PemError::Unterminated { block: found.len() + 1, line, label: label.to_owned() }),
        None => Ok(found),
    }
}

enum Marker {
    Begin,
    End,
}

/// The marker that a whole line is, with its label of at most 64 capital letters, digits and spaces.
fn marker(line: &[u8]) -> Option<(Marker, &str)> {
    let rest = bare(line).strip_prefix(b"-----")?.strip_suffix(b"-----")?;
    let (marker, label) = match rest.strip_prefix(b"BEGIN ") {
        Some(label) => (Marker::Begin, label),
        None => (Marker::End, rest.strip_prefix(b"END ")?),
    };
    let fits = label.len() <= 64
        && label.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b' ')
        && !label.is_empty();
    Some((marker, std::str::from_utf8(label).ok().filter(|_| fits)?))
}

/// The label, when the line begins with its END and has another marker behind that.
fn joined<'l>(line: &[u8], label: &'l str) -> Option<&'l str> {
    let behind = bare(line).strip_prefix(b"-----END ")?.strip_prefix(label.as_bytes())?.strip_prefix(b"-----")?;
    (behind.starts_with(b"-----BEGIN ") || behind.trim_ascii_start().starts_with(b"-----BEGIN ")).then_some(label)
}

/// One PEM block with lines of 64 characters and a final newline (RFC 7468, strict form).
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let block = pem::Pem::new(label, der);
    let text = Zeroizing::new(pem::encode_config(&block, config));
    let _wiped = Zeroizing::new(block.into_contents());
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_around_blocks_is_skipped() {
        let block = encode("CERTIFICATE", b"hello");
        let text = format!("subject=x\r\n{}\nissuer \u{e9}\n  {}tail", block.replace('\n', "\r\n"), *block);
        let found = blocks(text.as_bytes()).unwrap();
        let seen: Vec<_> = found.iter().map(|b| (b.number, b.line, b.label, b.decode().unwrap().to_vec())).collect();
        assert_eq!(seen, [(1, 2, "CERTIFICATE", b"hello".to_vec()), (2, 7, "CERTIFICATE", b"hello".to_vec())]);
    }

    #[test]
    fn errors_name_the_block() {
        let cut = "-----BEGIN A-----\nAAAA\n-----END A-----\n-----BEGIN CERTIFICATE-----\nAAAA\n";
        for (text, wanted) in [
            (
                cut.to_owned(),
                "PEM block 2 (CERTIFICATE, line 4) has no matching END line; the text was cut off or mixed up",
            ),
            (
                "-----BEGIN A-----\n-----BEGIN B-----\n".to_owned(),
                "PEM block 1 (A, line 1) has no matching END line; the text was cut off or mixed up",
            ),
            (
                "-----BEGIN A-----\nAAAA\n-----END A----------BEGIN B-----\nAAAA\n-----END B-----\n".to_owned(),
                "line 3 has two markers; put a line break between -----END A----- and what follows it",
            ),
            (
                "-----BEGIN A-----\nAAAA\n-----END B-----\n".to_owned(),
                "PEM block 1 (A, line 1) has no matching END line; the text was cut off or mixed up",
            ),
        ] {
            assert_eq!(blocks(text.as_bytes()).err().unwrap().to_string(), wanted);
        }
        let bad = blocks(b"-----BEGIN A-----\n????\n-----END A-----").unwrap();
        assert_eq!(bad[0].decode().unwrap_err().to_string(), "PEM block 1 (A, line 1) is not valid base64");
    }

    #[test]
    fn marks_and_line_ends_of_other_systems() {
        let block = encode("CERTIFICATE", &[7; 100]);
        let joined = format!("{}\u{feff}{}", *block, *block);
        let mac = block.repeat(2).replace('\n', "\r");
        for text in [joined, mac] {
            assert!(has_begin_line(text.as_bytes()));
            let found = blocks(text.as_bytes()).unwrap();
            let seen: Vec<_> = found.iter().map(|b| (b.number, b.line, b.decode().unwrap().to_vec())).collect();
            assert_eq!(seen, [(1, 1, vec![7; 100]), (2, 6, vec![7; 100])], "{text:?}");
        }
        assert!(!has_begin_line(b"say -----BEGIN A-----"));
    }

    #[test]
    fn many_begin_lines_end_at_once() {
        let text = "-----BEGIN A-----\n".repeat(50_000);
        assert!(blocks(text.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), mix in any::<bool>()) {
            let mut input = bytes.clone();
            if mix {
                input = [b"-----BEGIN CERTIFICATE-----\n".as_slice(), &bytes, b"\n-----END CERTIFICATE-----"].concat();
            }
            for block in blocks(&input).unwrap_or_default() {
                let _ = block.decode();
            }
        }

        #[test]
        fn what_is_encoded_is_read_back(der in proptest::collection::vec(any::<u8>(), 1..300)) {
            let text = encode("X", &der);
            prop_assert!(text.ends_with("-----\n"));
            let found = blocks(text.as_bytes()).unwrap();
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(&*found[0].decode().unwrap(), &der);
        }
    }
}
