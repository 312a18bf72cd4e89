//! POP3 up to TLS (RFC 1939, RFC 2449, RFC 2595).

use super::error::{LookError, Printable, Step};
use super::preamble::{Move, Preamble, first_word, is};

/// Greeting, CAPA, STLS.
pub(super) struct Pop3 {
    step: Step,
    /// Inside the list that follows `+OK` to CAPA.
    listing: bool,
    /// The server knows CAPA, which is optional (RFC 2449 section 5).
    capa: bool,
    stls: bool,
}

impl Pop3 {
    pub(super) fn new() -> Self {
        Self { step: Step::Banner, listing: false, capa: true, stls: false }
    }

    fn capability(&mut self, line: &[u8]) -> Result<Move, LookError> {
        if line == b"." {
            return if self.stls { Ok(self.ask()) } else { Err(LookError::StartTlsNotSupported) };
        }
        self.stls |= is(first_word(line).0, "STLS");
        Ok(Move::Read)
    }

    fn ask(&mut self) -> Move {
        self.step = Step::StartTls;
        Move::Send("STLS".into())
    }
}

impl Preamble for Pop3 {
    fn step(&self) -> Step {
        self.step
    }

    fn line(&mut self, line: &[u8]) -> Result<Move, LookError> {
        if self.step == Step::Capabilities && self.listing {
            return self.capability(line);
        }
        let status = first_word(line).0;
        match (self.step, is(status, "+OK"), is(status, "-ERR")) {
            (Step::Banner, true, _) => {
                self.step = Step::Capabilities;
                Ok(Move::Send("CAPA".into()))
            }
            (Step::Capabilities, true, _) => {
                self.listing = true;
                Ok(Move::Read)
            }
            (Step::Capabilities, _, true) => {
                self.capa = false;
                Ok(self.ask())
            }
            (Step::StartTls, true, _) => Ok(Move::StartTls),
            (Step::StartTls, _, true) if self.capa => Err(LookError::StartTlsRefused(Printable::new(line))),
            (Step::StartTls, _, true) => Err(LookError::StartTlsNotSupported),
            _ => Err(LookError::protocol(self.step, line)),
        }
    }

    fn farewell(&self) -> &'static str {
        "QUIT"
    }
}
