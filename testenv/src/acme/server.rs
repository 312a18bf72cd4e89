//! The server on its port: TLS, connections, and the faults that happen there.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::answer::Answer;
use super::core::{Core, Request};
use super::faults::{Effect, Fault, Rule};
use super::log::Log;
use super::orders::rfc3339;
use super::script::Script;
use crate::error::{Context, Error, Result};
use crate::pki;

/// Of a request, in bytes.
const MAX_REQUEST: usize = 1 << 20;
/// Bytes that a flood sends at once.
const BLOCK: usize = 16 << 10;

struct Shared {
    core: Core,
    tls: RwLock<Arc<ServerConfig>>,
    up: AtomicBool,
    held: AtomicUsize,
    /// Changes with the rules: what is held looks again.
    rules: watch::Sender<()>,
    /// Changes when connections are to end.
    connections: watch::Sender<()>,
}

/// A running server on 127.0.0.1, on a thread of its own. It ends with this value.
pub struct AcmeServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca: pki::Ca,
    runtime: Option<tokio::runtime::Runtime>,
}

impl AcmeServer {
    /// Starts one on a free port.
    pub fn start(script: Script) -> Result<Self> {
        let what = || "the scripted ACME server".to_owned();
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).context(what)?;
        listener.set_nonblocking(true).context(what)?;
        let address = listener.local_addr().context(what)?;
        let ca = pki::Ca::new("scripted-acme-ca")?;
        let tls = config(&ca.issue("scripted-acme", &["127.0.0.1", "localhost"], None)?)?;
        let shared = Arc::new(Shared {
            core: Core::new(format!("https://{address}"), script)?,
            tls: RwLock::new(tls),
            up: AtomicBool::new(true),
            held: AtomicUsize::new(0),
            rules: watch::Sender::new(()),
            connections: watch::Sender::new(()),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("scripted-acme")
            .enable_all()
            .build()
            .context(what)?;
        let accepted = shared.clone();
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).context(what)?
        };
        runtime.spawn(accept(accepted, listener));
        Ok(Self { shared, address, ca, runtime: Some(runtime) })
    }

    /// The ACME directory's URL.
    pub fn directory_url(&self) -> String {
        self.shared.core.url("/dir")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CA of its own TLS certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca.cert_pem
    }

    /// Root number `n` of the certificates that it issues, PEM; number 0 ends the default chain.
    pub fn root_pem(&self, n: usize) -> Option<&str> {
        self.shared.core.authority.root_pem(n)
    }

    /// Changes how it behaves from now on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.core.state().script);
    }

    /// From now on these rules say what goes wrong; the first that applies wins. None: nothing does.
    pub fn rules(&self, rules: impl IntoIterator<Item = Rule>) {
        self.shared.core.state().rules = rules.into_iter().collect();
        self.shared.rules.send_replace(());
    }

    /// How many requests are held by [`Fault::Hold`].
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// Stops its clock at so many seconds since 1970.
    pub fn set_clock(&self, seconds: i64) {
        let mut state = self.shared.core.state();
        (state.clock, state.skew) = (Some(seconds), 0);
    }

    /// Moves its clock.
    pub fn advance(&self, seconds: i64) {
        self.shared.core.state().skew += seconds;
    }

    /// Its clock, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.shared.core.state().now()
    }

    /// What has happened so far.
    pub fn log(&self) -> Log {
        let core = &self.shared.core;
        let mut state = core.state();
        state.settle();
        Log {
            requests: state.requests.clone(),
            orders: core.order_records(&state),
            certificates: core.certificate_records(&state),
            limited: state.limited.clone(),
        }
    }

    /// Renewal information of the certificate with this ARI identifier from now on: from and to, seconds since 1970.
    pub fn set_window(&self, ari_id: &str, start: i64, end: i64) {
        let window = json!({"suggestedWindow": {"start": rfc3339(start), "end": rfc3339(end)}});
        self.set_renewal_info(ari_id, window);
    }

    /// As [`AcmeServer::set_window`], with any JSON.
    pub fn set_renewal_info(&self, ari_id: &str, info: Value) {
        self.shared.core.state().windows.insert(ari_id.to_owned(), info);
    }

    /// Ends well what [`Fault::NeverValidates`] left pending.
    pub fn validate_all(&self) {
        self.shared.core.state().validate_all();
    }

    /// Forgets its accounts, as if they had never been: their requests are answered `accountDoesNotExist`.
    pub fn forget_accounts(&self) {
        for account in &mut self.shared.core.state().accounts {
            account.forgotten = true;
        }
    }

    /// Its TLS certificate expired an hour ago, or is good. Connections are closed.
    pub fn expire_tls(&self, expired: bool) -> Result<()> {
        let names = ["127.0.0.1", "localhost"];
        let pair = match expired {
            true => self.ca.issue_expired("scripted-acme", &names)?,
            false => self.ca.issue("scripted-acme", &names, None)?,
        };
        *self.shared.tls.write().unwrap_or_else(PoisonError::into_inner) = config(&pair)?;
        self.shared.connections.send_replace(());
        Ok(())
    }

    /// Whether connections are served, or closed before TLS begins. Those that are open are closed.
    pub fn set_up(&self, up: bool) {
        self.shared.up.store(up, Ordering::SeqCst);
        self.shared.connections.send_replace(());
    }
}

