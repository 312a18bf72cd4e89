//! The Kubernetes client: kubectl's rules for where the cluster is, and requests that all come to an end.
//!
//! kube's own client retries a busy server up to fifteen times and waits for an answer without limit, so that one
//! call can hold a reconcile for many minutes. Here a request is sent once and is over after
//! [`KubeSettings::api_timeout`]; what to do then is the caller's backoff to decide.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body as HttpBody;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, DynBody},
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tower::{BoxError, Layer, Service};

use super::{metrics::Metrics, settings::KubeSettings};

/// Largest answer that is read. A page of 500 objects of the largest size that etcd stores is below it.
const MAX_ANSWER: usize = 768 << 20;

/// A request's extension: the largest answer to it that is read, in bytes. For what is not the API server's own.
#[derive(Clone, Copy, Debug)]
pub struct MaxAnswer(pub usize);

/// No client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The named kubeconfig or context does not lead to a cluster.
    #[error("cannot use {place}: {source}; check --kubeconfig and --context")]
    Kubeconfig {
        /// The file, or where it is looked for.
        place: String,
        /// What is wrong with it.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// Neither a kubeconfig nor a service account was found.
    #[error("no cluster to talk to: {0}; give --kubeconfig, set KUBECONFIG, or run in a Pod with a service account")]
    NoCluster(#[source] Box<InferConfigError>),
    /// The configuration was found but the client refuses it.
    #[error("the cluster's configuration cannot be used: {0}")]
    Unusable(#[source] Box<kube::Error>),
}

/// Makes the client. Requests are counted in `metrics` when given.
///
/// # Errors
/// No cluster is configured, or its configuration is broken. The cluster itself is not asked.
pub async fn connect(settings: &KubeSettings, metrics: Option<Arc<Metrics>>) -> Result<Client, ClientError> {
    from_config(load_config(settings).await?, settings.api_timeout, metrics)
}

/// Makes the client from a configuration; `timeout` is the longest time of one request.
///
/// # Errors
/// The configuration names credentials or certificates that cannot be read.
pub fn from_config(
    mut config: Config,
    timeout: Duration,
    metrics: Option<Arc<Metrics>>,
) -> Result<Client, ClientError> {
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("mailcert/", env!("CARGO_PKG_VERSION")));
    config.headers.push((header::USER_AGENT, agent));
    let builder = ClientBuilder::try_from(config).map_err(|e| ClientError::Unusable(Box::new(e)))?;
    Ok(builder.with_layer(&BoundedLayer { timeout, metrics }).build())
}

async fn load_config(settings: &KubeSettings) -> Result<Config, ClientError> {
    let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
    let broken = |place: String| move |e| ClientError::Kubeconfig { place, source: Box::new(e) };
    match (&settings.kubeconfig, &settings.context) {
        (Some(file), _) => {
            let place = format!("the kubeconfig {}", file.display());
            let kubeconfig = Kubeconfig::read_from(file).map_err(broken(place.clone()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(broken(place))
        }
        // A context was asked for by name: the Pod's service account would be another cluster than the one meant.
        (None, Some(context)) => Config::from_kubeconfig(&options)
            .await
            .map_err(broken(format!("the context {context:?} of the kubeconfig"))),
        (None, None) => Config::infer().await.map_err(|e| ClientError::NoCluster(Box::new(e))),
    }
}

/// The API server did not answer a request in time.
#[derive(Debug, thiserror::Error)]
#[error("the Kubernetes API did not answer {verb} {resource} within {after:?}")]
pub struct RequestTimeout {
    verb: &'static str,
    resource: String,
    after: Duration,
}

/// Whether a call failed because the API server did not answer in time. It may still have carried it out.
pub fn is_timeout(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(e) if e.downcast_ref::<RequestTimeout>().is_some())
}

/// Bounds and counts requests.
struct BoundedLayer {
    timeout: Duration,
    metrics: Option<Arc<Metrics>>,
}

impl<S> Layer<S> for BoundedLayer {
    type Service = Bounded<S>;
    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner, timeout: self.timeout, metrics: self.metrics.clone() }
    }
}

