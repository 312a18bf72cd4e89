//! The Secret of a MailDomain whose own certificate is disabled: a copy of the system certificate's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, Patch, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::context::Context;
use super::pass::PassError;
use super::relations::key;
use super::secrets::{TLS, params, post};
use super::system::{belongs_to, system_of};
use crate::api::domain::CopyStatus;
use crate::api::{MailCertificate, MailDomain, keys};
use crate::decide::domain::fallback::{CopyView, Fallback};
use crate::decide::domain::world::Fact;

/// What begins so is mailcert's own.
const OWN_PREFIX: &str = "mailcert.dev/";

/// What there is of a copy: for a MailDomain whose certificate is disabled, or was until now.
///
/// # Errors
/// When a Secret cannot be read.
pub async fn observe(context: &Context, domain: &MailDomain) -> Result<Option<Fallback>, PassError> {
    let (namespace, name) = key(domain);
    let is_disabled = domain.spec.certificate.disabled;
    let named = context.kinds.certificates.get(&(namespace.clone(), name.clone()));
    let template = domain.spec.certificate.template.as_ref();
    let own = named.clone().filter(|c| is_disabled && belongs_to(c, domain));
    let secret = match template {
        Some(template) => template.secret_name.clone().unwrap_or_else(|| format!("{name}-tls")),
        None => Fallback::secret_of(domain, own.as_deref()),
    };
    let meta = context.relations.secrets.get(&namespace, &secret);
    if !is_disabled && meta.is_none_or(|m| m.domain.as_ref() != Some(&name)) {
        return Ok(None);
    }
    // With a MailCertificate of another owner, its revisions are not ours.
    let leftovers = match (&named, is_disabled) {
        (Some(_), true) if own.is_none() => Vec::new(),
        (_, true) => context.relations.secrets.revisions(&namespace, &name).into_values().collect(),
        (_, false) => Vec::new(),
    };
    let system = system_of(context, &namespace);
    let copy = match &system {
        Some(system) => view(context, domain, own.as_deref(), system, &secret).await?,
        None => CopyView::NoSource,
    };
    Ok(Some(Fallback { secret, system, own, leftovers, copy, is_ending: !is_disabled }))
}

async fn view(
    context: &Context,
    domain: &MailDomain,
    own: Option<&MailCertificate>,
    system: &MailCertificate,
    secret: &str,
) -> Result<CopyView, PassError> {
    let (namespace, from) = (domain.namespace().unwrap_or_default(), &system.spec.secret_name);
    if from == secret {
        return Ok(CopyView::Original);
    }
    if let (Some(own), Some(wanted)) = (own, &domain.spec.certificate.secret_name)
        && *wanted != own.spec.secret_name
    {
        return Ok(CopyView::Foreign(format!(
            "spec.certificate.secretName is {wanted}, but pods mount {}, the Secret of MailCertificate {}: set it to that, or \
             leave it out",
            own.spec.secret_name,
            own.name_any(),
        )));
    }
    let active = system.status.as_ref().and_then(|s| s.active.as_ref());
    let Some(source) = active.and_then(|a| a.secret_resource_version.clone()) else { return Ok(CopyView::NoSource) };
    let seen = |name: &str| context.relations.secrets.get(&namespace, name).map(|m| m.version);
    let known = domain.status.as_ref().and_then(|s| s.certificate.as_ref()?.copy.clone());
    if let Some(copy) = known.filter(|c| c.source_resource_version == source)
        && seen(from).as_ref() == Some(&copy.source_resource_version)
        && seen(secret).as_ref() == Some(&copy.resource_version)
    {
        return Ok(CopyView::Current(copy));
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let read = async |name: &str| api.get_opt(name).await.map_err(PassError::api(format!("reading Secret {name}")));
    let Some(original) = read(from).await?.filter(|s| s.resource_version().as_ref() == Some(&source)) else {
        // Its own controller puts it right first.
        return Ok(CopyView::NoSource);
    };
    let Some(present) = read(secret).await? else { return Ok(CopyView::Absent { source }) };
    if let Some(why) = foreign(domain, &present, own.is_some()) {
        return Ok(CopyView::Foreign(why));
    }
    let version = present.resource_version().unwrap_or_default();
    let is_same = present.data == original.data
        && present.annotations().get(keys::COPY_OF) == Some(&system.name_any())
        && present.labels().get(keys::DOMAIN) == Some(&domain.name_any())
        && !present.labels().contains_key(keys::OWNER)
        && present.owner_references().is_empty();
    Ok(match is_same {
        true => CopyView::Current(CopyStatus { source_resource_version: source, resource_version: version }),
        false => CopyView::Stale { source, version },
    })
}

/// Why the Secret must not be written, if it must not: it is neither a copy for this MailDomain nor its former
/// certificate's.
fn foreign(domain: &MailDomain, secret: &Secret, has_own: bool) -> Option<String> {
    let labels = secret.labels();
    let (name, domain) = (secret.name_any(), domain.name_any());
    let is_ours = labels.get(keys::MANAGED_BY).map(String::as_str) == Some(keys::MANAGER);
    let (copy_for, owner) = (labels.get(keys::DOMAIN), labels.get(keys::OWNER));
    let belongs = match (is_ours, copy_for, owner) {
        (true, _, Some(owner)) if *owner == domain => None,
        (true, Some(other), None) if *other == domain => None,
        (true, _, Some(owner)) => Some(format!("belongs to MailCertificate {owner}")),
        (true, Some(other), None) => Some(format!("holds a copy for MailDomain {other}")),
        _ => Some("was not made by mailcert".to_owned()),
    };
    let advice = match has_own {
        true => "its MailCertificate says what to do",
        false => "name another one in spec.certificate.secretName, or delete it",
    };
    let belongs = belongs.map(|belongs| format!("the Secret {name} exists and {belongs}: {advice}"));
    let type_ = secret.type_.as_deref().unwrap_or("Opaque");
    belongs.or_else(|| {
        (type_ != TLS)
            .then(|| format!("the Secret {name} is of type {type_}, which cannot be changed to {TLS}: {advice}"))
    })
}

/// Writes the copy.
pub async fn copy(
    context: &Context,
    domain: &MailDomain,
    certificate: &str,
    [from, source, to]: [&str; 3],
    over: Option<&str>,
) -> Result<Fact, PassError> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &domain.namespace().unwrap_or_default());
    let read = async |name: &str| api.get_opt(name).await.map_err(PassError::api(format!("reading Secret {name}")));
    let is_at = |secret: &Secret, version: &str| secret.resource_version().as_deref() == Some(version);
    let Some(original) = read(from).await?.filter(|s| is_at(s, source)) else { return Ok(Fact::CopyOvertaken) };
    let labels = BTreeMap::from([
        (keys::MANAGED_BY.to_owned(), keys::MANAGER.to_owned()),
        (keys::DOMAIN.to_owned(), domain.name_any()),
    ]);
    // Which keys are outputs is for the certificate to know that takes the Secret over one day.
    let outputs = original.annotations().get(keys::OUTPUTS).map(|list| (keys::OUTPUTS.to_owned(), list.clone()));
    let own = (keys::COPY_OF.to_owned(), certificate.to_owned());
    let annotations: BTreeMap<String, String> = outputs.into_iter().chain([own]).collect();
    let written = match over {
        None => {
            let metadata = ObjectMeta {
                name: Some(to.to_owned()),
                labels: Some(labels),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            };
            let secret = Secret { metadata, type_: Some(TLS.to_owned()), data: original.data, ..Secret::default() };
            api.create(&post(), &secret).await
        }
        Some(version) => {
            let Some(present) = read(to).await?.filter(|s| is_at(s, version)) else { return Ok(Fact::CopyOvertaken) };
            api.patch(to, &params(), &Patch::Merge(takeover(&present, &original, labels, annotations))).await
        }
    };
    match written {
        Ok(secret) => Ok(Fact::Copied(CopyStatus {
            source_resource_version: source.to_owned(),
            resource_version: secret.resource_version().unwrap_or_default(),
        })),
        Err(kube::Error::Api(s)) if s.code == 409 || s.code == 404 => Ok(Fact::CopyOvertaken),
        Err(e) => Err(PassError::api(format!("writing Secret {to}"))(e)),
    }
}

