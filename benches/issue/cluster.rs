//! The API server, and the objects on it.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, ResourceExt};
use mailcert::api::{MailCertificate, MailIssuer};
use mailcert_testenv::{Cluster, pki::Ca};
use serde::de::DeserializeOwned;
use serde_json::json;

/// What went wrong, in words.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Objects that are created at once while nothing is measured.
const ABREAST: usize = 32;
/// The longest that one certificate may take on average before the benchmark gives up.
const PATIENCE: Duration = Duration::from_millis(500);

/// An API server with mailcert's kinds.
pub struct Stage {
    pub cluster: &'static Cluster,
    pub client: Client,
}

impl Stage {
    pub async fn new(cluster: &'static Cluster) -> Result<Self> {
        let mut crds = String::new();
        for crd in mailcert::cli::crds::all() {
            crds += &format!("---\n{}", mailcert::cli::crds::yaml(&crd)?);
        }
        let established = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        tokio::task::spawn_blocking(move || cluster.apply(&crds).and_then(|_| cluster.kubectl(&established))).await??;
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self { cluster, client: Client::try_from(config)? })
    }

    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A namespace with a CA, its issuer, and `count` MailCertificates that wait for it.
    pub async fn prepare(&self, namespace: &str, count: usize) -> Result<()> {
        self.namespace(namespace).await?;
        let ca = Ca::new("Benchmark CA")?;
        let secret: Secret = from(json!({
            "metadata": {"name": "ca"}, "type": "kubernetes.io/tls", "stringData": {"tls.crt": ca.cert_pem, "tls.key": ca.key_pem},
        }))?;
        self.api(namespace).create(&PostParams::default(), &secret).await?;
        let issuer: MailIssuer =
            from(json!({"metadata": {"name": "ca"}, "spec": {"ca": {"secretRef": {"name": "ca"}}}}))?;
        self.api(namespace).create(&PostParams::default(), &issuer).await?;
        self.certificates(namespace, count).await
    }

    pub async fn namespace(&self, name: &str) -> Result<()> {
        let namespace: Namespace = from(json!({"metadata": {"name": name}}))?;
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    /// MailCertificates `cert-0`, `cert-1` and so on.
    pub async fn certificates(&self, namespace: &str, count: usize) -> Result<()> {
        let api: Api<MailCertificate> = self.api(namespace);
        futures::stream::iter(0..count)
            .map(|i| {
                let api = api.clone();
                async move {
                    let certificate: MailCertificate = from(json!({
                        "metadata": {"name": format!("cert-{i}")},
                        "spec": {
                            "issuerRef": {"name": "ca"},
                            "secretName": format!("cert-{i}-tls"),
                            // Of domains of their own, or limits by domain would be what is measured.
                            "dnsNames": [format!("mail.example{i}.test"), format!("imap.example{i}.test")],
                        },
                    }))?;
                    api.create(&PostParams::default(), &certificate).await?;
                    Result::Ok(())
                }
            })
            .buffer_unordered(ABREAST)
            .try_collect()
            .await
    }

    /// Waits until `count` MailCertificates are Ready.
    pub async fn wait_ready(&self, namespace: &str, count: usize) -> Result<()> {
        let api: Api<MailCertificate> = self.api(namespace);
        let limit = Duration::from_secs(60) + PATIENCE * u32::try_from(count)?;
        let mut ready = HashSet::new();
        let wait = async {
            let mut changes =
                std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
            while ready.len() < count {
                let Some(changed) = changes.next().await else { break };
                // An error means that the watch begins anew.
                if let Ok(certificate) = changed
                    && is_ready(&certificate)
                {
                    ready.insert(certificate.name_any());
                }
            }
        };
        if tokio::time::timeout(limit, wait).await.is_err() {
            return Err(format!("{} of {count} certificates are Ready after {limit:?}", ready.len()).into());
        }
        Ok(())
    }
}

fn is_ready(certificate: &MailCertificate) -> bool {
    let conditions = certificate.status.iter().flat_map(|s| &s.conditions);
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// An object from its JSON.
pub fn from<T: DeserializeOwned>(json: serde_json::Value) -> Result<T> {
    Ok(serde_json::from_value(json)?)
}