struct Bounded<S> {
    inner: S,
    timeout: Duration,
    metrics: Option<Arc<Metrics>>,
}

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Box<DynBody>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let kind = Kind::of(&request);
        let after = self.timeout;
        let foreign = request.extensions().get::<MaxAnswer>().copied();
        if let Some(metrics) = &self.metrics {
            // Its name is the user's to choose, and a series would be kept for each.
            metrics.api_request(kind.verb, if foreign.is_some() { "-" } else { &kind.resource });
        }
        let limit = foreign.map_or(MAX_ANSWER, |MaxAnswer(limit)| limit);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let finished = tokio::time::timeout(after, async {
                let (head, body) = answer.await.map_err(Into::into)?.into_parts();
                let body = if kind.streams { stream(body) } else { whole(body, limit).await? };
                Ok(Response::from_parts(head, body))
            });
            finished
                .await
                .unwrap_or_else(|_| Err(RequestTimeout { verb: kind.verb, resource: kind.resource, after }.into()))
        })
    }
}

fn stream<B>(body: B) -> Box<DynBody>
where
    B: HttpBody<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    Box::new(body.map_err(Into::into))
}

async fn whole<B>(body: B, limit: usize) -> Result<Box<DynBody>, BoxError>
where
    B: HttpBody<Data = bytes::Bytes> + Send + Unpin,
    B::Error: Into<BoxError>,
{
    let bytes = Limited::new(body, limit).collect().await?.to_bytes();
    Ok(Box::new(Full::new(bytes).map_err(|never| match never {})))
}

/// What a request is, from its method and path alone.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    /// The verb as RBAC names it.
    verb: &'static str,
    /// `secrets`, `mailcertificates/status`; `-` for what is no resource.
    resource: String,
    /// The answer's body has no end of its own: only its head is bounded.
    streams: bool,
}

impl Kind {
    fn of<B>(request: &Request<B>) -> Self {
        let upgrade = request.headers().contains_key(header::UPGRADE);
        Self::parse(request.method(), request.uri(), upgrade)
    }

    fn parse(method: &Method, uri: &Uri, upgrade: bool) -> Self {
        let flagged = |name: &str| {
            let set = |pair: &str| pair.split_once('=').is_some_and(|(n, v)| n == name && (v == "true" || v == "1"));
            uri.query().is_some_and(|q| q.split('&').any(set))
        };
        let (resource, named) = resource(uri.path());
        let watch = flagged("watch");
        let verb = match (method, named) {
            (&Method::GET, _) if watch => "watch",
            (&Method::GET, true) => "get",
            (&Method::GET, false) if resource != "-" => "list",
            (&Method::GET, false) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, true) => "delete",
            (&Method::DELETE, false) => "deletecollection",
            _ => "other",
        };
        Self { verb, resource, streams: watch || upgrade || flagged("follow") }
    }
}

