//! What commands about objects in a cluster share: where it is, and which namespace is meant.

use clap::Args;
use kube::Client;

use super::Failure;
use crate::operating::client;
use crate::operating::settings::KubeSettings;

/// Which cluster and which namespace: the same rules as kubectl.
#[derive(Args, Clone, Debug, Default)]
pub struct ClusterArgs {
    /// The cluster.
    #[command(flatten)]
    pub kube: KubeSettings,
    /// Namespace of the objects [default: the context's]
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
}

impl ClusterArgs {
    /// Connects, and runs a command with the client and the namespace.
    ///
    /// # Errors
    /// There is no such cluster, or the command fails.
    pub fn run<T>(&self, command: impl AsyncFnOnce(Client, String) -> Result<T, Failure>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = client::connect(&self.kube, None).await?;
            let namespace = self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
            command(client, namespace).await
        })
    }
}
