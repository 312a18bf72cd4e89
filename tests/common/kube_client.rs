//! A blocking client for the API server: objects as JSON.

use std::{fmt, path::PathBuf};

use http::{Method, Request};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use mailcert_testenv::Cluster;
use serde_json::{Value, json};

/// Where an object lives in the API.
#[derive(Clone, Debug)]
pub struct Path(String);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Path {
    /// A namespaced object: `secrets`, `mailcertificates`, `deployments.apps` ….
    pub fn new(plural: &str, namespace: &str, name: &str) -> Self {
        let (plural, group) = plural.split_once('.').unwrap_or((plural, default_group(plural)));
        Self(format!("{}/namespaces/{namespace}/{plural}/{name}", root(group)))
    }

    /// An object without a namespace.
    pub fn cluster(plural: &str, name: &str) -> Self {
        let (plural, group) = plural.split_once('.').unwrap_or((plural, default_group(plural)));
        Self(format!("{}/{plural}/{name}", root(group)))
    }

    pub fn secret(namespace: &str, name: &str) -> Self {
        Self::new("secrets", namespace, name)
    }
    pub fn issuer(namespace: &str, name: &str) -> Self {
        Self::new("mailissuers", namespace, name)
    }
    pub fn certificate(namespace: &str, name: &str) -> Self {
        Self::new("mailcertificates", namespace, name)
    }
    pub fn domain(namespace: &str, name: &str) -> Self {
        Self::new("maildomains", namespace, name)
    }

    fn collection(&self) -> &str {
        self.0.rsplit_once('/').unwrap().0
    }
}

fn default_group(plural: &str) -> &'static str {
    if plural.starts_with("mail") { "mailcert.dev" } else { "" }
}

fn root(group: &str) -> String {
    match group {
        "" => "/api/v1".to_owned(),
        "mailcert.dev" => "/apis/mailcert.dev/v1alpha1".to_owned(),
        group => format!("/apis/{group}/v1"),
    }
}

/// An administrator's client.
pub struct Kube {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Kube {
    pub fn new(cluster: &Cluster) -> Self {
        Self::with_kubeconfig(cluster.kubeconfig().into())
    }

    pub fn with_kubeconfig(path: PathBuf) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(path).unwrap();
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        Self { runtime, client }
    }

    /// For typed calls.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Runs a future of this client.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn request(&self, method: Method, path: &str, content_type: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let request = Request::builder().method(method).uri(path).header("content-type", content_type).body(body);
        match self.block_on(self.client.request::<Value>(request.unwrap())) {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(other) => panic!("{path}: {other:?}"),
        }
    }

    /// The object, if it exists.
    pub fn get(&self, at: &Path) -> Option<Value> {
        let request = Request::get(&at.0).body(Vec::new()).unwrap();
        match self.block_on(self.client.request::<Value>(request)) {
            Ok(value) => Some(value),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(other) => panic!("{at}: {other:?}"),
        }
    }

    /// The objects of a collection, by its path.
    pub fn list(&self, collection: &str) -> Vec<Value> {
        let list = self.request(Method::GET, collection, "application/json", &Value::Null).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The objects of that kind in a namespace.
    pub fn list_in(&self, plural: &str, namespace: &str) -> Vec<Value> {
        self.list(Path::new(plural, namespace, "any").collection())
    }

    /// Creates an object, whose kind says where. The error is the API server's message.
    pub fn create(&self, object: &Value) -> Result<Value, String> {
        self.request(Method::POST, &collection_of(object), "application/json", object)
    }

    /// As [`Kube::create`], without keeping it.
    pub fn create_dry(&self, object: &Value) -> Result<Value, String> {
        let path = format!("{}?dryRun=All", collection_of(object));
        self.request(Method::POST, &path, "application/json", object)
    }

    /// A JSON merge patch.
    pub fn patch(&self, at: &Path, patch: &Value) -> Result<Value, String> {
        self.request(Method::PATCH, &at.0, "application/merge-patch+json", patch)
    }

    /// A JSON merge patch of the status.
    pub fn patch_status(&self, at: &Path, patch: &Value) -> Result<Value, String> {
        self.request(Method::PATCH, &format!("{at}/status"), "application/merge-patch+json", patch)
    }

    /// A server-side apply of the status, as a manager does it who forces nothing.
    pub fn apply_status(&self, at: &Path, manager: &str, object: &Value) -> Result<Value, String> {
        let path = format!("{at}/status?fieldManager={manager}");
        self.request(Method::PATCH, &path, "application/apply-patch+yaml", object)
    }

    /// Sets one annotation.
    pub fn annotate(&self, at: &Path, key: &str, value: &str) {
        self.patch(at, &json!({"metadata": {"annotations": {key: value}}})).unwrap();
    }

    pub fn delete(&self, at: &Path) {
        self.request(Method::DELETE, &at.0, "application/json", &Value::Null).unwrap();
    }
}

fn collection_of(object: &Value) -> String {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let plural = format!("{}s", kind.to_ascii_lowercase());
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    }
}
