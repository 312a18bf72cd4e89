//! Just enough HTTP to ask the test servers whether they are ready, from inside a network namespace too.

use crate::{
    error::{Context, Error, Result},
    netns::Netns,
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER: u64 = 16 << 20;

/// A client of one server.
pub(crate) struct Client {
    address: SocketAddr,
    netns: Option<Netns>,
    tls: Option<Arc<ClientConfig>>,
    bearer: Option<String>,
}

/// Status code and body.
pub(crate) type Answer = (u16, Vec<u8>);

impl Client {
    /// For plain HTTP at `address`, which is reached from inside `netns` when there is one.
    pub(crate) fn new(address: SocketAddr, netns: Option<Netns>) -> Self {
        Self { address, netns, tls: None, bearer: None }
    }

    /// For HTTPS: the server's certificate must come from `ca_pem` and name the server's IP address.
    pub(crate) fn tls(mut self, ca_pem: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).context(|| "the test CA".to_owned())?;
        roots.add(ca).context(|| "the test CA".to_owned())?;
        // Named, not the process's default: a test binary may have installed none yet.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context(|| "TLS versions".to_owned())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        self.tls = Some(Arc::new(config));
        Ok(self)
    }

    /// Sends this bearer token along.
    pub(crate) fn bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        self.request("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Result<Answer> {
        self.request("POST", path, body)
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let wrap = || format!("{method} {path} at {}", self.address);
        let connect = || TcpStream::connect_timeout(&self.address, TIMEOUT);
        let stream = match &self.netns {
            Some(netns) => netns.run(connect).and_then(|connected| connected),
            None => connect(),
        }
        .context(wrap)?;
        stream.set_read_timeout(Some(TIMEOUT)).context(wrap)?;
        stream.set_write_timeout(Some(TIMEOUT)).context(wrap)?;
        let bearer = self.bearer.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        // 1.0, so that the answer ends with the connection and is never chunked. Pebble wants a user agent (RFC 8555,
        // section 6.1).
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nUser-Agent: testenv\r\n{bearer}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        match &self.tls {
            None => exchange(stream, &request).context(wrap),
            Some(config) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                let session = ClientConnection::new(config.clone(), name).context(wrap)?;
                exchange(StreamOwned::new(session, stream), &request).context(wrap)
            }
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Result<Answer> {
    stream.write_all(request.as_bytes()).context(|| "sending".to_owned())?;
    let mut answer = Vec::new();
    // A server that closes without close_notify has still sent all of its answer: the header's end is checked below.
    let end = stream.take(MAX_ANSWER).read_to_end(&mut answer);
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (Some(head), status) = (head, answer.get(9..12)) else {
        let why = end.err().map_or("it ended early".to_owned(), |error| error.to_string());
        return Err(Error::new(format!("no HTTP answer: {why}")));
    };
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok());
    let status = status.ok_or_else(|| Error::new("no HTTP status"))?;
    Ok((status, answer.split_off(head + 4)))
}