/// The resource (with subresource) of an API path, and whether the path names one object.
fn resource(path: &str) -> (String, bool) {
    let mut parts = path.split('/').filter(|p| !p.is_empty()).peekable();
    let prefix = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return ("-".to_owned(), false),
    };
    for _ in 0..prefix {
        parts.next();
    }
    let mut rest: Vec<&str> = parts.collect();
    // `namespaces/NAME` alone is the Namespace itself; its subresources are `status` and `finalize`.
    if rest.len() > 2 && rest[0] == "namespaces" && !matches!(rest[2], "status" | "finalize") {
        rest.drain(..2);
    }
    match rest[..] {
        [] => ("-".to_owned(), false),
        [resource] => (resource.to_owned(), false),
        [resource, _] => (resource.to_owned(), true),
        [resource, _, sub, ..] => (format!("{resource}/{sub}"), true),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::Secret;
    use kube::{Api, api::ListParams};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn requests_are_named_as_rbac_names_them() {
        let cases = [
            ("GET", "/api/v1/secrets?limit=500", "list secrets", false),
            ("GET", "/api/v1/namespaces/a/secrets/b", "get secrets", false),
            ("GET", "/api/v1/namespaces/a/secrets?&watch=true&x=1", "watch secrets", true),
            ("GET", "/api/v1/namespaces", "list namespaces", false),
            ("GET", "/api/v1/namespaces/a", "get namespaces", false),
            ("PUT", "/api/v1/namespaces/a/status", "update namespaces/status", false),
            (
                "PATCH",
                "/apis/mailcert.dev/v1alpha1/namespaces/a/mailcertificates/b/status",
                "patch mailcertificates/status",
                false,
            ),
            ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", "create events", false),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments/b", "delete deployments", false),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection deployments", false),
            ("GET", "/api/v1/namespaces/a/pods/b/log?follow=true", "get pods/log", true),
            ("GET", "/version", "get -", false),
            ("GET", "/apis/apps/v1", "get -", false),
        ];
        for (method, uri, wanted, streams) in cases {
            let kind = Kind::parse(&method.parse().unwrap(), &uri.parse().unwrap(), false);
            assert_eq!((format!("{} {}", kind.verb, kind.resource).as_str(), kind.streams), (wanted, streams), "{uri}");
        }
    }

    fn config(port: u16) -> Config {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Config::new(format!("http://127.0.0.1:{port}").parse().unwrap())
    }

    /// Answers every connection with the same bytes and keeps it open; hands back the first request's head.
    async fn server(answer: &'static str) -> (u16, tokio::sync::oneshot::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tx, rx) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut tx = Some(tx);
            let mut open = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let n = socket.read(&mut head).await.unwrap();
                if let Some(tx) = tx.take() {
                    let _ = tx.send(String::from_utf8_lossy(&head[..n]).into_owned());
                }
                socket.write_all(answer.as_bytes()).await.unwrap();
                open.push(socket);
            }
        });
        (port, rx)
    }

    #[tokio::test]
    async fn a_silent_server_and_a_body_without_end_both_time_out() {
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"] {
            let (port, _) = server(answer).await;
            let client = from_config(config(port), Duration::from_millis(200), None).unwrap();
            let secrets: Api<Secret> = Api::namespaced(client, "mail");
            let bound = Duration::from_secs(20);
            let error = tokio::time::timeout(bound, secrets.get("web")).await.expect("bounded").unwrap_err();
            assert!(is_timeout(&error), "{error:?}");
        }
    }

    #[tokio::test]
    async fn requests_are_counted_once_and_carry_the_version() {
        let (port, head) =
            server("HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n").await;
        let metrics = Arc::new(Metrics::new());
        let client = from_config(config(port), Duration::from_secs(20), Some(metrics.clone())).unwrap();
        Api::<Secret>::all(client).list(&ListParams::default()).await.unwrap_err();
        assert!(head.await.unwrap().contains(concat!("user-agent: mailcert/", env!("CARGO_PKG_VERSION"))));
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"mailcert_api_requests_total{verb="list",resource="secrets"} 1"#), "{text}");
    }

    #[tokio::test]
    async fn a_broken_kubeconfig_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let named = KubeSettings { kubeconfig: Some(file.path().into()), ..KubeSettings::default() };
        let error = connect(&named, None).await.map(drop).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()) && error.contains("--kubeconfig"), "{error}");
        let contents: BTreeMap<&str, &str> = BTreeMap::from([("apiVersion", "v1"), ("kind", "Config")]);
        std::fs::write(file.path(), serde_json::to_string(&contents).unwrap()).unwrap();
        let missing = KubeSettings { context: Some("nowhere".into()), ..named };
        let error = connect(&missing, None).await.map(drop).unwrap_err().to_string();
        assert!(error.contains("nowhere"), "{error}");
    }
}
