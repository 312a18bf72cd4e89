//! Clients of the API server that all tests share.

use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use mailcert::operating::client::from_config;
use mailcert_testenv::Cluster;
use serde_json::Value;

pub fn cluster() -> &'static Cluster {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Cluster::shared()
}

/// The operator's own kind of client, as an administrator or as somebody else.
pub async fn client(user: Option<&str>) -> Client {
    let kubeconfig = Kubeconfig::read_from(cluster().kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = user.map(str::to_owned);
    from_config(config, Duration::from_secs(60), None).unwrap()
}

/// Creates or changes objects; JSON is YAML.
pub fn apply(objects: &[Value]) {
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
    cluster().apply(&list.to_string()).unwrap();
}

/// Waits until `look` gives something.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "still no {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
