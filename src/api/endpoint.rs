//! The endpoints of a mail server: protocol, port and how TLS begins on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An application protocol that mail servers and their clients speak over TLS.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Mail transfer between servers, port 25, STARTTLS (RFC 3207).
    SMTP,
    /// Mail submission, port 587, STARTTLS (RFC 6409).
    Submission,
    /// Mail submission over implicit TLS, port 465 (RFC 8314).
    Submissions,
    /// IMAP, port 143, STARTTLS (RFC 9051).
    IMAP,
    /// IMAP over implicit TLS, port 993 (RFC 8314).
    IMAPS,
    /// POP3, port 110, STLS (RFC 2595).
    POP3,
    /// POP3 over implicit TLS, port 995 (RFC 8314).
    POP3S,
    /// ManageSieve, port 4190, STARTTLS (RFC 5804).
    Sieve,
    /// HTTPS (webmail, autoconfiguration, JMAP), port 443.
    HTTPS,
    /// Local mail transfer, port 24, STARTTLS (RFC 2033).
    LMTP,
}

/// How TLS begins on a connection.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsMode {
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// A plaintext greeting, then an upgrade command: STARTTLS or STLS.
    StartTLS,
}

impl Protocol {
    /// The IANA-registered port.
    pub fn default_port(self) -> u16 {
        match self {
            Self::SMTP => 25,
            Self::Submission => 587,
            Self::Submissions => 465,
            Self::IMAP => 143,
            Self::IMAPS => 993,
            Self::POP3 => 110,
            Self::POP3S => 995,
            Self::Sieve => 4190,
            Self::HTTPS => 443,
            Self::LMTP => 24,
        }
    }

    /// How TLS begins on the registered port.
    pub fn default_tls(self) -> TlsMode {
        match self {
            Self::Submissions | Self::IMAPS | Self::POP3S | Self::HTTPS => TlsMode::Implicit,
            Self::SMTP | Self::Submission | Self::IMAP | Self::POP3 | Self::Sieve | Self::LMTP => TlsMode::StartTLS,
        }
    }
}
