//! ManageSieve up to TLS (RFC 5804 sections 1.2, 1.7 and 2.2).

use super::error::{LookError, Printable, Step};
use super::preamble::{Move, Preamble, is};

/// The capability greeting, STARTTLS.
pub(super) struct Sieve {
    step: Step,
    starttls: bool,
    /// The beginning of a line that goes on after a literal.
    head: Option<Vec<u8>>,
}

impl Sieve {
    pub(super) fn new() -> Self {
        Self { step: Step::Banner, starttls: false, head: None }
    }

    /// A whole line, of which only the first string or word matters.
    fn whole(&mut self, line: &[u8]) -> Result<Move, LookError> {
        // The greeting is the capability list: after its first line the rest of the list is awaited.
        if let (Step::Banner | Step::Capabilities, [b'"', rest @ ..]) = (self.step, line) {
            self.step = Step::Capabilities;
            let name = rest.split(|byte| *byte == b'"').next().unwrap_or_default();
            self.starttls |= is(name, "STARTTLS");
            return Ok(Move::Read);
        }
        let status = line.split(|byte| b" (".contains(byte)).next().unwrap_or_default();
        match self.step {
            Step::Banner | Step::Capabilities if is(status, "OK") && self.starttls => {
                self.step = Step::StartTls;
                Ok(Move::Send("STARTTLS".into()))
            }
            Step::Banner | Step::Capabilities if is(status, "OK") => Err(LookError::StartTlsNotSupported),
            Step::StartTls if is(status, "OK") => Ok(Move::StartTls),
            Step::StartTls if is(status, "NO") => Err(LookError::StartTlsRefused(Printable::new(line))),
            _ => Err(LookError::protocol(self.step, line)),
        }
    }
}

impl Preamble for Sieve {
    fn step(&self) -> Step {
        self.step
    }

    fn line(&mut self, line: &[u8]) -> Result<Move, LookError> {
        let head = self.head.take();
        match literal(line) {
            Some(length) => {
                self.head = Some(head.unwrap_or_else(|| line.to_vec()));
                Ok(Move::ReadLiteral(length))
            }
            None => self.whole(head.as_deref().unwrap_or(line)),
        }
    }

    fn literal(&mut self, bytes: &[u8]) {
        // A capability's name may itself be a literal.
        if let Some(head) = self.head.as_mut()
            && head.starts_with(b"{")
        {
            *head = [b"\"", bytes, b"\""].concat();
        }
    }

    fn farewell(&self) -> &'static str {
        "LOGOUT"
    }
}

/// The length that a line's end announces: `{5}` or `{5+}`.
fn literal(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|byte| *byte == b'{')?;
    let digits = &inner[open + 1..];
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    // No sign and no more digits than fit: `parse` alone would take a plus.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_lengths() {
        assert_eq!(literal(b"\"SIEVE\" {12}"), Some(12));
        assert_eq!(literal(b"{8+}"), Some(8));
        assert_eq!(literal(b"OK {99999999999999999999999}"), Some(usize::MAX));
        for line in [&b"OK"[..], b"{}", b"{+}", b"{-1}", b"\"a {5}\"", b"}", b"{+5}"] {
            assert_eq!(literal(line), None, "{line:?}");
        }
    }
}
