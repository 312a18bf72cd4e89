//! Answers challenges out of a table, on any replica.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;

use super::{PROTOCOL, digest};
use crate::pki::acme_identifier;
use crate::solvers::http01::{is_host, is_key_authorization};
use crate::solvers::table::{Challenge, Table};

/// Connections at once.
pub const MAX_CONNECTIONS: usize = 64;

/// How long a connection is safe while others wait for its place: a CA's takes far less, and who holds connections
/// open must not keep a CA out.
const GRACE: Duration = Duration::from_secs(1);

/// From the connection to its end.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long nothing is accepted after the operating system refused a connection (no file descriptor is left, say).
const RECOVERY: Duration = Duration::from_millis(200);

/// The challenges that are answered now.
pub type AlpnTable = Table<AlpnEntry>;

/// One challenge to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlpnEntry {
    /// The name the CA asks, lower-cased: it stands in SNI.
    pub host: String,
    /// What the certificate proves knowledge of (RFC 8555, section 8.1).
    pub key_authorization: String,
}

/// The certificate of an entry, made when it is first asked for.
#[derive(Clone)]
pub struct AlpnAnswer {
    host: String,
    digest: [u8; 32],
    made: Arc<OnceLock<Option<Arc<CertifiedKey>>>>,
}

impl fmt::Debug for AlpnAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlpnAnswer({})", self.host)
    }
}

impl Challenge for AlpnEntry {
    type Question = String;
    type Answer = AlpnAnswer;

    fn is_sound(&self) -> bool {
        is_host(&self.host) && is_key_authorization(&self.key_authorization)
    }
    fn question(&self) -> String {
        self.host.clone()
    }
    fn answer(&self) -> AlpnAnswer {
        AlpnAnswer { host: self.host.clone(), digest: digest(&self.key_authorization), made: Arc::default() }
    }
}

impl AlpnAnswer {
    fn certificate(&self, provider: &CryptoProvider) -> Option<Arc<CertifiedKey>> {
        let make = || {
            let (certificate, key) = acme_identifier(&self.host, &self.digest).ok()?;
            // `from_der` would have webpki read the certificate, which refuses the critical extension in it.
            let key = provider.key_provider.load_private_key(key).ok()?;
            Some(Arc::new(CertifiedKey::new(vec![certificate], key)))
        };
        self.made.get_or_init(make).clone()
    }
}

/// One certificate for whoever asks, or none: the handshake then fails.
#[derive(Debug)]
struct Only(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

struct Responder {
    table: AlpnTable,
    provider: Arc<CryptoProvider>,
    answered: AtomicU64,
    refused: AtomicU64,
}

/// Answers until `stop`: `acme-tls/1` for the names in the table, and nothing else. A handshake without SNI, for
/// another name, with another protocol or with none is refused. What was asked is arbitrary input from the Internet
/// and is not logged.
pub async fn serve(listener: TcpListener, table: AlpnTable, stop: CancellationToken) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let responder =
        Arc::new(Responder { table, provider, answered: AtomicU64::default(), refused: AtomicU64::default() });
    // Ends with this function, and every connection with it.
    let mut connections = JoinSet::new();
    let mut ages: VecDeque<(Instant, AbortHandle)> = VecDeque::new();
    loop {
        ages.retain(|(_, connection)| !connection.is_finished());
        let full = ages.len() >= MAX_CONNECTIONS;
        let patience = ages.front().map_or_else(Instant::now, |(since, _)| *since + GRACE);
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            () = tokio::time::sleep_until(patience), if full => {
                if let Some((_, oldest)) = ages.pop_front() {
                    oldest.abort();
                }
                continue;
            }
            accepted = listener.accept(), if !full => accepted,
        };
        if let Some(stream) = keep(accepted).await {
            ages.push_back((Instant::now(), connections.spawn(responder.clone().handle(stream))));
        }
    }
}

async fn keep(accepted: std::io::Result<(TcpStream, SocketAddr)>) -> Option<TcpStream> {
    match accepted {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            tracing::warn!(%error, "no connection can be accepted on the port of tls-alpn-01");
            tokio::time::sleep(RECOVERY).await;
            None
        }
    }
}

impl Responder {
    async fn handle(self: Arc<Self>, stream: TcpStream) {
        let answered = tokio::time::timeout(HANDSHAKE, self.answer(stream)).await.unwrap_or(false);
        let count = if answered { &self.answered } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
        let (answered, refused) = (self.answered.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed));
        tracing::debug!(answered, refused, "connections to the port of tls-alpn-01 so far");
    }

    async fn answer(&self, stream: TcpStream) -> bool {
        let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { return false };
        let name = asked(&start.client_hello());
        let answer = match name {
            Some(name) => self.table.settled(&name).await,
            None => None,
        };
        let certificate = answer.and_then(|answer| answer.certificate(&self.provider));
        let known = certificate.is_some();
        let Some(config) = self.config(certificate) else { return false };
        // Without a certificate this sends the alert.
        let Ok(mut stream) = start.into_stream(config).await else { return false };
        // There is nothing to talk about (RFC 8737, section 3): the handshake was the answer.
        let _ = stream.shutdown().await;
        known
    }

    fn config(&self, certificate: Option<Arc<CertifiedKey>>) -> Option<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .ok()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Only(certificate)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.send_tls13_tickets = 0;
        Some(Arc::new(config))
    }
}

/// The name for which a CA asks; nothing when it is no CA that asks.
fn asked(hello: &ClientHello<'_>) -> Option<String> {
    let mut protocols = hello.alpn()?;
    let alone = protocols.next() == Some(PROTOCOL) && protocols.next().is_none();
    hello.server_name().filter(|_| alone).map(str::to_ascii_lowercase)
}
