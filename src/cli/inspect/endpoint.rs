//! `HOST:PORT` as an endpoint.

use crate::api::endpoint::Protocol;
use crate::cli::Failure;
use crate::probes::Target;

/// The name that the look gives itself: an address literal, since the machine at hand may have no name.
const EHLO: &str = "[127.0.0.1]";

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("smtp", Protocol::SMTP),
    ("submission", Protocol::Submission),
    ("submissions", Protocol::Submissions),
    ("imap", Protocol::IMAP),
    ("imaps", Protocol::IMAPS),
    ("pop3", Protocol::POP3),
    ("pop3s", Protocol::POP3S),
    ("sieve", Protocol::Sieve),
    ("https", Protocol::HTTPS),
    ("lmtp", Protocol::LMTP),
];

/// The protocol of that name, in any case.
pub(super) fn protocol(name: &str) -> Result<Protocol, String> {
    let known = PROTOCOLS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map(|(_, protocol)| *protocol).ok_or_else(|| {
        let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        format!("there is no such protocol; there are {}", names.join(", "))
    })
}

/// The endpoint that a text names; `None` when it is no `HOST:PORT`.
pub(super) fn target(text: &str, wanted: Option<Protocol>) -> Result<Option<Target>, Failure> {
    let Some((host, port)) = text.rsplit_once(':') else { return Ok(None) };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if bare.is_empty() || bare.contains('/') || !is_number {
        return Ok(None);
    }
    let port = port.parse::<u16>().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| format!("{text}: the port is out of range; ports go from 1 to 65535"))?;
    let by_port = PROTOCOLS.iter().map(|(_, protocol)| *protocol).find(|p| p.default_port() == port);
    let protocol = wanted.or(by_port).ok_or_else(|| {
        format!(
            "port {port} is that of no mail protocol; say with --protocol what is spoken there (such as smtp, imaps)"
        )
    })?;
    let host = crate::pki::to_ascii(bare).unwrap_or_else(|_| bare.to_owned());
    Ok(Some(Target { port, ..Target::new(protocol, host, EHLO) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::endpoint::TlsMode;

    #[test]
    fn the_port_says_the_protocol() {
        for (text, wanted) in [
            ("mail.example.com:25", Some((Protocol::SMTP, TlsMode::StartTLS))),
            ("Mail.Example.com:993", Some((Protocol::IMAPS, TlsMode::Implicit))),
            ("[2001:db8::1]:465", Some((Protocol::Submissions, TlsMode::Implicit))),
            ("192.0.2.1:4190", Some((Protocol::Sieve, TlsMode::StartTLS))),
            ("mail.pem", None),
            ("C:\\mail.pem", None),
            ("./a/b:25", None),
            (":25", None),
        ] {
            let found = target(text, None).unwrap().map(|t| (t.protocol, t.tls));
            assert_eq!(found, wanted, "{text}");
        }
        for text in ["localhost:99999", "localhost:0", "[2001:db8::1]:65536"] {
            let error = target(text, None).unwrap_err().to_string();
            assert_eq!(error, format!("{text}: the port is out of range; ports go from 1 to 65535"));
        }
        assert!(target("mail.example.com:2525", None).unwrap_err().to_string().contains("--protocol"));
        let given = target("mail.example.com:2525", Some(Protocol::SMTP)).unwrap().unwrap();
        assert_eq!((given.port, given.protocol), (2525, Protocol::SMTP));
    }

    #[test]
    fn every_protocol_has_a_name() {
        for (name, wanted) in PROTOCOLS {
            assert_eq!(protocol(&name.to_uppercase()), Ok(*wanted));
        }
        assert!(protocol("gopher").unwrap_err().contains("imaps"));
    }
}
