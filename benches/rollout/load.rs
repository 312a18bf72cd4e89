//! Mail programs that log in all the time: over TLS, with the chain verified, by SMTP and by IMAP in turn.

use crate::ground::{EXTERNAL, Ground, HOST};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(15);

/// What came of the logins.
#[derive(Debug, Default)]
pub struct Logins {
    pub count: usize,
    pub lasted: Duration,
    /// When, and why.
    pub failures: Vec<(Duration, String)>,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<(Duration, String)>>>,
    started: Instant,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// `rate` clients, each of which logs in once a second.
    pub fn start(ground: &Ground, rate: u32) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ground.ca.cert_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let mut load = Self {
            stop: Arc::default(),
            count: Arc::default(),
            failures: Arc::default(),
            started: Instant::now(),
            threads: Vec::new(),
        };
        let (stop, count, failures, started) =
            (load.stop.clone(), load.count.clone(), load.failures.clone(), load.started);
        // Threads that a thread inside starts are inside as well.
        let spawn = move || {
            (0..rate)
                .map(|n| {
                    let (config, stop, count, failures) =
                        (config.clone(), stop.clone(), count.clone(), failures.clone());
                    thread::spawn(move || {
                        thread::sleep(Duration::from_secs(1) * n / rate);
                        client(n % 2 == 0, &config, &stop, &count, &failures, started);
                    })
                })
                .collect::<Vec<_>>()
        };
        load.threads = ground.cluster.inside(spawn).unwrap();
        load
    }

    /// Waits until a hundred logins have succeeded, and forgets what failed before.
    pub fn wait_steady(&self) {
        let start = Instant::now();
        while self.count.load(Ordering::Relaxed) < 100 {
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", self.failures.lock().unwrap().first());
            thread::sleep(Duration::from_millis(100));
        }
        self.failures.lock().unwrap().clear();
    }

    pub fn stop(self) -> Logins {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let failures = std::mem::take(&mut *self.failures.lock().unwrap());
        Logins { count: self.count.load(Ordering::Relaxed), lasted: self.started.elapsed(), failures }
    }
}

fn client(
    smtp: bool,
    config: &Arc<ClientConfig>,
    stop: &AtomicBool,
    count: &AtomicUsize,
    failures: &Mutex<Vec<(Duration, String)>>,
    started: Instant,
) {
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match if smtp { smtp_login(config) } else { imap_login(config) } {
            Ok(()) => drop(count.fetch_add(1, Ordering::Relaxed)),
            Err(why) => failures.lock().unwrap().push((started.elapsed(), why)),
        }
        thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
}

type Session = BufReader<StreamOwned<ClientConnection, TcpStream>>;

fn connect(config: &Arc<ClientConfig>, port: u16) -> std::io::Result<Session> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((EXTERNAL, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let name = ServerName::try_from(HOST).map_err(std::io::Error::other)?;
    let session = ClientConnection::new(config.clone(), name).map_err(std::io::Error::other)?;
    Ok(BufReader::new(StreamOwned::new(session, stream)))
}

/// Says something (nothing at first) and reads up to the line that is `last`, which must begin with `expected`.
fn exchange(session: &mut Session, say: &str, last: fn(&str) -> bool, expected: &str) -> Result<(), String> {
    let step = if say.is_empty() { "the greeting" } else { say.split(' ').next().unwrap_or_default().trim_end() };
    session.get_mut().write_all(say.as_bytes()).map_err(|e| format!("{step}: {e}"))?;
    loop {
        let mut line = String::new();
        let read = session.read_line(&mut line).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => format!("{step}: no answer within {} s", TIMEOUT.as_secs()),
            _ => format!("{step}: {e}"),
        })?;
        if read == 0 {
            return Err(format!("{step}: the server closed the connection"));
        }
        if last(&line) {
            let good = line.starts_with(expected);
            return if good { Ok(()) } else { Err(format!("{step}: {}", line.trim_end())) };
        }
    }
}

fn smtp_login(config: &Arc<ClientConfig>) -> Result<(), String> {
    let login = || {
        let mut session = connect(config, 465).map_err(|e| format!("connecting: {e}"))?;
        let last: fn(&str) -> bool = |line| line.as_bytes().get(3) != Some(&b'-');
        exchange(&mut session, "", last, "220")?;
        exchange(&mut session, "EHLO bench.example.com\r\n", last, "250")?;
        // user@example.com and its password, as the quick start has them.
        exchange(&mut session, "AUTH PLAIN AHVzZXJAZXhhbXBsZS5jb20AcGFzc3dvcmQ=\r\n", last, "235")?;
        exchange(&mut session, "QUIT\r\n", last, "221")
    };
    login().map_err(|why: String| format!("SMTP {why}"))
}

fn imap_login(config: &Arc<ClientConfig>) -> Result<(), String> {
    let login = || {
        let mut session = connect(config, 993).map_err(|e| format!("connecting: {e}"))?;
        exchange(&mut session, "", |_| true, "* OK")?;
        exchange(&mut session, "a LOGIN user@example.com password\r\n", |line| line.starts_with("a "), "a OK")?;
        exchange(&mut session, "b LOGOUT\r\n", |line| line.starts_with("b "), "b OK")
    };
    login().map_err(|why: String| format!("IMAP {why}"))
}