impl Drop for AcmeServer {
    fn drop(&mut self) {
        // Not waited for: it may be dropped inside another runtime, where waiting is forbidden.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn config(pair: &pki::Pair) -> Result<Arc<ServerConfig>> {
    let what = || "the scripted ACME server's TLS".to_owned();
    let certificate = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).context(what)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).context(what)?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context(what)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .context(what)?;
    Ok(Arc::new(config))
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((tcp, _)) = listener.accept().await {
        if !shared.up.load(Ordering::SeqCst) {
            continue;
        }
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut ends = shared.connections.subscribe();
            let tls = shared.tls.read().unwrap_or_else(PoisonError::into_inner).clone();
            let serving = async {
                let _ = tcp.set_nodelay(true);
                let Ok(stream) = TlsAcceptor::from(tls).accept(tcp).await else { return };
                let service = service_fn(|request| serve(shared.clone(), request));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            };
            // Dropping the connection closes it.
            tokio::select! {
                () = serving => {}
                _ = ends.changed() => {}
            }
        });
    }
}

type Response = hyper::Response<Payload>;

/// An error closes the connection without an answer.
async fn serve(shared: Arc<Shared>, request: hyper::Request<Incoming>) -> Result<Response> {
    let media_type = request.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let body = Limited::new(request.into_body(), MAX_REQUEST).collect().await;
    let body = body.map_err(|e| Error::new(format!("the request: {e}")))?.to_bytes().to_vec();
    let request = Request { method, path, media_type, body };
    let (number, _, mut fault) = shared.core.arrived(&request);
    if matches!(fault, Some(Fault::Hold(Effect::Without))) {
        hold(&shared).await;
        fault = None;
    }
    let answer = match &fault {
        Some(fault) if !fault.lets_through() => None,
        _ => Some(handle(&shared, number, &request, fault.as_ref())),
    };
    let response = respond(&shared, answer, fault).await?;
    shared.core.answered(number, response.status().as_u16());
    Ok(response)
}

fn handle(shared: &Arc<Shared>, number: usize, request: &Request, fault: Option<&Fault>) -> Answer {
    let (answer, job) = shared.core.handle(number, request, fault);
    if let Some((authorization, challenge, view)) = job {
        let (shared, validation) = (shared.clone(), shared.core.state().script.validation.clone());
        tokio::task::spawn_blocking(move || {
            let outcome = validation.look(&view);
            shared.core.state().validated(authorization, challenge, outcome);
        });
    }
    answer
}

/// Until the rules change.
async fn hold(shared: &Shared) {
    struct Held<'a>(&'a AtomicUsize);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let mut changed = shared.rules.subscribe();
    shared.held.fetch_add(1, Ordering::SeqCst);
    let _held = Held(&shared.held);
    let _ = changed.changed().await;
}

async fn respond(shared: &Shared, answer: Option<Answer>, fault: Option<Fault>) -> Result<Response> {
    let page = |status, headers, body: String| Answer { status, headers, body: body.into_bytes() };
    let (answer, payload) = match (fault, answer) {
        (Some(Fault::BadNonce), _) => {
            let problem = super::Problem::new(400, "badNonce", "the nonce is refused because the script says so");
            (shared.core.finish(&mut shared.core.state(), problem.answer()), None)
        }
        (Some(Fault::Problem(problem, _)), _) => (shared.core.finish(&mut shared.core.state(), problem.answer()), None),
        (Some(Fault::Page(status, headers, body, _)), _) => (page(status, headers, body), None),
        (Some(Fault::Flood(size)), _) => (Answer::typed(200, "application/json", ""), Some(Payload::Flood(size))),
        (Some(Fault::Drip(pause)), _) => (Answer::typed(200, "application/json", ""), Some(Payload::drip(pause))),
        (Some(Fault::Hold(_)), Some(answer)) => {
            hold(shared).await;
            (answer, None)
        }
        (Some(Fault::Close(_)), _) | (_, None) => return Err(Error::new("closed, because the script says so")),
        (_, Some(answer)) => (answer, None),
    };
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let payload = payload.unwrap_or_else(|| Payload::Whole(Some(answer.body.into())));
    response.body(payload).context(|| "the answer".to_owned())
}

/// The body of an answer.
enum Payload {
    Whole(Option<Bytes>),
    Flood(usize),
    Drip(tokio::time::Interval),
}

impl Payload {
    fn drip(pause: Duration) -> Self {
        Self::Drip(tokio::time::interval(pause))
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        let bytes = match &mut *self {
            Self::Whole(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()),
            Self::Flood(0) => None,
            Self::Flood(left) => {
                let block = BLOCK.min(*left);
                *left -= block;
                Some(Bytes::from(vec![b' '; block]))
            }
            Self::Drip(interval) => {
                std::task::ready!(interval.poll_tick(task));
                Some(Bytes::from_static(b" "))
            }
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            _ => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }
}
