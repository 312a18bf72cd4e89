//! Whom to ask, and for how long.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::system_conf::read_system_conf;

use super::anchors::Anchors;
use super::answer::shown_text;
use super::failure::DnsFailure;

/// The port of DNS.
pub(super) const PORT: u16 = 53;

/// How [`Dns`](super::Dns) asks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The recursive resolvers, asked in this order until one answers; the system's when empty.
    pub resolvers: Vec<SocketAddr>,
    /// Ask the resolvers also where the authoritative servers would be asked, for networks from which those cannot be
    /// reached.
    pub recursive_only: bool,
    /// How long one server has for one question, over each of UDP and TCP.
    pub timeout: Duration,
    /// How long a whole question has, all servers and steps together.
    pub total: Duration,
    /// Whom DNSSEC begins at.
    pub anchors: Anchors,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            recursive_only: false,
            timeout: Duration::from_secs(5),
            total: Duration::from_secs(30),
            anchors: Anchors::default(),
        }
    }
}

/// Reads a resolver's address: `1.1.1.1`, `1.1.1.1:5353`, `2606:4700::1111` or `[::1]:53`. The port is 53 by default.
pub fn parse_resolver(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = match (text.parse(), bare.parse::<IpAddr>()) {
        (Ok(address), _) => address,
        (_, Ok(ip)) => SocketAddr::new(ip, PORT),
        _ => return Err(format!("\"{}\" is not an IP address, with or without a port", shown_text(text))),
    };
    if address.port() == 0 {
        return Err(format!("\"{text}\" has port 0, where no server can be"));
    }
    Ok(address)
}

pub(super) fn of_the_system() -> Result<Vec<SocketAddr>, DnsFailure> {
    let failed = |why: String| DnsFailure::lasting(format!("the system names no DNS server: {why}"));
    let (config, _) = read_system_conf().map_err(|error| failed(error.to_string()))?;
    let servers: Vec<_> = config.name_servers().iter().map(|server| SocketAddr::new(server.ip, PORT)).collect();
    if servers.is_empty() {
        return Err(failed("/etc/resolv.conf has no nameserver".into()));
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_addresses_with_or_without_a_port() {
        for (text, address) in [
            ("1.1.1.1", "1.1.1.1:53"),
            (" 1.1.1.1:5353 ", "1.1.1.1:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[2606:4700::1111]:853", "[2606:4700::1111]:853"),
        ] {
            assert_eq!(parse_resolver(text).unwrap().to_string(), address);
        }
        for text in ["", "dns.example.com", "1.1.1.1:", "1.1.1.1:0", "1.1.1.1:65536", "[::1", "https://1.1.1.1"] {
            assert!(parse_resolver(text).is_err(), "{text}");
        }
        assert_eq!(parse_resolver("a\u{1b}b").unwrap_err(), "\"a\\x1bb\" is not an IP address, with or without a port");
    }
}
