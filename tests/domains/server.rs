//! Mail servers that behave as they are told, on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A chain and its key.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    pub fn from_pem(chain: &str, key: &str) -> Self {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Self(Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()))
    }
}

/// What a server does to a client.
pub enum Manner {
    /// TLS from the first byte, then this greeting.
    Implicit(&'static str),
    /// This in plaintext, line by line as the client talks, then TLS.
    StartTls(&'static [&'static str]),
    /// This in plaintext, then nothing until the client leaves.
    Plain(&'static [&'static str]),
}

pub const SMTP: Manner =
    Manner::StartTls(&["220 mail ESMTP\r\n", "250-mail\r\n250 STARTTLS\r\n", "220 Ready to start TLS\r\n"]);
pub const IMAP: Manner =
    Manner::StartTls(&["* OK ready\r\n", "* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK done\r\n", "a2 OK begin TLS\r\n"]);
pub const POP3: Manner = Manner::StartTls(&["+OK ready\r\n", "+OK list\r\nSTLS\r\n.\r\n", "+OK begin TLS\r\n"]);

/// A server that listens until the test process ends.
pub struct Server {
    pub port: u16,
    visits: Arc<Mutex<Vec<Instant>>>,
}

impl Server {
    /// `identity` is asked at each handshake.
    pub fn start(manner: Manner, identity: impl Fn() -> Identity + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let visits: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let (book, shared) = (visits.clone(), Arc::new((manner, identity)));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                book.lock().unwrap().push(Instant::now());
                let shared = shared.clone();
                // A client that leaves early is its own affair.
                thread::spawn(move || serve(stream, &shared.0, &shared.1));
            }
        });
        Self { port, visits }
    }

    /// How long after one another clients came.
    pub fn intervals(&self) -> Vec<Duration> {
        self.visits.lock().unwrap().windows(2).map(|w| w[1] - w[0]).collect()
    }
}

fn serve(stream: TcpStream, manner: &Manner, identity: &impl Fn() -> Identity) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (lines, greeting) = match manner {
        Manner::Implicit(greeting) => (&[][..], *greeting),
        Manner::StartTls(lines) | Manner::Plain(lines) => (*lines, ""),
    };
    for (i, line) in lines.iter().enumerate() {
        if i > 0 {
            stream.read_line(&mut String::new())?;
        }
        stream.get_mut().write_all(line.as_bytes())?;
    }
    let mut rest = Vec::new();
    if let Manner::Plain(_) = manner {
        stream.read_to_end(&mut rest)?;
        return Ok(());
    }
    let connection = ServerConnection::new(identity().0).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, stream.into_inner());
    tls.write_all(greeting.as_bytes())?;
    tls.flush()?;
    let mut farewell = [0; 64];
    let _ = tls.read(&mut farewell)?;
    tls.write_all(b"221 * BYE +OK\r\n")
}