/// Everything that the Secret holds becomes the copy: no other data stays, nor what said whose it was. Others' labels do.
fn takeover(
    present: &Secret,
    original: &Secret,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
) -> Value {
    let gone = |name: &String| (name.clone(), Value::Null);
    let own = |name: &&String| name.starts_with(OWN_PREFIX);
    let with = |gone: Vec<(String, Value)>, kept: BTreeMap<String, String>| -> BTreeMap<String, Value> {
        gone.into_iter().chain(kept.into_iter().map(|(k, v)| (k, json!(v)))).collect()
    };
    let old_labels = present.labels().keys().filter(own).map(gone).collect();
    let old_annotations = present.annotations().keys().filter(own).map(gone).collect();
    let mut data: BTreeMap<String, Value> = present.data.iter().flat_map(BTreeMap::keys).map(gone).collect();
    data.extend(original.data.iter().flatten().map(|(k, v)| (k.clone(), json!(v))));
    json!({
        "metadata": {
            "resourceVersion": present.resource_version(),
            "labels": with(old_labels, labels),
            "annotations": with(old_annotations, annotations),
            "ownerReferences": null,
        },
        "data": data,
    })
}

/// Deletes a Secret of the former certificate's revisions.
pub async fn remove_secret(context: &Context, domain: &MailDomain, name: String) -> Result<Fact, PassError> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &domain.namespace().unwrap_or_default());
    match api.delete(&name, &DeleteParams::default()).await {
        Ok(_) => Ok(Fact::SecretRemoved(name)),
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(Fact::SecretRemoved(name)),
        Err(e) => Err(PassError::api(format!("deleting Secret {name}"))(e)),
    }
}

/// Deletes the former certificate.
pub async fn remove_certificate(
    context: &Context,
    domain: &MailDomain,
    name: &str,
    uid: String,
) -> Result<Fact, PassError> {
    let api: Api<MailCertificate> = Api::namespaced(context.client.clone(), &domain.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: Some(uid), resource_version: None };
    match api.delete(name, &DeleteParams::default().preconditions(preconditions)).await {
        Ok(_) => Ok(Fact::CertificateRemoved),
        // Gone, or gone and made anew.
        Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(Fact::CertificateRemoved),
        Err(e) => Err(PassError::api(format!("deleting MailCertificate {name}"))(e)),
    }
}
