//! Secrets of MailCertificates: how they are recognised, read and written.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::context::Context;
use super::outputs;
use super::pass::PassError;
use crate::api::certificate::{DeletionPolicy, IssuerRef, Temporary};
use crate::api::{MailCertificate, keys};
use crate::decide::certificate::World;
use crate::decide::certificate::world::{ActiveSecret, Fact, KeyPair, Origin, RevisionSecret, SecretView, StepFailure};
use crate::pki::outputs::listed;
use crate::pki::{PrivateKey, SecretBundle, Written};

/// The type of the active Secret.
pub const TLS: &str = "kubernetes.io/tls";

fn api(context: &Context, object: &MailCertificate) -> Api<Secret> {
    Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default())
}

/// Reads the active Secret.
pub async fn read_active(context: &Context, world: &World) -> Result<SecretView, PassError> {
    let object = &world.object;
    let name = &object.spec.secret_name;
    let found = api(context, object).get_opt(name).await.map_err(PassError::api(format!("reading Secret {name}")))?;
    let Some(secret) = found else { return Ok(SecretView::Absent) };
    match copy(context, object, &secret) {
        Some(copy) => Ok(copy),
        None => Ok(view(world, Arc::new(secret)).await),
    }
}

/// The copy of the system certificate for the MailDomain that this MailCertificate belongs to.
fn copy(context: &Context, object: &MailCertificate, secret: &Secret) -> Option<SecretView> {
    let labels = secret.labels();
    let domain = labels.get(keys::DOMAIN).filter(|_| !labels.contains_key(keys::OWNER))?;
    let owner = object.owner_references().iter().find(|o| o.controller == Some(true))?;
    if labels.get(keys::MANAGED_BY).map(String::as_str) != Some(keys::MANAGER) || owner.name != *domain {
        return None;
    }
    let found = context.kinds.domains.get(&(object.namespace().unwrap_or_default(), domain.clone()));
    let is_disabled = found.filter(|d| d.uid().as_ref() == Some(&owner.uid)).map(|d| d.spec.certificate.disabled);
    // One that is not known is taken for disabled: nothing is written over on a guess.
    let stays = is_disabled.unwrap_or(true);
    let outputs = listed(secret.annotations());
    Some(SecretView::Copy { resource_version: secret.resource_version().unwrap_or_default(), outputs, stays })
}

async fn view(world: &World, secret: Arc<Secret>) -> SecretView {
    let (object, secret) = (&world.object, &secret);
    if let Some(why) = foreign(object, secret) {
        return SecretView::Foreign(why);
    }
    if let Some(temporary) = temporary(secret) {
        return SecretView::Temporary(temporary);
    }
    let content = match key_pair(secret) {
        Ok(pair) => {
            let canonical = has_metadata(object, secret) && outputs::is_current(world, secret.clone(), &pair).await;
            Ok(KeyPair { canonical, ..pair })
        }
        Err(why) => Err(why),
    };
    SecretView::Ours(ActiveSecret {
        resource_version: secret.resource_version().unwrap_or_default(),
        revision: secret.annotations().get(keys::ACTIVE_REVISION).and_then(|r| r.parse().ok()),
        content,
        origin: origin(secret),
        outputs: listed(secret.annotations()),
    })
}

/// The self-signed certificate that the Secret holds until one is issued.
fn temporary(secret: &Secret) -> Option<Temporary> {
    if secret.annotations().get(keys::TEMPORARY).map(String::as_str) != Some("true") {
        return None;
    }
    let pair = key_pair(secret).ok()?;
    let leaf = pair.chain.leaf();
    // The annotation alone does not make a certificate that a CA issued a temporary one.
    leaf.is_self_signed().then(|| Temporary {
        fingerprint_sha256: leaf.fingerprint.to_string(),
        not_after: Time(leaf.not_after),
        secret_resource_version: secret.resource_version(),
    })
}

