//! The namespace's system certificate: which one it is, who depends on it, and its finalizer.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::api::Patch;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::context::Context;
use super::index::Key;
use super::pass::PassError;
use super::secrets;
use crate::api::{MailCertificate, MailDomain, keys};
use crate::decide::certificate::Fact;
use crate::decide::certificate::world::SystemView;
use crate::decide::domain::world::CertificateView;
use crate::decide::system;

/// The system certificate of a namespace.
pub fn system_of(context: &Context, namespace: &str) -> Option<Arc<MailCertificate>> {
    let named = context.relations.systems.of(&namespace.to_owned());
    system::holder(named.iter().filter_map(|key| context.kinds.certificates.get(key)).collect())
}

/// The MailCertificate that a MailDomain uses, wherever it comes from.
pub fn used_by(context: &Context, domain: &MailDomain) -> Option<Arc<MailCertificate>> {
    let namespace = domain.namespace().unwrap_or_default();
    let named = context.kinds.certificates.get(&(namespace.clone(), CertificateView::name_for(domain)));
    match domain.spec.certificate.disabled {
        true => named.filter(|c| belongs_to(c, domain)).or_else(|| system_of(context, &namespace)),
        false => named,
    }
}

/// The MailDomains that fall back to this MailCertificate: none where it has not the role.
pub fn fallbacks_of(context: &Context, own: &Key) -> Vec<Key> {
    match system_of(context, &own.0) {
        Some(system) if system.name_any() == own.1 => context.relations.fallbacks.of(&own.0),
        _ => Vec::new(),
    }
}

/// Whether a MailCertificate is a MailDomain's own.
pub fn belongs_to(certificate: &MailCertificate, domain: &MailDomain) -> bool {
    let controller = certificate.owner_references().iter().find(|o| o.controller == Some(true));
    controller.is_some_and(|o| Some(&o.uid) == domain.metadata.uid.as_ref())
}

/// Its part as the namespace's system certificate. Those that name it by `ref` depend on it as well.
pub fn view(context: &Context, object: &MailCertificate, own: &Key) -> SystemView {
    if !object.spec.system {
        return SystemView::default();
    }
    let holder = system_of(context, &own.0).map(|c| c.name_any()).filter(|name| *name != own.1);
    if holder.is_some() {
        return SystemView { holder, dependents: Vec::new() };
    }
    let by_name = context.relations.domains.of(own);
    let users = context.relations.fallbacks.of(&own.0).into_iter().chain(by_name);
    let alive = users.filter(|user| {
        let domain = context.kinds.domains.get(user);
        // Its own certificate is not what a MailDomain with a template falls back to.
        domain.is_some_and(|d| d.metadata.deletion_timestamp.is_none() && d.spec.certificate.template.is_none())
    });
    let names: BTreeSet<String> = alive.map(|user| user.1).collect();
    SystemView { holder, dependents: names.into_iter().collect() }
}

/// Puts the finalizer on or takes it off, where the object is still as it was read.
///
/// # Errors
/// When it cannot be written.
pub async fn set_finalizer(context: &Context, object: &MailCertificate, is_wanted: bool) -> Result<Fact, PassError> {
    let written = with_finalizer(context, object, keys::SYSTEM_FINALIZER, is_wanted).await?;
    Ok(written.map_or(Fact::Overtaken, Fact::Held))
}

/// Puts a finalizer on an object of ours or takes it off. Whether it is on now; nothing: somebody else wrote the object.
///
/// # Errors
/// When it cannot be written.
pub async fn with_finalizer<K>(
    context: &Context,
    object: &K,
    finalizer: &str,
    is_wanted: bool,
) -> Result<Option<bool>, PassError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + 'static,
{
    let mut finalizers: Vec<String> = object.finalizers().to_vec();
    finalizers.retain(|f| f != finalizer);
    finalizers.extend(is_wanted.then(|| finalizer.to_owned()));
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
    let api: Api<K> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    match api.patch(&object.name_any(), &secrets::params(), &Patch::Merge(patch)).await {
        Ok(written) => {
            // One that is gone with its last finalizer is not remembered.
            if written.meta().deletion_timestamp.is_none() || is_wanted {
                context.kinds.remember(&written);
            }
            Ok(Some(is_wanted))
        }
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(Some(false)),
        Err(kube::Error::Api(s)) if s.code == 409 => Ok(None),
        Err(e) => Err(PassError::api(format!("writing the finalizers of {} {}", K::kind(&()), object.name_any()))(e)),
    }
}
