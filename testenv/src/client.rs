//! A mail client's look at a server's certificate: the test environment's own, which shares nothing with the operator.

use crate::error::{Context, Error, Result};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest line that is read, bytes.
const MAX_LINE: usize = 4096;
const MAX_LINES: usize = 64;

/// A client that trusts one CA and wants one name.
#[derive(Clone, Debug)]
pub struct MailClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// What is said before TLS begins: lines up to one that begins so, then what is sent.
type Dialogue = [(&'static str, &'static str)];

/// Nothing for the protocols whose TLS is implicit.
fn dialogue(protocol: &str) -> Option<&'static Dialogue> {
    Some(match protocol {
        "SMTP" | "Submission" => &[("220 ", "EHLO client.example\r\n"), ("250 ", "STARTTLS\r\n"), ("220 ", "")],
        "IMAP" => &[("* OK", "a STARTTLS\r\n"), ("a OK", "")],
        "POP3" => &[("+OK", "STLS\r\n"), ("+OK", "")],
        "Sieve" => &[("OK", "STARTTLS\r\n"), ("OK", "")],
        "Submissions" | "IMAPS" | "POP3S" | "HTTPS" => &[],
        _ => return None,
    })
}

impl MailClient {
    /// A client that trusts the CA certificates in `roots_pem` and asks for `name`.
    pub fn new(roots_pem: &str, name: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
            let root = root.context(|| "the CA certificate".to_owned())?;
            roots.add(root).context(|| "the CA certificate".to_owned())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context(|| "TLS versions".to_owned())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).context(|| format!("the name {name}"))?;
        Ok(Self { config: Arc::new(config), name })
    }

    /// Connects to `address`, speaks `protocol` (a word of MailDomain's endpoints) up to TLS, and checks chain and name.
    /// Returns the SHA-256 of the leaf's DER in lower-case hex.
    pub fn fingerprint(&self, address: SocketAddr, protocol: &str) -> Result<String> {
        let wrap = || format!("{protocol} at {address}");
        let dialogue = dialogue(protocol).ok_or_else(|| Error::new(format!("{protocol} is not spoken here")))?;
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context(wrap)?;
        stream.set_read_timeout(Some(TIMEOUT)).context(wrap)?;
        stream.set_write_timeout(Some(TIMEOUT)).context(wrap)?;
        for (expected, say) in dialogue {
            until(&mut stream, expected).context(wrap)?;
            stream.write_all(say.as_bytes()).context(wrap)?;
        }
        let mut session = ClientConnection::new(self.config.clone(), self.name.clone()).context(wrap)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream).context(wrap)?;
        }
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        let leaf = leaf.ok_or_else(|| Error::new(format!("{}: no certificate", wrap())))?;
        let hash = digest(&SHA256, leaf);
        session.send_close_notify();
        let _ = session.complete_io(&mut stream);
        Ok(hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Reads lines up to one that begins with `expected`.
fn until(stream: &mut TcpStream, expected: &str) -> Result<()> {
    let mut last = Vec::new();
    for _ in 0..MAX_LINES {
        last = line(stream)?;
        if last.starts_with(expected.as_bytes()) {
            return Ok(());
        }
    }
    Err(Error::new(format!("no {expected:?}, at last {:?}", String::from_utf8_lossy(&last))))
}

/// One line. Byte by byte: what follows STARTTLS's answer belongs to TLS.
fn line(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        if line.len() == MAX_LINE {
            return Err(Error::new("a line without end"));
        }
        stream.read_exact(&mut byte).context(|| "reading".to_owned())?;
        line.push(byte[0]);
    }
    Ok(line)
}
