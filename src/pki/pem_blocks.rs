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
        match pem::parse(self.text) {
            Ok(block) if !block.contents().is_empty() => Ok(Zeroizing::new(block.into_contents())),
            _ => Err(PemError::Base64 { block: self.number, line: self.line, label: self.label.to_owned() }),
        }
    }
}

/// Cuts `input` into its PEM blocks; text before, between and after them is skipped.
pub(crate) fn blocks(input: &[u8]) -> Result<Vec<Block<'_>>, PemError> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize, &str)> = None;
    let mut start = 0;
    for (index, line) in input.split(|b| *b == b'\n').enumerate() {
        let begins = start;
        start += line.len() + 1;
        let Some((kind, label)) = marker(line) else { continue };
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
    let line = line.trim_ascii();
    let rest = line.strip_prefix(b"-----")?.strip_suffix(b"-----")?;
    let (marker, label) = match rest.strip_prefix(b"BEGIN ") {
        Some(label) => (Marker::Begin, label),
        None => (Marker::End, rest.strip_prefix(b"END ")?),
    };
    let fits = label.len() <= 64
        && label.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b' ')
        && !label.is_empty();
    Some((marker, std::str::from_utf8(label).ok().filter(|_| fits)?))
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
