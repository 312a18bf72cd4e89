//! Where to look, and how long and how much to listen.

use super::error::{LookError, Printable};
use crate::api::domain::{ProxyProtocol, ServedAlgorithm};
use crate::api::endpoint::{Protocol, TlsMode};
use rustls_pki_types::ServerName;
use std::time::Duration;

/// The longest DNS name in its text form, in bytes (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 253;

/// An endpoint to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The application protocol, which decides on the preamble before TLS and on the farewell.
    pub protocol: Protocol,
    /// How TLS begins.
    pub tls: TlsMode,
    /// The server's name as A-labels, or an IP address: connected to unless `address` is set, and sent as SNI.
    pub host: String,
    /// A DNS name or an IP address to connect to instead of `host`, such as a Service or a pod.
    pub address: Option<String>,
    /// The TCP port.
    pub port: u16,
    /// The name that the client gives itself in EHLO and LHLO: a domain, or an address literal in brackets.
    pub ehlo_name: String,
    /// Whether to send `host` as SNI. `false` shows what a client without SNI is served. An IP address is never sent
    /// (RFC 6066 section 3).
    pub sni: bool,
    /// The only algorithm of keys to take; `None`: any.
    pub algorithm: Option<ServedAlgorithm>,
    /// The PROXY protocol header that the listener expects before everything else.
    pub proxy_protocol: Option<ProxyProtocol>,
}

impl Target {
    /// The endpoint of `protocol` at `host` with the registered port, TLS as that port has it, SNI and no PROXY header.
    pub fn new(protocol: Protocol, host: impl Into<String>, ehlo_name: impl Into<String>) -> Self {
        Self {
            protocol,
            tls: protocol.default_tls(),
            host: host.into(),
            address: None,
            port: protocol.default_port(),
            ehlo_name: ehlo_name.into(),
            sni: true,
            algorithm: None,
            proxy_protocol: None,
        }
    }

    /// The name or address that is connected to, without the brackets of an IPv6 address. The root's dot stays: it
    /// tells the resolver to leave its search domains alone.
    pub(super) fn connect_name(&self) -> &str {
        let name = self.address.as_deref().unwrap_or(&self.host);
        unbracketed(name).unwrap_or(name)
    }

    /// The name for SNI and the handshake.
    pub(super) fn server_name(&self) -> Result<ServerName<'static>, LookError> {
        let name = unbracketed(&self.host).unwrap_or_else(|| self.host.trim_end_matches('.'));
        ServerName::try_from(name.to_owned())
            .map_err(|_| invalid("host", &self.host, "is neither a DNS name in A-labels nor an IP address"))
    }

    /// Refuses what could not be looked at, or what would let a name smuggle a command onto the wire.
    pub(super) fn validate(&self) -> Result<(), LookError> {
        self.server_name()?;
        let name = self.connect_name();
        if name.is_empty() || name.trim_end_matches('.').len() > NAME_MAX {
            return Err(invalid("address", name, "is empty or too long for a DNS name"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if self.ehlo_name.is_empty() || self.ehlo_name.len() > NAME_MAX || !self.ehlo_name.chars().all(plain) {
            return Err(invalid("ehloName", &self.ehlo_name, "is not a domain or an address literal"));
        }
        Ok(())
    }
}

fn unbracketed(name: &str) -> Option<&str> {
    name.strip_prefix('[')?.strip_suffix(']')
}

fn invalid(field: &'static str, value: &str, problem: &'static str) -> LookError {
    LookError::InvalidTarget { field, value: Printable::from(value), problem }
}

/// The bounds of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time for everything up to the end of the TLS handshake.
    pub total: Duration,
    /// Time for the farewell inside TLS, whose outcome does not matter.
    pub farewell: Duration,
    /// Bytes in one line of the preamble, its end included; also the bound of a ManageSieve literal.
    pub line: usize,
    /// Lines in the whole preamble.
    pub lines: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: Duration::from_secs(10), farewell: Duration::from_secs(1), line: 8 * 1024, lines: 100 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_smuggle_a_command_are_refused() {
        let good = Target::new(Protocol::SMTP, "mail.example.com", "probe.example.com");
        assert_eq!(good.validate(), Ok(()));
        let bracketed = Target { host: "[::1]".into(), ehlo_name: "[127.0.0.1]".into(), ..good.clone() };
        assert_eq!(bracketed.validate(), Ok(()));
        for ehlo in ["", "a\r\nMAIL FROM:<x>", "a b", "bücher.example", &"a".repeat(300)] {
            let text = Target { ehlo_name: ehlo.into(), ..good.clone() }.validate().unwrap_err().to_string();
            assert!(text.starts_with("the ehloName \"") && text.len() < 400, "{text}");
        }
        for host in ["", "a b", "bücher.example", "a\r\nb"] {
            let error = Target { host: host.into(), ..good.clone() }.validate().unwrap_err();
            assert_eq!(error.word(), "validation-failure", "{host:?}");
        }
    }

    #[test]
    fn the_address_is_connected_to_and_the_host_is_named() {
        let mut target = Target::new(Protocol::IMAP, "mail.example.com.", "probe.example.com");
        assert_eq!(target.connect_name(), "mail.example.com.");
        target.address = Some("[2001:db8::1]".into());
        assert_eq!(target.connect_name(), "2001:db8::1");
        assert_eq!(target.server_name().unwrap().to_str(), "mail.example.com");
    }
}
