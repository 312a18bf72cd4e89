//! The HTTP layer of the ACME client: HTTPS only, bounded in time and bytes, no redirects.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::answer::{Answer, judge};
use super::failure::{AcmeFailure, Error, printable};

/// The largest CA bundle that is read, in bytes (the size of the whole Mozilla bundle, rounded up).
const MAX_CA_BUNDLE: usize = 330_000;

/// Bounds of requests and steps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until the TCP connection is there.
    pub connect: Duration,
    /// One request: name resolution, connection, TLS, and the answer to its last byte.
    pub request: Duration,
    /// One step, which may be several requests (nonces, the authorizations of an order).
    pub step: Duration,
    /// The body of one answer, in bytes.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            step: Duration::from_secs(120),
            body: 1 << 20,
        }
    }
}

impl Limits {
    /// Bounds that let the longest pass, which reads a directory and takes two steps, end within `pass`: what a step
    /// brought to light must still be written down, above all the URL of an order.
    pub fn within(pass: Duration) -> Self {
        let default = Self::default();
        Self {
            connect: default.connect.min(pass / 8),
            request: default.request.min(pass / 4),
            step: default.step.min(pass / 3),
            body: default.body,
        }
    }
}

/// Whom to trust as the ACME server.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// The root certificates of Mozilla's list.
    #[default]
    Mozilla,
    /// The certificates of this PEM bundle.
    Bundle {
        /// One or more certificates, in PEM.
        pem: String,
        /// Trust Mozilla's list as well.
        and_mozilla: bool,
    },
}

/// The HTTPS client under every ACME request. Clones share connections.
#[derive(Clone)]
pub struct BoundedHttp {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    limits: Limits,
}

impl BoundedHttp {
    /// A client that trusts `trust`. Fails when the bundle holds no usable certificate.
    pub fn new(trust: &Trust, limits: Limits) -> Result<Self, AcmeFailure> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| AcmeFailure::transient(None, format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots(trust)?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(limits.connect));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(2).build(https);
        Ok(Self { client, limits })
    }

    /// The bounds this client keeps.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A plain GET whose answer is JSON.
    pub(crate) async fn get(&self, url: &str) -> Result<Answer, Error> {
        self.exchange(Method::GET, url, Bytes::new()).await
    }

    /// A request for nothing but the answer's headers.
    pub(crate) async fn head(&self, url: &str) -> Result<Answer, Error> {
        self.exchange(Method::HEAD, url, Bytes::new()).await
    }

    /// Sends a JSON Web Signature (RFC 8555 section 6.2).
    pub(crate) async fn post(&self, url: &str, jws: String) -> Result<Answer, Error> {
        self.exchange(Method::POST, url, jws.into()).await
    }

    async fn exchange(&self, method: Method, url: &str, body: Bytes) -> Result<Answer, Error> {
        // A directory over https may name http.
        let uri = https_url(url)?;
        let host = uri.authority().map(|host| printable(host.as_str(), 255)).unwrap_or_default();
        let mut request = Request::new(Full::new(body));
        *request.uri_mut() = uri;
        let agent = HeaderValue::from_static(concat!("mailcert/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        if method == Method::POST {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jose+json"));
        }
        *request.method_mut() = method.clone();
        let signed = method == Method::POST;
        let sent = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| unreachable_words(&host, &error).unanswered(signed && !error.is_connect()))?;
            let (parts, body) = response.into_parts();
            let body = bounded(body, self.limits.body, &host).await.map_err(|e| e.unanswered(signed))?;
            Ok::<_, AcmeFailure>((parts, body))
        };
        let (parts, body) = tokio::time::timeout(self.limits.request, sent).await.unwrap_or_else(|_| {
            let seconds = self.limits.request.as_secs_f32();
            let words = format!("the ACME server {host} did not answer within {seconds} s");
            Err(AcmeFailure::transient(None, words).unanswered(signed))
        })?;
        judge(&method, parts, body)
    }
}