/// Why a Secret must not be written, if it must not.
fn foreign(object: &MailCertificate, secret: &Secret) -> Option<String> {
    let (name, own) = (secret.name_any(), object.name_any());
    let labels = secret.labels();
    let manager = labels.get(keys::MANAGED_BY).map(String::as_str);
    let owner = labels.get(keys::OWNER).map(String::as_str);
    let belongs = match (manager, owner) {
        (Some(keys::MANAGER), Some(owner)) if owner == own => None,
        (Some(keys::MANAGER), Some(owner)) => Some(format!("belongs to MailCertificate {owner}")),
        (Some(keys::MANAGER), None) if labels.contains_key(keys::DOMAIN) => {
            Some(format!("holds a copy of the system certificate for MailDomain {}", labels[keys::DOMAIN]))
        }
        (Some(other), _) => Some(format!("is managed by {other}")),
        (None, _) => Some("was not made by mailcert".to_owned()),
    };
    if let Some(belongs) = belongs {
        let namespace = object.namespace().unwrap_or_default();
        return Some(format!(
            "the Secret {name} exists and {belongs}: choose another secretName, or hand it over with: kubectl --namespace \
             {namespace} label secret {name} --overwrite {}={} {}={own}",
            keys::MANAGED_BY,
            keys::MANAGER,
            keys::OWNER
        ));
    }
    let type_ = secret.type_.as_deref().unwrap_or("Opaque");
    (type_ != TLS).then(|| {
        format!(
            "the Secret {name} is of type {type_}, which cannot be changed to {TLS}: choose another secretName, or keep a copy \
             and delete it"
        )
    })
}

fn origin(secret: &Secret) -> Origin {
    let annotation = |name: &str| secret.annotations().get(name).cloned();
    let issuer = annotation(keys::ISSUER).and_then(|text| {
        let (namespace, name) = text.split_once('/')?;
        Some(IssuerRef { name: name.to_owned(), namespace: Some(namespace.to_owned()) })
    });
    Origin { issuer, authority_spki: annotation(keys::AUTHORITY), request: annotation(keys::REQUEST) }
}

fn key_pair(secret: &Secret) -> Result<KeyPair, String> {
    let empty = BTreeMap::new();
    let parsed = SecretBundle::parse(secret.data.as_ref().unwrap_or(&empty)).map_err(|e| e.to_string())?;
    if !parsed.key_matches {
        return Err("tls.key does not belong to the certificate in tls.crt".to_owned());
    }
    Ok(KeyPair {
        key: Arc::new(parsed.key),
        chain: Arc::new(parsed.chain),
        ca: Arc::new(parsed.ca),
        canonical: parsed.canonical,
    })
}

/// Reads a revision Secret.
pub async fn read_revision(
    context: &Context,
    object: &MailCertificate,
    name: &str,
) -> Result<Option<RevisionSecret>, PassError> {
    let found = api(context, object).get_opt(name).await.map_err(PassError::api(format!("reading Secret {name}")))?;
    Ok(found.map(|secret| revision(&secret)))
}

fn revision(secret: &Secret) -> RevisionSecret {
    let pem = secret.data.as_ref().and_then(|d| d.get(keys::TLS_KEY)).map(|b| b.0.as_slice()).unwrap_or_default();
    RevisionSecret {
        key: PrivateKey::from_pem(pem).map(Arc::new).map_err(|e| e.to_string()),
        content: key_pair(secret).ok(),
        origin: origin(secret),
    }
}

/// Stores a key before anybody is asked to certify it. A Secret of that name that holds a key already is taken as it is.
pub async fn store_key(
    context: &Context,
    object: &MailCertificate,
    number: i64,
    name: &str,
    key: Arc<PrivateKey>,
) -> Result<Fact, PassError> {
    let pem = ByteString(key.to_pkcs8_pem().as_bytes().to_vec());
    let data = BTreeMap::from([(keys::TLS_KEY.to_owned(), pem)]);
    let secret = revision_secret(object, number, name, data, &Origin::default());
    let stored = match api(context, object).create(&PostParams::default(), &secret).await {
        Ok(secret) => secret,
        Err(kube::Error::Api(s)) if s.code == 409 => return Ok(Fact::Overtaken),
        Err(e) => return Err(PassError::api(format!("storing the key of revision {number} in Secret {name}"))(e)),
    };
    Ok(Fact::Stored(number, name.to_owned(), revision(&stored)))
}

