//! A webhook as cert-manager's contract describes it: an API of its own that the API server sends requests on to.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mailcert_testenv::pki::Ca;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::api::{apply, client, cluster, until};

/// A request that the webhook got.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub content_type: String,
    /// Whom the API server authenticated.
    pub user: String,
    pub body: Value,
}

/// What the webhook says.
pub enum Say {
    /// This status and body.
    This(u16, Vec<u8>),
    /// Nothing, for ever.
    Nothing,
}

pub fn say(status: u16, body: &Value) -> Say {
    Say::This(status, body.to_string().into_bytes())
}

/// As cert-manager's library answers: the request with a response in it.
pub fn done(asked: &Asked) -> Say {
    let mut payload = asked.body.clone();
    payload["response"] = json!({"uid": payload["request"]["uid"], "success": true});
    say(201, &payload)
}

pub struct Webhook {
    pub group: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Webhook {
    /// Registers the group `<name>.example.com` with one solver, `fake`, and waits until the API server reaches it.
    pub async fn start(name: &str, answer: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Self {
        let group = format!("{name}.example.com");
        let ca = Ca::new("webhook-ca").unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let acceptor = acceptor(&ca, &format!("{name}.default.svc"));
        tokio::spawn(serve(listener, acceptor, asked.clone(), Arc::new(answer), group.clone()));
        apply(&[
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
                "spec": {"type": "ExternalName", "externalName": "localhost"}}),
            api_service(&group, name, port, &ca.cert_pem),
        ]);
        let reached = async || {
            let condition = "jsonpath={.status.conditions[?(@.type==\"Available\")].status}";
            let name = format!("v1alpha1.{group}");
            let get = ["get", "apiservice", &name, "-o", condition];
            (tokio::task::block_in_place(|| cluster().kubectl(&get)).unwrap().trim() == "True").then_some(())
        };
        until("available APIService", reached).await;
        // The proxy is told after the status: until then it answers for itself.
        let admin = client(None).await;
        let path = format!("/apis/{group}/v1alpha1");
        let discovered = async || {
            let request = Request::get(path.as_str()).body(Vec::new()).unwrap();
            admin.request::<Value>(request).await.ok()
        };
        until("API of the webhook", discovered).await;
        Self { group, asked }
    }

    /// What it was asked to do, so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

pub fn api_service(group: &str, service: &str, port: u16, ca_pem: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1alpha1.{group}")},
        "spec": {
            "group": group, "version": "v1alpha1", "groupPriorityMinimum": 1000, "versionPriority": 15,
            "service": {"namespace": "default", "name": service, "port": port},
            "caBundle": BASE64_STANDARD.encode(ca_pem),
        },
    })
}

fn acceptor(ca: &Ca, name: &str) -> TlsAcceptor {
    let pair = ca.issue("webhook", &[name], None).unwrap();
    let certificate = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<impl Fn(&Asked) -> Say + Send + Sync + 'static>,
    group: String,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, asked, answer, group) = (acceptor.clone(), asked.clone(), answer.clone(), group.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            let handle = service_fn(|request| {
                let (asked, answer, group) = (asked.clone(), answer.clone(), group.clone());
                async move { Ok::<_, Infallible>(respond(request, &asked, &*answer, &group).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), handle).await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    asked: &Mutex<Vec<Asked>>,
    answer: &(impl Fn(&Asked) -> Say + Sync),
    group: &str,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.to_string();
    let own = format!("/apis/{group}/v1alpha1");
    if head.method == Method::GET {
        // Discovery.
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/v1alpha1"),
            "resources": [{"name": "fake", "singularName": "ChallengePayload", "namespaced": false,
                "group": "webhook.acme.cert-manager.io", "version": "v1alpha1", "kind": "ChallengePayload",
                "verbs": ["create"]}]});
        return if path == own { response(say(200, &list)).await } else { response(say(404, &json!({}))).await };
    }
    if path != format!("{own}/fake") {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "the server could not find the requested resource", "reason": "NotFound", "code": 404});
        return response(say(404, &status)).await;
    }
    let header = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (content_type, user) = (header("content-type"), header("x-remote-user"));
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let seen = Asked { method: head.method, path, content_type, user, body };
    asked.lock().unwrap().push(seen.clone());
    response(answer(&seen)).await
}

async fn response(say: Say) -> Response<Full<Bytes>> {
    match say {
        Say::This(status, body) => {
            let mut response = Response::new(Full::new(body.into()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert("content-type", "application/json".parse().unwrap());
            response
        }
        Say::Nothing => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Response::default()
        }
    }
}
