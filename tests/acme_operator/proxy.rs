//! Stands in front of Pebble: counts what is asked, and answers in its place where a test says so.
//!
//! Pebble builds its URLs from the Host header, which is passed on, so the client never meets Pebble itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use mailcert_testenv::Pebble;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Pebble answers.
    Pass,
    /// As soon as there is another rule, that decides.
    Hold,
    /// This status line, these headers and this body.
    Answer(&'static str, Vec<String>, String),
    /// A good head and so many bytes.
    Flood(usize),
    /// A head that never ends, byte by byte.
    Drip,
}

/// A request that was answered, or is being answered (then without a status).
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// The JWS payload, decoded.
    pub payload: Value,
    /// The JWS protected header, decoded.
    #[allow(dead_code, reason = "only some test binaries look at it")]
    pub header: Value,
    pub status: Option<u16>,
}

type Rule = Arc<dyn Fn(&Asked, Option<&[u8]>) -> Fate + Send + Sync>;

struct State {
    rule: RwLock<Rule>,
    changed: watch::Sender<()>,
    log: Mutex<Vec<Asked>>,
    held: AtomicUsize,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    pebble: SocketAddr,
}

/// A running proxy; it ends with its runtime.
pub struct Proxy {
    address: SocketAddr,
    ca_pem: String,
    state: Arc<State>,
    listening: Mutex<Option<AbortHandle>>,
}

impl Proxy {
    pub async fn start(pebble: &Pebble) -> Self {
        let (acceptor, ca_pem) = acceptor();
        let state = Arc::new(State {
            rule: RwLock::new(Arc::new(|_: &Asked, _: Option<&[u8]>| Fate::Pass)),
            changed: watch::Sender::new(()),
            log: Mutex::default(),
            held: AtomicUsize::new(0),
            acceptor,
            connector: connector(pebble.ca_pem()),
            pebble: pebble.address(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, ca_pem, state, listening: Mutex::default() };
        proxy.listen(listener);
        proxy
    }

    fn listen(&self, listener: TcpListener) {
        let state = self.state.clone();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let state = state.clone();
                tokio::spawn(async move { serve(&state, tcp).await });
            }
        });
        *self.listening.lock().unwrap() = Some(task.abort_handle());
    }

    /// Connections are refused until [`Proxy::up`].
    pub async fn down(&self) {
        self.listening.lock().unwrap().take().unwrap().abort();
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn up(&self) {
        self.listen(TcpListener::bind(self.address).await.unwrap());
    }

    /// The ACME directory's URL.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// From now on `rule` decides.
    pub fn rule(&self, rule: impl Fn(&Asked) -> Fate + Send + Sync + 'static) {
        self.rule_with_csr(move |asked, _| rule(asked));
    }

    /// As [`Proxy::rule`], for rules that look at the CSR that was sent last (DER).
    pub fn rule_with_csr(&self, rule: impl Fn(&Asked, Option<&[u8]>) -> Fate + Send + Sync + 'static) {
        *self.state.rule.write().unwrap() = Arc::new(rule);
        self.state.changed.send_replace(());
    }

    pub fn pass(&self) {
        self.rule(|_| Fate::Pass);
    }

    pub fn log(&self) -> Vec<Asked> {
        self.state.log.lock().unwrap().clone()
    }

    /// How many requests are held.
    pub fn held(&self) -> usize {
        self.state.held.load(Ordering::Relaxed)
    }

    /// How many requests to paths that begin so were answered with this status; `None`: that were made.
    pub fn count(&self, path: &str, status: Option<u16>) -> usize {
        let log = self.state.log.lock().unwrap();
        log.iter().filter(|a| a.path.starts_with(path) && (status.is_none() || a.status == status)).count()
    }

    /// Orders that were made.
    pub fn orders(&self) -> usize {
        self.count("/order-plz", Some(201))
    }

    /// Certificates that were asked for.
    pub fn finalized(&self) -> usize {
        self.count("/finalize-order/", Some(200))
    }

    /// The CSR that was sent last, DER.
    pub fn last_csr(&self) -> Vec<u8> {
        last_csr(&self.log()).unwrap()
    }
}

