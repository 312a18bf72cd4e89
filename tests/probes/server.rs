//! A server that plays a script for one connection and remembers what it heard.

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long a server listens for a client that talks out of turn.
pub const TURN: Duration = Duration::from_millis(150);

/// One act of a server.
#[derive(Clone)]
pub enum Act {
    /// Say this.
    Say(Vec<u8>),
    /// Say this again and again until the client leaves.
    Repeat(Vec<u8>),
    /// Hear a line.
    Hear,
    /// Hear whatever comes first: a ClientHello has no lines.
    HearBytes,
    /// Hear nothing for a while: a client that talks now spoils the script.
    Silence,
    /// Say nothing more and keep the connection open.
    Hang,
    /// Shake hands, say a greeting inside TLS line by line, hear a line and answer it.
    Tls { identity: Arc<Identity>, greeting: &'static str },
}

pub fn say(text: &str) -> Act {
    Act::Say(text.as_bytes().to_vec())
}

/// What a server presents.
#[derive(Clone)]
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Vec<u8>,
    pub version: &'static rustls::SupportedProtocolVersion,
}

impl Identity {
    /// A CA, a leaf for `mail.example.com` and further certificates up to `length`.
    pub fn with_chain(length: usize) -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, &ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["mail.example.com".to_owned()]).unwrap();
        let mut chain = vec![leaf.signed_by(&key, &issuer).unwrap().der().clone()];
        chain.resize(length.max(1), root.der().clone());
        Self { chain, key: key.serialize_der(), version: &rustls::version::TLS13 }
    }

    /// The same certificates with a key that does not belong to them.
    pub fn with_foreign_key(mut self) -> Self {
        self.key = rcgen::KeyPair::generate().unwrap().serialize_der();
        self
    }

    fn config(&self, heard: &Arc<Mutex<Heard>>) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let resolver =
            Resolver { certified: Arc::new(CertifiedKey::new(self.chain.clone(), signer)), heard: heard.clone() };
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver))
    }
}

/// Presents what it is told, whether the key fits or not, and remembers the SNI.
#[derive(Debug)]
struct Resolver {
    certified: Arc<CertifiedKey>,
    heard: Arc<Mutex<Heard>>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.heard.lock().unwrap().sni = hello.server_name().map(str::to_owned);
        Some(self.certified.clone())
    }
}

/// What a server heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Lines in plaintext.
    pub plain: Vec<String>,
    /// What came without lines.
    pub bytes: Vec<u8>,
    /// The line inside TLS.
    pub farewell: Option<String>,
    /// The name in the ClientHello.
    pub sni: Option<String>,
    /// The client talked when it had to wait.
    pub interrupted: bool,
    /// Inside TLS the client closed with close_notify.
    pub closed_cleanly: bool,
}

/// A server that listens.
pub struct Server {
    pub address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Plays `script` for one connection on loopback.
    pub async fn play(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let memory = heard.clone();
        let task = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that leaves in the middle of a hostile script is what the tests want.
            let _ = perform(BufReader::new(stream), script, &memory).await;
        });
        Self { address, heard, task }
    }

    /// What was heard, once the server is done.
    pub async fn heard(self) -> Heard {
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("the server ends").unwrap();
        self.heard.lock().unwrap().clone()
    }
}

async fn perform(mut stream: BufReader<TcpStream>, script: Vec<Act>, heard: &Arc<Mutex<Heard>>) -> std::io::Result<()> {
    for act in script {
        match act {
            Act::Say(bytes) => stream.write_all(&bytes).await?,
            Act::Repeat(bytes) => loop {
                stream.write_all(&bytes).await?;
            },
            Act::Hear => {
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                heard.lock().unwrap().plain.push(line.trim_end().to_owned());
            }
            Act::HearBytes => {
                let bytes = stream.fill_buf().await?.to_vec();
                let length = bytes.len();
                heard.lock().unwrap().bytes = bytes;
                stream.consume(length);
            }
            Act::Silence => {
                let talked = tokio::time::timeout(TURN, stream.fill_buf()).await.is_ok();
                heard.lock().unwrap().interrupted |= talked;
            }
            Act::Hang => {
                // The client's end of the connection ends the wait.
                stream.read_to_end(&mut Vec::new()).await?;
            }
            Act::Tls { identity, greeting } => {
                let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(identity.config(heard)));
                let mut tls = BufReader::new(acceptor.accept(stream).await?);
                for part in greeting.split_inclusive('\n') {
                    let talked = tokio::time::timeout(TURN, tls.fill_buf()).await.is_ok();
                    heard.lock().unwrap().interrupted |= talked;
                    tls.write_all(part.as_bytes()).await?;
                    tls.flush().await?;
                }
                let mut line = String::new();
                tls.read_line(&mut line).await?;
                heard.lock().unwrap().farewell = Some(line.trim_end().to_owned());
                // rustls reports an end without close_notify as an error.
                if line.is_empty() {
                    heard.lock().unwrap().closed_cleanly = true;
                    return Ok(());
                }
                tls.write_all(b"* BYE +OK 221 \r\n").await?;
                tls.flush().await?;
                heard.lock().unwrap().closed_cleanly = tls.read(&mut [0; 64]).await? == 0;
                return Ok(());
            }
        }
    }
    Ok(())
}
