//! Small HTTP servers: health, metrics, and whatever router another part brings (HTTP-01 challenges).
//!
//! All of them may be reached by strangers, so time, size and number of connections have limits.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::metrics::{self, Metrics};

const MAX_CONNECTIONS: usize = 256;
const MAX_HEADERS: usize = 64;
/// Also the largest request head; hyper takes nothing below 8 KiB.
const BUFFER: usize = 16 << 10;
const MAX_BODY: usize = 16 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection is closed after this long, so that a slow reader cannot keep its place.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(120);
/// How long requests in flight may still take when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// The runtime beats once a second; one that has not for this long is stuck.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);

/// A server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({flag}): {source}; choose another address with {flag}")]
pub struct BindError {
    flag: &'static str,
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Listens on `address`; `flag` is the flag that set it, for the error. Where the kernel has no IPv6, `[::]` means
/// `0.0.0.0`.
///
/// # Errors
/// The address is taken, not ours, or not allowed.
pub async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    use std::io::ErrorKind::{AddrInUse, PermissionDenied};
    let fail = |source| BindError { flag, address, source };
    match TcpListener::bind(address).await {
        Err(e)
            if address.ip().is_unspecified()
                && address.is_ipv6()
                && !matches!(e.kind(), AddrInUse | PermissionDenied) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| fail(e))
        }
        other => other.map_err(fail),
    }
}

/// Serves `router` until `stop`, then lets requests in flight finish for a few seconds.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let router = router.layer(DefaultBodyLimit::max(MAX_BODY)).layer(middleware::from_fn(bounded));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    connection(stream, router, stop).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: accepting again at once would spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let _ = tokio::time::timeout(GRACE, connections.wait()).await;
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(MAX_HEADERS).max_buf_size(BUFFER);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}

async fn bounded(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the answer took too long\n").into_response(),
    }
}

/// What the probes of the operator's own Pod are told.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<HealthState>);

#[derive(Debug)]
struct HealthState {
    beat: Mutex<Instant>,
    fatal: OnceLock<String>,
    gates: Mutex<BTreeMap<&'static str, bool>>,
}

impl Default for HealthState {
    fn default() -> Self {
        Self { beat: Mutex::new(Instant::now()), fatal: OnceLock::new(), gates: Mutex::default() }
    }
}

/// One thing that must be so before the operator is ready: a watch that has its first list.
#[derive(Clone, Debug)]
pub struct Gate {
    health: Health,
    name: &'static str,
}

impl Gate {
    /// Says whether it is so now.
    pub fn set(&self, open: bool) {
        let mut gates = self.health.0.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.insert(self.name, open);
    }
}

impl Health {
    /// Adds a gate, closed. Ready is: at least one gate, and all of them open. Leadership must never be one, or a
    /// rolling update would wait for ever for the second replica.
    pub fn gate(&self, name: &'static str) -> Gate {
        let gate = Gate { health: self.clone(), name };
        gate.set(false);
        gate
    }

    /// Marks the process as beyond repair; `/livez` fails from now on. The first reason stays.
    pub fn fatal(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(reason, "the operator cannot go on");
        let _ = self.0.fatal.set(reason);
    }

    /// Beats once a second until `stop`.
    pub async fn heartbeat(&self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            *self.0.beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// Why the process should be restarted, if it should.
    pub fn dead(&self, now: Instant) -> Option<String> {
        if let Some(reason) = self.0.fatal.get() {
            return Some(reason.clone());
        }
        let silent = now.saturating_duration_since(*self.0.beat.lock().unwrap_or_else(PoisonError::into_inner));
        (silent > HEARTBEAT_LIMIT).then(|| format!("no heartbeat for {} s", silent.as_secs()))
    }

    /// What the operator still waits for; empty when it is ready.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let gates = self.0.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.is_empty() {
            return vec!["the watches to start"];
        }
        gates.iter().filter(|(_, open)| !**open).map(|(name, _)| *name).collect()
    }
}

/// `/livez` and `/readyz`.
pub fn health_router(health: Health) -> Router {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(health)
}

async fn livez(State(health): State<Health>) -> Response {
    match health.dead(Instant::now()) {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")).into_response(),
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    match health.waiting_for() {
        waiting if waiting.is_empty() => "ok\n".into_response(),
        waiting => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", waiting.join(", "))).into_response(),
    }
}

/// `/metrics`.
pub fn metrics_router(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(metrics)
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
    };

    use super::*;

    async fn started(router: Router) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = bind("--test-listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        (address, stop.clone(), tokio::spawn(serve(listener, router, stop)))
    }

    async fn ask(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses a request may reset the connection after its answer.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn status(address: SocketAddr, path: &str) -> (String, String) {
        let answer = ask(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn ready_follows_the_gates() {
        let health = Health::default();
        let (address, ..) = started(health_router(health.clone())).await;
        assert_eq!(status(address, "/readyz").await, ("503".into(), "waiting for the watches to start\n".into()));
        let (domains, secrets) = (health.gate("maildomains"), health.gate("secrets"));
        domains.set(true);
        assert_eq!(status(address, "/readyz").await, ("503".into(), "waiting for secrets\n".into()));
        secrets.set(true);
        assert_eq!(status(address, "/readyz").await, ("200".into(), "ok\n".into()));
        secrets.set(false);
        assert_eq!(status(address, "/readyz").await.0, "503");
    }

    #[tokio::test]
    async fn alive_until_fatal_or_silent() {
        let health = Health::default();
        let (address, ..) = started(health_router(health.clone())).await;
        assert_eq!(status(address, "/livez").await.0, "200");
        assert_eq!(health.dead(Instant::now() + Duration::from_secs(32)), Some("no heartbeat for 32 s".into()));
        health.fatal("the lease is lost");
        health.fatal("later");
        assert_eq!(status(address, "/livez").await, ("500".into(), "the lease is lost\n".into()));
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let (address, ..) = started(metrics_router(Arc::new(Metrics::new()))).await;
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.contains(metrics::CONTENT_TYPE) && answer.trim_end().ends_with("# EOF"), "{answer}");
    }

    #[tokio::test]
    async fn large_heads_are_refused() {
        let (address, ..) = started(health_router(Health::default())).await;
        let many = "x: y\r\n".repeat(MAX_HEADERS + 1);
        let answer = ask(address, &format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        let long = "y".repeat(2 * BUFFER);
        let answer = ask(address, &format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n")).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_stopping_server_finishes_what_it_began() {
        let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (b, f) = (begun.clone(), finish.clone());
        let slow = get(move || async move {
            b.notify_one();
            f.notified().await;
            "done"
        });
        let (address, stop, server) = started(Router::new().route("/slow", slow)).await;
        let answer = tokio::spawn(async move { status(address, "/slow").await });
        begun.notified().await;
        stop.cancel();
        finish.notify_one();
        assert_eq!(answer.await.unwrap(), ("200".into(), "done".into()));
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_taken_address_names_its_flag() {
        let first = bind("--a", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind("--health-listen", address).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address} (--health-listen): ")), "{error}");
    }
}