fn last_csr(log: &[Asked]) -> Option<Vec<u8>> {
    let csr = log.iter().rev().find_map(|a| a.payload.get("csr").and_then(Value::as_str))?;
    BASE64_URL_SAFE_NO_PAD.decode(csr).ok()
}

async fn serve(state: &State, tcp: TcpStream) {
    let Ok(mut stream) = state.acceptor.accept(tcp).await else { return };
    let Some((head, body)) = request(&mut stream).await else { return };
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let asked = Asked { method, path, payload: part(&body, "payload"), header: part(&body, "protected"), status: None };
    let place = {
        let mut log = state.log.lock().unwrap();
        log.push(asked.clone());
        log.len() - 1
    };
    let Some(fate) = fate(state, &asked, &mut stream).await else { return };
    match fate {
        Fate::Pass => {
            let Some(answer) = forward(state, &head, &body).await else { return };
            let status = String::from_utf8_lossy(&answer[..answer.len().min(12)]);
            let status = status.split(' ').nth(1).and_then(|s| s.parse().ok());
            state.log.lock().unwrap()[place].status = status;
            let _ = stream.write_all(&answer).await;
        }
        Fate::Answer(status, headers, body) => {
            let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
            // Pebble refuses this nonce, as it refuses others.
            let head = format!("HTTP/1.1 {status}\r\n{headers}Replay-Nonce: n0nce\r\nConnection: close\r\n");
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        Fate::Flood(mut left) => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            let block = [b'x'; 16 * 1024];
            while left > 0 && stream.write_all(&block).await.is_ok() {
                left = left.saturating_sub(block.len());
            }
        }
        Fate::Drip => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
            while stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Fate::Hold => {}
    }
    let _ = stream.shutdown().await;
}

/// What becomes of it in the end; `None` when whoever asked has given up.
async fn fate(state: &State, asked: &Asked, stream: &mut (impl AsyncRead + Unpin)) -> Option<Fate> {
    let mut changed = state.changed.subscribe();
    loop {
        let rule = state.rule.read().unwrap().clone();
        let csr = last_csr(&state.log.lock().unwrap());
        let fate = rule(asked, csr.as_deref());
        if !matches!(fate, Fate::Hold) {
            return Some(fate);
        }
        let mut end = [0];
        state.held.fetch_add(1, Ordering::Relaxed);
        let is_over = tokio::select! {
            _ = changed.changed() => false,
            _ = stream.read(&mut end) => true,
        };
        state.held.fetch_sub(1, Ordering::Relaxed);
        if is_over {
            return None;
        }
    }
}

async fn forward(state: &State, head: &str, body: &[u8]) -> Option<Vec<u8>> {
    let lines = head.lines().filter(|l| !l.is_empty() && !l.to_ascii_lowercase().starts_with("connection:"));
    let head: String = lines.map(|l| format!("{l}\r\n")).collect();
    let tcp = TcpStream::connect(state.pebble).await.ok()?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut upstream = state.connector.connect(name, tcp).await.ok()?;
    upstream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.ok()?;
    upstream.write_all(body).await.ok()?;
    upstream.flush().await.ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}

/// Head (with the empty line) and body of one request.
async fn request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<(String, Vec<u8>)> {
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
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let mut length = headers.filter(|(key, _)| key.eq_ignore_ascii_case("content-length"));
    let length: usize = length.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0);
    while read.len() < end + length {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, read.split_off(end)))
}

fn part(body: &[u8], name: &str) -> Value {
    let jws: Value = serde_json::from_slice(body).unwrap_or_default();
    let part = jws.get(name).and_then(Value::as_str).unwrap_or_default();
    let part = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    serde_json::from_slice(&part).unwrap_or_default()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn acceptor() -> (TlsAcceptor, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (Arc::new(config).into(), certificate.pem())
}

fn connector(ca_pem: &str) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}