/// Stores key and certificate of a revision in a Secret of its own.
pub async fn store_revision(
    context: &Context,
    object: &MailCertificate,
    number: i64,
    name: &str,
    exists: bool,
    pair: &KeyPair,
    origin: &Origin,
) -> Result<Fact, PassError> {
    let bundle = SecretBundle::new(&pair.chain, &pair.key, &pair.ca);
    let secret = revision_secret(object, number, name, bundle.to_data(), origin);
    let doing = || format!("storing revision {number} in Secret {name}");
    let secrets = api(context, object);
    let stored = if exists {
        let patch = json!({"metadata": {"labels": secret.metadata.labels, "annotations": secret.metadata.annotations}, "data": secret.data});
        secrets.patch(name, &params(), &Patch::Merge(patch)).await
    } else {
        secrets.create(&post(), &secret).await
    };
    match stored {
        Ok(secret) => Ok(Fact::Stored(number, name.to_owned(), revision(&secret))),
        Err(kube::Error::Api(s)) if s.code == 409 || s.code == 404 => Ok(Fact::Overtaken),
        Err(e) => Err(PassError::api(doing())(e)),
    }
}

/// Writes the active Secret: everything in one update.
pub async fn write_active(
    context: &Context,
    world: &World,
    number: i64,
    pair: &KeyPair,
    origin: &Origin,
    over: Option<&str>,
) -> Result<Fact, PassError> {
    let mut annotations = origin_annotations(origin);
    annotations.insert(keys::ACTIVE_REVISION.to_owned(), number.to_string());
    Ok(match write(context, world, pair, annotations, over).await? {
        Ok(Some(secret)) => Fact::Activated(number, secret.resource_version().unwrap_or_default()),
        Ok(None) => Fact::Overtaken,
        Err(failure) => Fact::Failed(failure),
    })
}

/// Puts a self-signed certificate into the active Secret until one is issued.
pub async fn write_temporary(
    context: &Context,
    world: &World,
    pair: &KeyPair,
    over: Option<&str>,
) -> Result<Fact, PassError> {
    let annotations = BTreeMap::from([(keys::TEMPORARY.to_owned(), "true".to_owned())]);
    Ok(match write(context, world, pair, annotations, over).await? {
        Ok(written) => written.as_ref().and_then(temporary).map_or(Fact::Overtaken, Fact::Temporary),
        Err(failure) => Fact::Failed(failure),
    })
}

/// Writes the active Secret; `None` when somebody else wrote it meanwhile.
async fn write(
    context: &Context,
    world: &World,
    pair: &KeyPair,
    own: BTreeMap<String, String>,
    over: Option<&str>,
) -> Result<Result<Option<Secret>, StepFailure>, PassError> {
    let object = &world.object;
    let name = &object.spec.secret_name;
    let Written { data, annotations: of_outputs } = match outputs::render(world, pair).await {
        Ok(written) => written,
        Err(failure) => return Ok(Err(failure)),
    };
    let mut metadata = metadata(object, name);
    metadata.annotations.get_or_insert_default().extend(own);
    let secrets = api(context, object);
    let written = match over {
        None => {
            let present = of_outputs.into_iter().filter_map(|(k, v)| Some((k, v?)));
            metadata.annotations.get_or_insert_default().extend(present);
            let data = data.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
            let secret = Secret { metadata, type_: Some(TLS.to_owned()), data: Some(data), ..Secret::default() };
            secrets.create(&post(), &secret).await
        }
        Some(version) => {
            // A merge keeps what others have added; the resourceVersion makes sure that nobody changed it meanwhile.
            let annotations = metadata.annotations.unwrap_or_default();
            let mut annotations: BTreeMap<_, _> = annotations.into_iter().map(|(k, v)| (k, json!(v))).collect();
            annotations.extend(of_outputs.into_iter().map(|(k, v)| (k, json!(v))));
            // Taken away, where an issued certificate takes the temporary one's place.
            annotations.entry(keys::TEMPORARY.to_owned()).or_insert(json!(null));
            // And where it takes that of a copy of the system certificate.
            annotations.entry(keys::COPY_OF.to_owned()).or_insert(json!(null));
            let labels = metadata.labels.unwrap_or_default();
            let mut labels: BTreeMap<_, _> = labels.into_iter().map(|(k, v)| (k, json!(v))).collect();
            labels.entry(keys::DOMAIN.to_owned()).or_insert(json!(null));
            let patch = json!({
                "metadata": {
                    "resourceVersion": version,
                    "labels": labels,
                    "annotations": annotations,
                    "ownerReferences": metadata.owner_references,
                },
                "data": data,
            });
            secrets.patch(name, &params(), &Patch::Merge(patch)).await
        }
    };
    match written {
        Ok(secret) => Ok(Ok(Some(secret))),
        Err(kube::Error::Api(s)) if s.code == 409 || s.code == 404 => Ok(Ok(None)),
        Err(e) => Err(PassError::api(format!("writing Secret {name}"))(e)),
    }
}

