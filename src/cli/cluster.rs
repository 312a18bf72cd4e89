//! What commands about objects in a cluster share: where it is, and which namespace is meant.

use clap::Args;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::Failure;
use crate::api::MailCertificate;
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
            let (client, namespace) = self.connect().await?;
            command(client, namespace).await
        })
    }

    /// A client, and the namespace. The cluster itself is not asked.
    ///
    /// # Errors
    /// There is no such cluster.
    pub async fn connect(&self) -> Result<(Client, String), Failure> {
        let client = client::connect(&self.kube, None).await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        Ok((client, namespace))
    }
}

/// The MailCertificate of that name.
///
/// # Errors
/// There is none, or it may not be read.
pub async fn certificate(client: &Client, namespace: &str, name: &str) -> Result<MailCertificate, Failure> {
    let api: Api<MailCertificate> = Api::namespaced(client.clone(), namespace);
    api.get(name).await.map_err(|error| refused(error, "read", namespace, name))
}

/// Sets annotations on a MailCertificate: on that very object, not on another one of its name.
///
/// # Errors
/// It is gone, or may not be written: `doing` is what was to be done.
pub async fn annotate(
    client: Client,
    object: &MailCertificate,
    annotations: Value,
    doing: &str,
) -> Result<(), Failure> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let api: Api<MailCertificate> = Api::namespaced(client, &namespace);
    let patch = json!({"metadata": {"uid": object.uid(), "annotations": annotations}});
    let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).map_err(|error| refused(error, doing, &namespace, &name))
}

/// What is said where mailcert is not installed.
pub const KIND_UNKNOWN: &str =
    "the cluster knows no MailCertificates: install mailcert there, or name another one (--context)";

/// Whether a 404 is about the collection, not about an object in it.
pub fn is_kind_unknown(said: &str) -> bool {
    ["could not find the requested resource", "page not found"].iter().any(|words| said.contains(words))
}

/// Why something could not be done with a MailCertificate, in words for the one who has asked.
fn refused(error: kube::Error, doing: &str, namespace: &str, name: &str) -> Failure {
    let kube::Error::Api(answer) = error else { return error.into() };
    let said = &answer.message;
    match answer.code {
        404 if is_kind_unknown(said) => KIND_UNKNOWN.into(),
        404 => format!(
            "there is no MailCertificate {name} in namespace {namespace}: kubectl get mailcertificates --all-namespaces lists \
             those that there are"
        )
        .into(),
        403 => format!("you may not {doing} MailCertificate {name} in namespace {namespace}: {said}").into(),
        _ => format!("MailCertificate {name} in namespace {namespace}: the API server says: {said}").into(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_the_api_server_refuses_is_said_in_words() {
        let said = |code: u16, message: &str| {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            refused(kube::Error::Api(Box::new(status)), "approve", "post", "mail").to_string()
        };
        assert_eq!(
            said(404, "mailcertificates.mailcert.dev \"mail\" not found"),
            "there is no MailCertificate mail in namespace post: kubectl get mailcertificates --all-namespaces lists those \
             that there are"
        );
        assert_eq!(
            said(404, "the server could not find the requested resource"),
            "the cluster knows no MailCertificates: install mailcert there, or name another one (--context)"
        );
        let forbidden = "mailcertificates.mailcert.dev \"mail\" is forbidden: User \"jane\" cannot patch";
        assert_eq!(
            said(403, forbidden),
            format!("you may not approve MailCertificate mail in namespace post: {forbidden}")
        );
        assert_eq!(
            said(409, "the object has been modified"),
            "MailCertificate mail in namespace post: the API server says: the object has been modified"
        );
    }
}
