//! Looks at a challenge the way a CA does, before the CA is asked to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{HOST, LOCATION, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::PATH_PREFIX;
use crate::probes::possession;

/// The largest answer that is read, in bytes; a key authorization is far shorter.
const MAX_BODY: usize = 1024;

/// As many redirects as are followed.
const MAX_REDIRECTS: usize = 5;

/// As many of a name's addresses as are tried.
const MAX_ADDRESSES: usize = 4;

/// Finds the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// How to look.
#[derive(Clone)]
pub struct SelfCheck {
    /// Finds the addresses of a name.
    pub lookup: Lookup,
    /// The port to ask first. A CA asks 80, and so does the default.
    pub port: u16,
    /// Everything together: resolution, every redirect, and the last byte of the answer.
    pub timeout: Duration,
}

impl Default for SelfCheck {
    fn default() -> Self {
        Self { lookup: system_lookup(), port: 80, timeout: Duration::from_secs(10) }
    }
}

/// The system's resolver.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    })
}

/// Why a CA would not find the answer. Its text says what is wrong and where; it never holds what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SelfCheckProblem {
    /// The name has no address, as far as this resolver knows.
    NotResolved { name: String },
    /// Nothing accepts connections there.
    Refused { name: String, port: u16 },
    /// The connection failed in another way.
    Unreachable { name: String, port: u16, reason: String },
    /// No complete answer in time.
    Timeout { name: String, seconds: u64 },
    /// An answer other than 200.
    Status { name: String, port: u16, status: u16 },
    /// A text that is not the key authorization.
    OtherContent { name: String, port: u16 },
    /// A redirect that a CA does not follow.
    Redirect { name: String, reason: &'static str },
}

impl fmt::Display for SelfCheckProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotResolved { name } => write!(f, "{name} does not resolve: it needs an A or AAAA record"),
            Self::Refused { name, port } => {
                write!(f, "connection refused: nothing listens on port {port} of {name}")
            }
            Self::Unreachable { name, port, reason } => write!(f, "port {port} of {name} cannot be reached: {reason}"),
            Self::Timeout { name, seconds } => write!(
                f,
                "timeout: {name} gave no complete answer to http within {seconds} s (a firewall, or a wrong address?)"
            ),
            Self::Status { name, port, status: 404 } => write!(
                f,
                "status 404: what answers on port {port} of {name} does not pass {PATH_PREFIX} on to mailcert"
            ),
            Self::Status { name, port, status } => write!(
                f,
                "status {status} instead of 200 from port {port} of {name}: {PATH_PREFIX} has to reach mailcert"
            ),
            Self::OtherContent { name, port } => {
                write!(f, "something else answers on port {port} of {name}: {PATH_PREFIX} has to reach mailcert")
            }
            Self::Redirect { name, reason } => write!(f, "{name} redirects the challenge {reason}"),
        }
    }
}

impl std::error::Error for SelfCheckProblem {}

struct Target {
    host: String,
    port: u16,
    tls: bool,
    path: String,
}

/// Asks `http://name/.well-known/acme-challenge/token` as a CA would and compares the answer.
///
/// Redirects are followed as Let's Encrypt follows them: a few, to ports 80 and 443 only, and without a look at the
/// certificate of an https target, which may well be the one that is being renewed.
pub async fn self_check(
    name: &str,
    token: &str,
    key_authorization: &str,
    how: &SelfCheck,
) -> Result<(), SelfCheckProblem> {
    let start = Target { host: name.to_string(), port: how.port, tls: false, path: format!("{PATH_PREFIX}{token}") };
    let timeout = SelfCheckProblem::Timeout { name: name.to_string(), seconds: how.timeout.as_secs() };
    tokio::time::timeout(how.timeout, follow(start, key_authorization, how)).await.unwrap_or(Err(timeout))
}

async fn follow(start: Target, wanted: &str, how: &SelfCheck) -> Result<(), SelfCheckProblem> {
    let mut target = start;
    for _ in 0..=MAX_REDIRECTS {
        let response = ask(&target, how).await?;
        if !response.status().is_redirection() {
            return compare(&target, response, wanted).await;
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        target = next(&target, location, how.port)
            .map_err(|reason| SelfCheckProblem::Redirect { name: target.host.clone(), reason })?;
    }
    Err(SelfCheckProblem::Redirect { name: target.host, reason: "more often than a CA follows" })
}

async fn compare(target: &Target, response: Response<Incoming>, wanted: &str) -> Result<(), SelfCheckProblem> {
    let (name, port) = (target.host.clone(), target.port);
    let status = response.status().as_u16();
    if status != 200 {
        return Err(SelfCheckProblem::Status { name, port, status });
    }
    let other = SelfCheckProblem::OtherContent { name, port };
    let mut body = response.into_body();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken(target, &error))?.into_data() else { continue };
        if read.len() + data.len() > MAX_BODY {
            return Err(other);
        }
        read.extend_from_slice(&data);
    }
    // White space at the end does not count (RFC 8555 section 8.3).
    if read.trim_ascii_end() == wanted.as_bytes() { Ok(()) } else { Err(other) }
}

