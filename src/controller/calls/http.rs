//! HTTP calls to whom a MailCertificate names: bounded in time and bytes, no redirects, never to this machine itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::subject;
use crate::api::MailCertificate;
use crate::api::certificate::activation::{HttpCall, HttpMethod};
use crate::controller::context::Context;
use crate::controller::pass::PassError;
use crate::decide::certificate::world::{Purpose, Told};

/// Everything together: name resolution, connection, TLS, and the answer to its last byte.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Whether calls may go to the operator's own machine: where it does not run in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// Never: what listens there trusts the operator's pod.
    Refused,
    /// For development.
    Allowed,
}

/// Makes the call. An inner error says why it did not succeed; what was answered is never in it.
pub async fn call(
    context: &Context,
    object: &MailCertificate,
    purpose: Purpose,
    call: &HttpCall,
    told: &Told,
) -> Result<Result<(), String>, PassError> {
    let authorization = match authorization(context, object, call).await? {
        Ok(value) => value,
        Err(why) => return Ok(Err(why)),
    };
    let method = match call.method {
        Some(HttpMethod::GET) => Method::GET,
        Some(HttpMethod::POST) => Method::POST,
        Some(HttpMethod::PUT) => Method::PUT,
        None if purpose == Purpose::Publish => Method::POST,
        None => Method::GET,
    };
    let body = if method == Method::GET { Vec::new() } else { subject::json(object, told).to_string().into_bytes() };
    let asked = Asked {
        url: subject::fill(&call.url, object, told),
        method,
        authorization,
        body,
        expected: call.expect_body.as_ref().map(|text| subject::fill(text, object, told)),
        ca_bundle: call.ca_bundle.as_deref(),
        loopback: context.loopback,
    };
    let host = asked.url.parse::<Uri>().ok().and_then(|u| u.authority().map(ToString::to_string)).unwrap_or_default();
    let words = |why: String| format!("the call to {host} failed: {why}");
    let timed_out = || Err(format!("no answer within {} s", TIMEOUT.as_secs()));
    Ok(tokio::time::timeout(TIMEOUT, asked.exchange()).await.unwrap_or_else(|_| timed_out()).map_err(words))
}

/// The Authorization header's value, from its Secret.
async fn authorization(
    context: &Context,
    object: &MailCertificate,
    call: &HttpCall,
) -> Result<Result<Option<HeaderValue>, String>, PassError> {
    let Some(at) = &call.authorization_secret_ref else { return Ok(Ok(None)) };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let found = api.get_opt(&at.name).await.map_err(PassError::api(format!("reading Secret {}", at.name)))?;
    let value = found.and_then(|s| s.data).and_then(|mut d| d.remove(&at.key));
    let Some(value) = value else {
        return Ok(Err(format!(
            "the Secret {} for the header Authorization has no key {}, or does not exist",
            at.name, at.key
        )));
    };
    let Ok(mut value) = HeaderValue::from_bytes(value.0.trim_ascii()) else {
        return Ok(Err(format!("the value of {} in the Secret {} cannot stand in a header", at.key, at.name)));
    };
    value.set_sensitive(true);
    Ok(Ok(Some(value)))
}

struct Asked<'a> {
    url: String,
    method: Method,
    authorization: Option<HeaderValue>,
    body: Vec<u8>,
    expected: Option<String>,
    ca_bundle: Option<&'a str>,
    loopback: Loopback,
}

impl Asked<'_> {
    async fn exchange(self) -> Result<(), String> {
        let uri: Uri = self.url.parse().map_err(|_| "its URL cannot be read".to_owned())?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let tcp = connect(&host, port, self.loopback).await?;
        if !tls {
            return self.send(&uri, tcp).await;
        }
        let name = ServerName::try_from(host).map_err(|_| "its name cannot be asked for in TLS".to_owned())?;
        let connector = TlsConnector::from(Arc::new(client_config(self.ca_bundle)?));
        let stream = connector.connect(name, tcp).await.map_err(|e| format!("TLS: {}", printable(&e.to_string())))?;
        self.send(&uri, stream).await
    }

    async fn send(self, uri: &Uri, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<(), String> {
        let broken = |e: hyper::Error| printable(&e.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = self.request(uri)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|_| format!("an answer of more than {MAX_ANSWER} bytes, or a broken one"))?;
            Ok::<_, String>((status, body.to_bytes()))
        };
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        let (status, body) = loop {
            tokio::select! {
                biased;
                done = &mut exchange => break done?,
                end = &mut connection => end.map_err(broken)?,
            }
        };
        if !status.is_success() {
            return Err(format!("status {}", status.as_u16()));
        }
        match &self.expected {
            Some(text) if text.trim().as_bytes() != body.trim_ascii() => {
                Err("the answer is not the one that expectBody names".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn request(&self, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, HeaderValue::from_static(concat!("mailcert/", env!("CARGO_PKG_VERSION"))));
        if !self.body.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        request.body(Full::new(Bytes::from(self.body.clone()))).map_err(|_| "its URL cannot be asked for".to_owned())
    }
}

/// Connects to an address that was looked at: a name may resolve to something else the next time.
async fn connect(host: &str, port: u16, loopback: Loopback) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|_| "its name does not resolve".to_owned())?;
    let mut last = "its name does not resolve".to_owned();
    for address in found.take(4) {
        if loopback == Loopback::Refused && is_own(address.ip()) {
            last = format!("{} is an address of the node or pod itself, which is not called", address.ip());
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = printable(&e.to_string()),
        }
    }
    Err(last)
}

/// Loopback, link-local (where clouds keep their metadata), unspecified and multicast addresses.
fn is_own(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
    }
}

fn client_config(bundle: Option<&str>) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    match bundle {
        None => {
            roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        }
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let added = certificate.ok().and_then(|c| roots.add(c).ok());
                added.ok_or_else(|| "caBundle holds something that is no certificate".to_owned())?;
            }
            if roots.is_empty() {
                return Err("caBundle holds no certificate in PEM".to_owned());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|e| printable(&e.to_string()))?.with_root_certificates(roots).with_no_client_auth())
}

/// Words of the system or a library: short, on one line.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_own_machine_is_not_called() {
        for own in ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "224.0.0.1"]
        {
            assert!(is_own(own.parse().unwrap()), "{own}");
        }
        for other in ["10.0.0.7", "192.0.2.1", "2001:db8::1", "fd00::1"] {
            assert!(!is_own(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_bundle_must_hold_certificates() {
        let error = |pem| client_config(Some(pem)).unwrap_err();
        assert_eq!(error(""), "caBundle holds no certificate in PEM");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(error(broken), "caBundle holds something that is no certificate");
        assert!(client_config(None).is_ok());
    }
}