/// Reads at most `limit` bytes; what is longer is a failure, found before it is held in memory.
async fn bounded(mut body: hyper::body::Incoming, limit: usize, host: &str) -> Result<Bytes, AcmeFailure> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            AcmeFailure::transient(None, format!("the ACME server {host} closed the connection inside its answer"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > limit {
            let words = format!("the ACME server {host} answered with more than {limit} bytes");
            return Err(AcmeFailure::transient(None, words));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// Parses `url` as an absolute https URL of at most 2,048 bytes.
pub(crate) fn https_url(url: &str) -> Result<Uri, AcmeFailure> {
    let parsed = (url.len() <= 2048).then(|| url.parse::<Uri>().ok()).flatten();
    match parsed {
        Some(uri) if uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        Some(uri) if uri.scheme_str() == Some("http") => {
            Err(AcmeFailure::needs_user("an ACME server is reached over https only, and this URL says http"))
        }
        _ => Err(AcmeFailure::needs_user("the ACME server's URL is not a valid https URL")),
    }
}

fn unreachable_words(host: &str, error: &hyper_util::client::legacy::Error) -> AcmeFailure {
    let mut source: &dyn std::error::Error = error;
    let mut dns = false;
    while let Some(inner) = source.source() {
        dns |= inner.to_string().starts_with("dns error");
        source = inner;
    }
    // The innermost errors are the system's, rustls' or hyper's: none of them quotes an answer.
    let reason = match source.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => "connection refused".into(),
        Some(std::io::ErrorKind::TimedOut) => "no connection in time".into(),
        _ if dns => "its name does not resolve".into(),
        _ => tls_reason(error).unwrap_or_else(|| printable(&source.to_string(), 200)),
    };
    AcmeFailure::transient(None, format!("the ACME server {host} cannot be reached: {reason}"))
}

/// rustls hides inside `io::Error`s, whose inner error is not their `source`.
fn tls_reason(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(format!("TLS: {}{}", printable(&tls.to_string(), 200), tls_hint(tls)));
    }
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => tls_reason(inner),
        None => tls_reason(error.source()?),
    }
}

fn tls_hint(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "; either the server's certificate has expired, which its operator must mend, or the clock of this node is \
             ahead: compare it with the true time"
        }
        rustls::Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "; the clock of this node is probably behind: compare it with the true time"
        }
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "; check the host in the issuer's server URL"
        }
        rustls::Error::InvalidCertificate(_) => "; its CA may be missing in the issuer's caBundle",
        _ => "",
    }
}

fn roots(trust: &Trust) -> Result<rustls::RootCertStore, AcmeFailure> {
    let mut roots = rustls::RootCertStore::empty();
    let (pem, and_mozilla) = match trust {
        Trust::Mozilla => ("", true),
        Trust::Bundle { pem, and_mozilla } => (pem.as_str(), *and_mozilla),
    };
    if pem.len() > MAX_CA_BUNDLE {
        return Err(AcmeFailure::needs_user(format!("the issuer's caBundle is larger than {MAX_CA_BUNDLE} bytes")));
    }
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
        added.ok_or_else(|| AcmeFailure::needs_user("the issuer's caBundle holds something that is no certificate"))?;
    }
    if roots.is_empty() && matches!(trust, Trust::Bundle { .. }) {
        return Err(AcmeFailure::needs_user("the issuer's caBundle holds no certificate in PEM"));
    }
    if and_mozilla {
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pass_ends_in_time() {
        for seconds in [1, 10, 60, 600] {
            let pass = Duration::from_secs(seconds);
            let limits = Limits::within(pass);
            assert!(limits.request + 2 * limits.step < pass, "{limits:?}");
        }
    }

    #[test]
    fn urls_must_be_https() {
        assert!(https_url("https://ca.example/dir").is_ok());
        for bad in ["http://ca.example/dir", "ca.example/dir", "/dir", "", "https://", "https://a b/", "::"] {
            assert!(https_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bundle_without_certificates_is_the_users_to_mend() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let trust = Trust::Bundle { pem: pem.into(), and_mozilla: true };
            let failure = BoundedHttp::new(&trust, Limits::default()).err().unwrap();
            assert_eq!(failure.class, super::super::failure::Class::NeedsUser);
            assert!(failure.words.contains("caBundle"), "{failure}");
        }
        assert!(BoundedHttp::new(&Trust::Mozilla, Limits::default()).is_ok());
    }
}
