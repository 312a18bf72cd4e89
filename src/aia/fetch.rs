//! One certificate over http.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{HOST, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Reach;
use crate::pki::import::Limits;
use crate::pki::{Certificate, Chain, PemLimits};

/// As many of a name's addresses as are tried.
const MAX_ADDRESSES: usize = 4;

/// Finds the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Fetches issuers.
#[derive(Clone)]
pub struct Fetcher {
    /// Which addresses may be asked.
    pub reach: Reach,
    /// Finds the addresses of a name.
    pub lookup: Lookup,
    /// For one URL with everything: resolution, connection, answer.
    pub timeout: Duration,
}

impl Default for Fetcher {
    fn default() -> Self {
        let lookup: Lookup = Arc::new(|name| {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|a| a.ip()).collect()) })
        });
        Self { reach: Reach::Public, lookup, timeout: Duration::from_secs(10) }
    }
}

/// Why an issuer was not fetched. No text holds anything of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum FetchError {
    #[error("there is no address to fetch it from")]
    NoUrl,
    #[error("its address is not a plain http URL on port 80")]
    Url,
    #[error("the name {0} does not resolve")]
    NotResolved(String),
    #[error("{0} leads to an address inside this network, which is never asked")]
    Inside(String),
    #[error("{0} does not accept a connection")]
    Unreachable(String),
    #[error("{0} gave no complete answer within {1} s")]
    Timeout(String, u64),
    #[error("the answer of {0} is not http, or breaks off")]
    Http(String),
    #[error("{0} answers with status {1} instead of 200; redirects are not followed")]
    Status(String, u16),
    #[error("the answer of {0} is larger than {1} bytes")]
    TooLarge(String, usize),
    #[error("the answer of {0} is no certificate in DER or PEM")]
    NoCertificate(String),
    #[error("what is there, {0}, is not the issuer")]
    OtherCertificate(String),
}

impl Fetcher {
    /// The certificate at the first of the URLs that has one.
    ///
    /// # Errors
    /// That of the last URL.
    pub async fn fetch(&self, urls: &[String]) -> Result<Certificate, FetchError> {
        let mut last = FetchError::NoUrl;
        for url in urls {
            match self.one(url).await {
                Ok(certificate) => return Ok(certificate),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn one(&self, url: &str) -> Result<Certificate, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or(FetchError::Url)?.to_owned();
        let late = FetchError::Timeout(host.clone(), self.timeout.as_secs());
        tokio::time::timeout(self.timeout, self.ask(&uri, host)).await.unwrap_or(Err(late))
    }

    async fn ask(&self, uri: &Uri, host: String) -> Result<Certificate, FetchError> {
        let stream = self.connect(uri, &host).await?;
        let response = send(uri, &host, stream).await.map_err(|_| FetchError::Http(host.clone()))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(FetchError::Status(host, status));
        }
        let limit = Limits::default().certificate;
        let mut body = response.into_body();
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| FetchError::Http(host.clone()))?.into_data() else { continue };
            if read.len() + data.len() > limit {
                return Err(FetchError::TooLarge(host, limit));
            }
            read.extend_from_slice(&data);
        }
        let pem = || Chain::from_pem(&read, &PemLimits::CHAIN).ok().map(|chain| chain.leaf().clone());
        Certificate::parse_der(&read).ok().or_else(pem).ok_or(FetchError::NoCertificate(host))
    }

    /// To an address that was looked at. One that must not be asked spoils the name: it is a trap, or a mistake.
    async fn connect(&self, uri: &Uri, host: &str) -> Result<TcpStream, FetchError> {
        let port = uri.port_u16().unwrap_or(80);
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let mut found = match literal {
            Ok(address) => vec![address],
            Err(_) => (self.lookup)(host.to_owned()).await.unwrap_or_default(),
        };
        found.truncate(MAX_ADDRESSES);
        if found.is_empty() {
            return Err(FetchError::NotResolved(host.to_owned()));
        }
        if port != 80 && self.reach == Reach::Public {
            return Err(FetchError::Url);
        }
        let allowed: Option<Vec<SocketAddr>> = found.iter().map(|a| self.reach.allows(*a, port)).collect();
        let allowed = allowed.ok_or_else(|| FetchError::Inside(host.to_owned()))?;
        let share = self.timeout / 2 / u32::try_from(allowed.len().max(1)).unwrap_or(1);
        for address in allowed {
            if let Ok(Ok(stream)) = tokio::time::timeout(share, TcpStream::connect(address)).await {
                return Ok(stream);
            }
        }
        Err(FetchError::Unreachable(host.to_owned()))
    }
}

async fn send(uri: &Uri, host: &str, stream: TcpStream) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(16 * 1024)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await?;
    // Ends by itself when the sender and the body are dropped.
    tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.path_and_query().map_or(Uri::from_static("/"), |path| path.clone().into());
    let headers = request.headers_mut();
    if let Ok(host) = host.parse() {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, http::HeaderValue::from_static(concat!("mailcert/", env!("CARGO_PKG_VERSION"))));
    sender.send_request(request).await
}
