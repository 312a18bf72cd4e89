//! IMAP up to TLS (RFC 9051 sections 6.1.1, 6.2.1 and 7.1).

use super::error::{LookError, Printable, Step};
use super::preamble::{Move, Preamble, first_word, is};

const CAPABILITY_TAG: &str = "a1";
const STARTTLS_TAG: &str = "a2";

/// Greeting, CAPABILITY, STARTTLS.
pub(super) struct Imap {
    step: Step,
    starttls: bool,
}

impl Imap {
    pub(super) fn new() -> Self {
        Self { step: Step::Banner, starttls: false }
    }

    /// An untagged answer: capabilities, a goodbye, or something that servers say at any time.
    fn untagged(&mut self, answer: &[u8], line: &[u8]) -> Result<Move, LookError> {
        let (name, rest) = first_word(answer);
        match self.step {
            // PREAUTH leaves no way to STARTTLS, BYE no way to anything.
            Step::Banner if is(name, "OK") => {
                self.step = Step::Capabilities;
                return Ok(Move::Send(format!("{CAPABILITY_TAG} CAPABILITY").into()));
            }
            Step::Banner => return Err(LookError::protocol(self.step, line)),
            _ if is(name, "BYE") => return Err(LookError::protocol(self.step, line)),
            Step::Capabilities if is(name, "CAPABILITY") => {
                self.starttls |= rest.split(|byte| *byte == b' ').any(|word| is(word, "STARTTLS"));
            }
            _ => {}
        }
        Ok(Move::Read)
    }
}

impl Preamble for Imap {
    fn step(&self) -> Step {
        self.step
    }

    fn line(&mut self, line: &[u8]) -> Result<Move, LookError> {
        let (tag, answer) = first_word(line);
        if tag == b"*" {
            return self.untagged(answer, line);
        }
        let ok = is(first_word(answer).0, "OK");
        match self.step {
            Step::Capabilities if tag == CAPABILITY_TAG.as_bytes() && ok && self.starttls => {
                self.step = Step::StartTls;
                Ok(Move::Send(format!("{STARTTLS_TAG} STARTTLS").into()))
            }
            Step::Capabilities if tag == CAPABILITY_TAG.as_bytes() && ok => Err(LookError::StartTlsNotSupported),
            Step::StartTls if tag == STARTTLS_TAG.as_bytes() && ok => Ok(Move::StartTls),
            Step::StartTls if tag == STARTTLS_TAG.as_bytes() => Err(LookError::StartTlsRefused(Printable::new(answer))),
            _ => Err(LookError::protocol(self.step, line)),
        }
    }

    fn farewell(&self) -> &'static str {
        "a3 LOGOUT"
    }
}
