//! Stands between the operator and the API server, and holds a write back for good: before it is done, or its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::Method;
use http::header::{HOST, TRANSFER_ENCODING};
use serde_json::Value;

use crate::common::{Kube, cluster};

/// Whether the write that is held back has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Without,
    With,
}

/// A write, by its number from 1 on, and what becomes of it.
pub type Moment = (usize, Effect);

#[derive(Default)]
struct Watched {
    moment: Option<Moment>,
    writes: Vec<String>,
}

/// What is known of MailCertificates, by name.
struct Shared {
    client: kube::Client,
    watched: Mutex<BTreeMap<String, Watched>>,
    held: Mutex<BTreeSet<String>>,
}

/// The gateway; it ends with the client's runtime.
pub struct Gateway {
    shared: Arc<Shared>,
    kubeconfig: std::path::PathBuf,
}

impl Gateway {
    pub fn start(kube: &Kube) -> Self {
        let shared = Arc::new(Shared { client: kube.client(), watched: Mutex::default(), held: Mutex::default() });
        let router = Router::new().fallback(pass).with_state(shared.clone());
        let address = kube.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, router).await });
            address
        });
        let kubeconfig = cluster().dir().join(format!("gateway-{}.kubeconfig", address.port()));
        let text = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "gateway",
            "clusters": [{"name": "gateway", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "gateway", "user": {}}],
            "contexts": [{"name": "gateway", "context": {"cluster": "gateway", "user": "gateway"}}]});
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        Self { shared, kubeconfig }
    }

    /// The flag with which an operator goes through here.
    pub fn flag(&self) -> String {
        format!("--kubeconfig={}", self.kubeconfig.display())
    }

    /// From now on the writes about a MailCertificate count, and from that moment on they are held back.
    pub fn watch(&self, name: &str, moment: Option<Moment>) {
        self.shared.watched.lock().unwrap().insert(name.to_owned(), Watched { moment, writes: Vec::new() });
    }

    /// Nothing is held back any more.
    pub fn open(&self) {
        self.shared.watched.lock().unwrap().clear();
        self.shared.held.lock().unwrap().clear();
    }

    /// Whether something about a MailCertificate is held back.
    pub fn holds(&self, name: &str) -> bool {
        self.shared.held.lock().unwrap().contains(name)
    }

    /// The writes about a MailCertificate.
    pub fn writes(&self, name: &str) -> Vec<String> {
        self.shared.watched.lock().unwrap().get(name).map(|w| w.writes.clone()).unwrap_or_default()
    }
}

impl Shared {
    /// Takes note of a request. Whose it is and what becomes of it, where it is to be held back.
    fn note(&self, method: &Method, path: &str, body: &[u8]) -> Option<(String, Effect)> {
        let writes = [Method::POST, Method::PATCH, Method::PUT, Method::DELETE];
        if !writes.contains(method) || path.contains("/events") || path.contains("accessreviews") {
            return None;
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let object = body["metadata"]["name"].as_str().unwrap_or_default();
        let mut watched = self.watched.lock().unwrap();
        let is_about = |name: &str| {
            let secret = format!("{name}-tls");
            path.contains(&format!("/secrets/{secret}"))
                || path.contains(&format!("/mailcertificates/{name}/"))
                || (*method == Method::POST && object.starts_with(&secret))
        };
        let (name, watched) = watched.iter_mut().find(|(name, _)| is_about(name))?;
        let target = path.split('?').next().unwrap_or_default();
        watched.writes.push(format!("{method} {} {object}", target.rsplit('/').next().unwrap_or_default()));
        let (number, effect) = watched.moment?;
        match watched.writes.len().cmp(&number) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some((name.clone(), effect)),
            std::cmp::Ordering::Greater => Some((name.clone(), Effect::Without)),
        }
    }

    async fn hold(&self, name: String) {
        self.held.lock().unwrap().insert(name);
        // Until whoever waits is gone.
        std::future::pending::<()>().await;
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, 4 << 20).await.unwrap().to_vec();
    let held = shared.note(&parts.method, &parts.uri.to_string(), &body);
    if let Some((name, Effect::Without)) = &held {
        shared.hold(name.clone()).await;
    }
    parts.headers.remove(HOST);
    let request = http::Request::from_parts(parts, kube::client::Body::from(body));
    let answer = shared.client.send(request).await.unwrap();
    if let Some((name, Effect::With)) = &held {
        shared.hold(name.clone()).await;
    }
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(TRANSFER_ENCODING);
    Response::from_parts(parts, Body::new(body))
}
