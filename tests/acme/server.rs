//! A small HTTP(S) server whose every answer a test writes itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What is written to the connection, which is closed afterwards.
pub enum Reply {
    /// These bytes.
    Raw(Vec<u8>),
    /// These bytes, and then up to so many more.
    Flood(Vec<u8>, usize),
    /// These bytes one by one, each after this time.
    Drip(Vec<u8>, Duration),
    /// Nothing, for ever.
    Silence,
}

/// An answer with a body.
pub fn reply(status: &str, headers: &[&str], body: &str) -> Reply {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    Reply::Raw(
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nReplay-Nonce: n0nce\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}

/// A running server; it ends with its runtime.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate to trust, PEM; empty without TLS.
    pub ca_pem: String,
    /// How many bytes of floods were taken by clients.
    pub flooded: Arc<AtomicUsize>,
}

/// `answer` gets the method, the path and the Host header.
pub async fn start<F>(tls: bool, answer: F) -> Server
where
    F: Fn(&str, &str, &str) -> Reply + Send + Sync + 'static,
{
    start_with(tls.then(|| tls_acceptor(1975, 4096)), answer).await
}

/// As [`start`] with TLS; the certificate is valid from one year to the other.
pub async fn start_valid<F>(from: i32, until: i32, answer: F) -> Server
where
    F: Fn(&str, &str, &str) -> Reply + Send + Sync + 'static,
{
    start_with(Some(tls_acceptor(from, until)), answer).await
}

async fn start_with<F>(tls: Option<(tokio_rustls::TlsAcceptor, String)>, answer: F) -> Server
where
    F: Fn(&str, &str, &str) -> Reply + Send + Sync + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (acceptor, ca_pem) = tls.map_or((None, String::new()), |(acceptor, pem)| (Some(acceptor), pem));
    let flooded = Arc::new(AtomicUsize::new(0));
    let (answer, counter) = (Arc::new(answer), flooded.clone());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (answer, counter, acceptor) = (answer.clone(), counter.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(tcp).await {
                            serve(stream, &*answer, &counter).await;
                        }
                    }
                    None => serve(tcp, &*answer, &counter).await,
                }
            });
        }
    });
    Server { address, ca_pem, flooded }
}

fn tls_acceptor(from: i32, until: i32) -> (tokio_rustls::TlsAcceptor, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).expect("names");
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
    let certificate = params.self_signed(&key).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a server configuration");
    (Arc::new(config).into(), certificate.pem())
}

async fn serve<S>(mut stream: S, answer: &(impl Fn(&str, &str, &str) -> Reply + Sync), flooded: &AtomicUsize)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some((method, path, host)) = request(&mut stream).await else { return };
    match answer(&method, &path, &host) {
        Reply::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Reply::Flood(head, mut left) => {
            let _ = stream.write_all(&head).await;
            let block = [b'x'; 16 * 1024];
            while left > 0 && stream.write_all(&block).await.is_ok() {
                flooded.fetch_add(block.len(), Ordering::Relaxed);
                left = left.saturating_sub(block.len());
            }
        }
        Reply::Drip(bytes, pause) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
        Reply::Silence => std::future::pending().await,
    }
    let _ = stream.shutdown().await;
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, String, String)> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_string()).next()
    };
    let length: usize = header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    while read.len() < end + length {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = head.split(' ');
    Some((words.next()?.to_string(), words.next()?.to_string(), header("host").unwrap_or_default()))
}