/// Deletes a revision Secret.
pub async fn prune(context: &Context, object: &MailCertificate, number: i64, name: &str) -> Result<Fact, PassError> {
    match api(context, object).delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(Fact::Pruned(number)),
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(Fact::Pruned(number)),
        Err(e) => Err(PassError::api(format!("deleting Secret {name}"))(e)),
    }
}

/// As mailcert's field manager.
pub fn post() -> PostParams {
    PostParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// As mailcert's field manager.
pub fn params() -> PatchParams {
    PatchParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// What marks a Secret, or another object, as a MailCertificate's.
pub fn labels(object: &MailCertificate) -> BTreeMap<String, String> {
    BTreeMap::from([
        (keys::MANAGED_BY.to_owned(), keys::MANAGER.to_owned()),
        (keys::OWNER.to_owned(), object.name_any()),
    ])
}

/// What the active Secret's metadata must have.
fn metadata(object: &MailCertificate, name: &str) -> ObjectMeta {
    let template = object.spec.options.secret_template.clone().unwrap_or_default();
    let mut all = template.labels;
    all.extend(labels(object));
    let owner =
        (object.spec.options.deletion_policy == DeletionPolicy::Delete).then(|| object.controller_owner_ref(&()));
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(all),
        annotations: Some(template.annotations),
        owner_references: owner.flatten().map(|o| vec![o]),
        ..ObjectMeta::default()
    }
}

fn has_metadata(object: &MailCertificate, secret: &Secret) -> bool {
    let wanted = metadata(object, &secret.name_any());
    let has = |wanted: Option<BTreeMap<String, String>>, present: &BTreeMap<String, String>| {
        wanted.unwrap_or_default().iter().all(|(k, v)| present.get(k) == Some(v))
    };
    let uids = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| -> Vec<String> {
        owners.iter().map(|o| o.uid.clone()).collect()
    };
    has(wanted.labels, secret.labels())
        && has(wanted.annotations, secret.annotations())
        && uids(&wanted.owner_references.unwrap_or_default()) == uids(secret.owner_references())
}

fn origin_annotations(origin: &Origin) -> BTreeMap<String, String> {
    let issuer = origin.issuer.as_ref().map(|i| format!("{}/{}", i.namespace.as_deref().unwrap_or_default(), i.name));
    [(keys::ISSUER, issuer), (keys::AUTHORITY, origin.authority_spki.clone()), (keys::REQUEST, origin.request.clone())]
        .into_iter()
        .filter_map(|(k, v)| Some((k.to_owned(), v?)))
        .collect()
}

fn revision_secret(
    object: &MailCertificate,
    number: i64,
    name: &str,
    data: BTreeMap<String, ByteString>,
    origin: &Origin,
) -> Secret {
    let mut labels = labels(object);
    labels.insert(keys::REVISION.to_owned(), number.to_string());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            annotations: Some(origin_annotations(origin)),
            owner_references: object.controller_owner_ref(&()).map(|o| vec![o]),
            ..ObjectMeta::default()
        },
        // A key without a certificate is no kubernetes.io/tls Secret, and the type cannot change later.
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}