async fn ask(target: &Target, how: &SelfCheck) -> Result<Response<Incoming>, SelfCheckProblem> {
    let tcp = connect(target, how).await?;
    if !target.tls {
        return send(target, tcp).await;
    }
    let unreachable = |reason: &str| SelfCheckProblem::Unreachable {
        name: target.host.clone(),
        port: target.port,
        reason: reason.into(),
    };
    let name = rustls_pki_types::ServerName::try_from(target.host.clone())
        .map_err(|_| unreachable("its name cannot be asked for in TLS"))?;
    // A CA that follows a redirect does not verify the certificate it meets there. Neither may this: it would otherwise
    // fail when the CA does not. Nothing secret is sent, and the answer is compared with what is expected.
    let config = possession::client_config(rustls::ALL_VERSIONS).map_err(|_| unreachable("TLS cannot be set up"))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|_| unreachable("the TLS handshake failed"))?;
    send(target, stream).await
}

/// The addresses of a host that are tried, those first that a CA tries first; none when it does not resolve.
pub(in crate::solvers) async fn addresses(host: &str, lookup: &Lookup) -> Vec<IpAddr> {
    let mut addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => lookup(host.to_owned()).await.unwrap_or_default(),
    };
    // A CA prefers IPv6 and falls back.
    addresses.sort_by_key(|address| !address.is_ipv6());
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

async fn connect(target: &Target, how: &SelfCheck) -> Result<TcpStream, SelfCheckProblem> {
    let addresses = addresses(&target.host, &how.lookup).await;
    let share = how.timeout / 2 / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut problem = SelfCheckProblem::NotResolved { name: target.host.clone() };
    for address in addresses {
        let attempt = TcpStream::connect(SocketAddr::new(address, target.port));
        problem = match tokio::time::timeout(share, attempt).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => broken(target, &error),
            Err(_) => SelfCheckProblem::Timeout { name: target.host.clone(), seconds: how.timeout.as_secs() },
        };
    }
    Err(problem)
}

fn broken(target: &Target, error: &(dyn std::error::Error + 'static)) -> SelfCheckProblem {
    let (name, port) = (target.host.clone(), target.port);
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let reason = match kind {
        Some(io::ErrorKind::ConnectionRefused) => return SelfCheckProblem::Refused { name, port },
        Some(kind) => kind.to_string(),
        None => "its answer is not http, or breaks off".into(),
    };
    SelfCheckProblem::Unreachable { name, port, reason }
}

async fn send<S>(target: &Target, stream: S) -> Result<Response<Incoming>, SelfCheckProblem>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let unreachable = |error: hyper::Error| broken(target, &error);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(16 * 1024)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(unreachable)?;
    // Ends by itself when the sender and the body are dropped.
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::get(target.path.as_str())
        .header(HOST, target.host.as_str())
        .header(USER_AGENT, concat!("mailcert/", env!("CARGO_PKG_VERSION"), " (self check)"))
        .body(Empty::new())
        .map_err(|_| SelfCheckProblem::Redirect { name: target.host.clone(), reason: "to something that is no URL" })?;
    sender.send_request(request).await.map_err(unreachable)
}

fn next(from: &Target, location: &str, first_port: u16) -> Result<Target, &'static str> {
    let uri = (location.len() <= 2000).then(|| location.parse::<Uri>().ok()).flatten();
    let uri = uri.ok_or("to something that is no URL")?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_string();
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        None if location.starts_with('/') && !location.starts_with("//") => {
            return Ok(Target { host: from.host.clone(), port: from.port, tls: from.tls, path });
        }
        _ => return Err("to something other than http or https"),
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    if ![80, 443, first_port].contains(&port) {
        return Err("to a port other than 80 and 443, which no CA follows");
    }
    Ok(Target { host, port, tls, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_go_where_a_ca_goes() {
        let from = Target { host: "a.example".into(), port: 80, tls: false, path: "/x".into() };
        let to =
            |location: &str| next(&from, location, 80).map(|t| format!("{} {} {} {}", t.host, t.port, t.tls, t.path));
        assert_eq!(to("https://B.example/y?z=1").unwrap(), "b.example 443 true /y?z=1");
        assert_eq!(to("http://b.example").unwrap(), "b.example 80 false /");
        assert_eq!(to("/elsewhere").unwrap(), "a.example 80 false /elsewhere");
        for bad in ["http://b.example:8080/", "ftp://b.example/", "//b.example/x", "", "a b"] {
            assert!(to(bad).is_err(), "{bad}");
        }
    }
}
