//! CertificateRequests of cert-manager (`cert-manager.io/v1`): made with our CSR, looked at, deleted.
//!
//! The key never leaves mailcert: a request carries the CSR alone, and whoever signs for cert-manager (Vault, step-ca,
//! AWS PCA, …) sees no more. A request is used once: it succeeds or fails, and its spec cannot change.

mod types;

use std::collections::BTreeMap;

use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use self::types::Spec;
pub use self::types::{IssuerRef, duration, usages, view};
use crate::api::keys;
use crate::decide::certificate::world::RequestView;

/// The chart's value that grants what is needed here.
pub const CHART_VALUE: &str = "certManager.enabled";

/// A request to make.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// Its name.
    pub name: &'a str,
    /// The MailCertificate that it is for, in the same namespace.
    pub owner: &'a str,
    /// The owner reference to it.
    pub owner_reference: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>,
    /// Who is to sign.
    pub issuer: IssuerRef,
    /// The CSR, DER.
    pub csr: &'a [u8],
    /// As cert-manager writes durations; none: the signer chooses.
    pub duration: Option<String>,
    /// As cert-manager calls them. They must be those of the CSR, or cert-manager refuses it.
    pub usages: Vec<&'static str>,
}

/// Why a request could not be made, looked at or deleted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The cluster has no CertificateRequests.
    #[error(
        "this cluster does not know cert-manager's CertificateRequests (certificaterequests.cert-manager.io): install \
         cert-manager, or use another issuer"
    )]
    NotInstalled,
    /// RBAC.
    #[error(
        "the operator may not {0} CertificateRequests in namespace {1}: set the chart's value {CHART_VALUE} to true"
    )]
    Forbidden(&'static str, String),
    /// cert-manager's webhook or the API server refuses the request.
    #[error("the CertificateRequest was refused: {0}")]
    Refused(String),
    /// There is one of that name which is not ours.
    #[error("the CertificateRequest {0} exists and was not made by mailcert for this MailCertificate: delete it")]
    Foreign(String),
    /// The API server did not answer, or not as it should.
    #[error("{0}")]
    Api(#[source] Box<kube::Error>),
}

fn requests(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest"),
        "certificaterequests",
    );
    Api::namespaced_with(client.clone(), namespace, &kind)
}

/// Makes a request. One of that name that this MailCertificate has made before is taken as it is: the name says for what.
///
/// # Errors
/// When it is refused, or cannot be made.
pub async fn create(client: &Client, namespace: &str, draft: &Draft<'_>) -> Result<RequestView, Failure> {
    let api = requests(client, namespace);
    let params = PostParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &object(draft)).await {
        Ok(made) => Ok(view(&made)),
        Err(kube::Error::Api(s)) if s.code == 409 => {
            let found = api.get(draft.name).await.map_err(|e| classify(e, "get", namespace))?;
            if !is_ours(&found, draft) {
                return Err(Failure::Foreign(draft.name.to_owned()));
            }
            Ok(view(&found))
        }
        Err(e) => Err(classify(e, "create", namespace)),
    }
}

/// Looks at a request. None: there is none.
///
/// # Errors
/// When it cannot be looked at.
pub async fn look(client: &Client, namespace: &str, name: &str) -> Result<Option<RequestView>, Failure> {
    match requests(client, namespace).get(name).await {
        Ok(found) => Ok(Some(view(&found))),
        Err(kube::Error::Api(s)) if s.code == 404 && s.reason == "NotFound" => Ok(None),
        Err(e) => Err(classify(e, "get", namespace)),
    }
}

/// Deletes a request that this MailCertificate has made. One that is gone is fine.
///
/// # Errors
/// When it cannot be deleted.
pub async fn delete(client: &Client, namespace: &str, name: &str, owner: &str) -> Result<(), Failure> {
    let api = requests(client, namespace);
    let found = match api.get(name).await {
        Ok(found) => found,
        Err(kube::Error::Api(s)) if s.code == 404 => return Ok(()),
        Err(e) => return Err(classify(e, "get", namespace)),
    };
    if !made_for(&found, owner) {
        return Ok(());
    }
    // Not another one that has come in its place meanwhile.
    let same = Preconditions { uid: found.uid(), resource_version: None };
    match api.delete(name, &DeleteParams::default().preconditions(same)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(()),
        Err(e) => Err(classify(e, "delete", namespace)),
    }
}

fn made_for(object: &DynamicObject, owner: &str) -> bool {
    let labels = object.labels();
    labels.get(keys::MANAGED_BY).map(String::as_str) == Some(keys::MANAGER)
        && labels.get(keys::OWNER).map(String::as_str) == Some(owner)
}

/// Whether a request of the same name is the one that this draft would make: spec cannot change after creation.
fn is_ours(object: &DynamicObject, draft: &Draft<'_>) -> bool {
    let spec = object.data.get("spec").cloned().and_then(|s| serde_json::from_value::<Spec>(s).ok());
    made_for(object, draft.owner) && spec.is_some_and(|s| s.issuer_ref == draft.issuer)
}

fn object(draft: &Draft<'_>) -> DynamicObject {
    let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest");
    let mut object = DynamicObject::new(draft.name, &ApiResource::from_gvk_with_plural(&kind, "certificaterequests"));
    object.metadata.labels = Some(BTreeMap::from([
        (keys::MANAGED_BY.to_owned(), keys::MANAGER.to_owned()),
        (keys::OWNER.to_owned(), draft.owner.to_owned()),
    ]));
    object.metadata.owner_references = draft.owner_reference.clone().map(|o| vec![o]);
    object.data = serde_json::json!({"spec": Spec::new(draft)});
    object
}

fn classify(error: kube::Error, verb: &'static str, namespace: &str) -> Failure {
    let kube::Error::Api(status) = &error else { return Failure::Api(Box::new(error)) };
    match status.code {
        // A missing object is "NotFound"; a missing kind is answered with no Status at all.
        404 if status.reason != "NotFound" => Failure::NotInstalled,
        // Admission webhooks refuse with this code too.
        403 if status.message.contains("cannot ") => Failure::Forbidden(verb, namespace.to_owned()),
        400 | 403 | 406 | 422 => Failure::Refused(types::words(&status.message)),
        _ => Failure::Api(Box::new(error)),
    }
}

#[cfg(test)]
mod tests;
