//! SMTP, submission and LMTP up to TLS (RFC 5321, RFC 3207, RFC 2033).

use super::error::{LookError, Printable, Step};
use super::preamble::{Move, Preamble, first_word, is};

/// Banner, EHLO (LHLO), STARTTLS.
pub(super) struct Smtp {
    step: Step,
    hello: String,
    starttls: bool,
}

impl Smtp {
    pub(super) fn new(verb: &str, name: &str) -> Self {
        Self { step: Step::Banner, hello: format!("{verb} {name}"), starttls: false }
    }

    /// The end of a reply with the given code; `line` is its last line.
    fn reply(&mut self, code: u16, line: &[u8]) -> Result<Move, LookError> {
        match (self.step, code) {
            (Step::Banner, 220) => {
                self.step = Step::Capabilities;
                Ok(Move::Send(self.hello.clone().into()))
            }
            (Step::Capabilities, 250) if self.starttls => {
                self.step = Step::StartTls;
                Ok(Move::Send("STARTTLS".into()))
            }
            // A server that does not know EHLO has no extensions (RFC 5321 section 4.1.4).
            (Step::Capabilities, 250 | 500 | 502) => Err(LookError::StartTlsNotSupported),
            (Step::StartTls, 220) => Ok(Move::StartTls),
            (Step::StartTls, _) => Err(LookError::StartTlsRefused(Printable::new(line))),
            _ => Err(LookError::protocol(self.step, line)),
        }
    }
}

impl Preamble for Smtp {
    fn step(&self) -> Step {
        self.step
    }

    fn line(&mut self, line: &[u8]) -> Result<Move, LookError> {
        let (code, last, text) = parse(line).ok_or_else(|| LookError::protocol(self.step, line))?;
        if self.step == Step::Capabilities && code == 250 && is(first_word(text).0, "STARTTLS") {
            self.starttls = true;
        }
        if last { self.reply(code, line) } else { Ok(Move::Read) }
    }

    fn farewell(&self) -> &'static str {
        "QUIT"
    }
}

/// Code, whether it is the last line of the reply, text (RFC 5321 section 4.2.1).
fn parse(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    match rest {
        [] => Some((code, true, rest)),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_lines() {
        assert_eq!(parse(b"220"), Some((220, true, &b""[..])));
        assert_eq!(parse(b"220 mail ESMTP"), Some((220, true, &b"mail ESMTP"[..])));
        assert_eq!(parse(b"250-SIZE"), Some((250, false, &b"SIZE"[..])));
        for line in [&b""[..], b"2", b"22", b"2200", b"+OK", b"\xff\xff\xff ", b"220\t"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_keyword_counts_only_in_the_answer_to_ehlo() {
        let mut smtp = Smtp::new("EHLO", "probe.example.com");
        assert_eq!(smtp.line(b"220-STARTTLS"), Ok(Move::Read));
        assert_eq!(smtp.line(b"220 STARTTLS"), Ok(Move::Send("EHLO probe.example.com".into())));
        assert_eq!(smtp.line(b"250-mail.example.com STARTTLS"), Ok(Move::Read));
        assert_eq!(smtp.line(b"250 STARTTLSX"), Err(LookError::StartTlsNotSupported));
    }
}
