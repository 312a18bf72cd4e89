//! Why a look saw no certificate, in words that fit a status.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The most characters of foreign text that a message carries.
const PRINTABLE_MAX: usize = 200;

/// Foreign text made fit for a message: printable ASCII, every other byte escaped as `\xNN`, at most 200 characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Printable(String);

impl Printable {
    /// Escapes and cuts `bytes`; the end of line is left out.
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = String::new();
        for &byte in bytes.trim_ascii_end() {
            let shown = match byte {
                b' '..=b'~' => char::from(byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            };
            if text.len() + shown.len() > PRINTABLE_MAX - 3 {
                text.push_str("...");
                break;
            }
            text.push_str(&shown);
        }
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Printable {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// What the client waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The server's first words.
    Banner,
    /// The list of what the server can do.
    Capabilities,
    /// The answer to STARTTLS or STLS.
    StartTls,
    /// The end of the TLS handshake.
    Handshake,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Banner => "banner",
            Self::Capabilities => "capability list",
            Self::StartTls => "answer to STARTTLS",
            Self::Handshake => "completed TLS handshake",
        })
    }
}

/// Why one address did not accept a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nothing listens there, or a firewall rejects.
    Refused,
    /// No route to the host or its network.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// Anything else, in the system's words.
    Other(Printable),
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Other(text) => text.fmt(f),
        }
    }
}

/// Why a look gave no [`Sighting`](super::Sighting).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// The target itself cannot be looked at.
    #[error("the {field} \"{value}\" {problem}")]
    InvalidTarget {
        /// The target's field.
        field: &'static str,
        /// What it holds.
        value: Printable,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The name has no address, or the resolver did not say.
    #[error("cannot resolve {name}: {reason}")]
    ResolveFailed {
        /// The name looked up.
        name: Printable,
        /// The resolver's words.
        reason: Printable,
    },
    /// No address accepted a TCP connection.
    #[error("cannot connect to {}", Attempts(.attempts))]
    ConnectFailed {
        /// The addresses in the order they were tried (at most 4), each with its failure.
        attempts: Vec<(SocketAddr, ConnectFailure)>,
    },
    /// The server did not come to the end of a step in time.
    #[error("no {step} within {}", Span(*.within))]
    Timeout {
        /// What was waited for.
        step: Step,
        /// The time that the whole look had.
        within: Duration,
    },
    /// The connection ended in the plaintext part.
    #[error("the connection ended before the {step}: {reason}")]
    ConnectionLost {
        /// What was waited for.
        step: Step,
        /// How it ended.
        reason: Printable,
    },
    /// The capability list lacks STARTTLS (STLS).
    #[error("the server does not offer STARTTLS; turn TLS on in the server, or set tls: Implicit if the port has it")]
    StartTlsNotSupported,
    /// STARTTLS is offered, and refused when asked for. Servers do that when they cannot load their key.
    #[error("the server offers STARTTLS and refused it: \"{0}\"; see the server's log about its certificate and key")]
    StartTlsRefused(Printable),
    /// Plaintext followed the answer to STARTTLS: a command injected into the session (CVE-2011-0411), or a broken
    /// server.
    #[error("the server sent plaintext after its answer to STARTTLS, before TLS began (as in CVE-2011-0411)")]
    PlaintextAfterStartTls,
    /// The TLS handshake failed, the proof of possession of the key included.
    #[error("the TLS handshake failed: {0}")]
    HandshakeFailed(Printable),
    /// The server said something else than the protocol allows at this step, or turned the client away.
    #[error("unexpected words from the server in place of the {step}: \"{line}\"")]
    ProtocolError {
        /// What was waited for.
        step: Step,
        /// What came.
        line: Printable,
    },
    /// The server said more than a preamble needs.
    #[error("the server sent too much before the end of the {step}: more than {limit} {unit}")]
    TooMuchData {
        /// What was waited for.
        step: Step,
        /// The bound.
        limit: usize,
        /// What it counts.
        unit: &'static str,
    },
}

impl LookError {
    /// One word for statuses and metrics: RFC 8460 section 4.3's result types where one fits, else our own in the same
    /// manner.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ResolveFailed { .. } => "resolution-failed",
            Self::ConnectFailed { .. } | Self::ConnectionLost { .. } => "connection-failed",
            Self::Timeout { .. } => "timeout",
            Self::StartTlsNotSupported => "starttls-not-supported",
            Self::StartTlsRefused(_) => "starttls-refused",
            Self::PlaintextAfterStartTls => "plaintext-after-starttls",
            Self::HandshakeFailed(_) => "handshake-failed",
            Self::InvalidTarget { .. } | Self::ProtocolError { .. } | Self::TooMuchData { .. } => "validation-failure",
        }
    }

    pub(super) fn protocol(step: Step, line: &[u8]) -> Self {
        Self::ProtocolError { step, line: Printable::new(line) }
    }

    pub(super) fn connection_lost(step: Step, error: &std::io::Error) -> Self {
        Self::ConnectionLost { step, reason: Printable::from(error.to_string().as_str()) }
    }
}

struct Attempts<'a>(&'a [(SocketAddr, ConnectFailure)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (address, failure)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {failure}")?;
        }
        Ok(())
    }
}

/// A duration as people write it: `10 s`, `300 ms`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 if self.0.as_secs() > 0 => write!(f, "{} s", self.0.as_secs()),
            _ => write!(f, "{} ms", self.0.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_bounded_and_printable() {
        assert_eq!(Printable::new(b"454 4.7.0 TLS not available\r\n").as_str(), "454 4.7.0 TLS not available");
        assert_eq!(Printable::new(b"\x1b[31m\0\xff").as_str(), "\\x1b[31m\\x00\\xff");
        for filler in [b'a', 0x07, 0xff] {
            let text = Printable::new(&vec![filler; 1 << 20]);
            assert!(text.as_str().len() <= 200 && text.as_str().ends_with("..."), "{text}");
            assert!(text.as_str().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        }
    }

    #[test]
    fn messages_say_what_and_where() {
        let timeout = |step, millis| LookError::Timeout { step, within: Duration::from_millis(millis) }.to_string();
        assert_eq!(timeout(Step::Banner, 10_000), "no banner within 10 s");
        assert_eq!(timeout(Step::StartTls, 300), "no answer to STARTTLS within 300 ms");
        assert_eq!(timeout(Step::Handshake, 1500), "no completed TLS handshake within 1500 ms");
        let attempts = vec![
            ("192.0.2.1:25".parse().unwrap(), ConnectFailure::TimedOut),
            ("[2001:db8::1]:25".parse().unwrap(), ConnectFailure::Refused),
        ];
        let text = LookError::ConnectFailed { attempts }.to_string();
        assert_eq!(text, "cannot connect to 192.0.2.1:25: no answer in time; [2001:db8::1]:25: connection refused");
    }
}
