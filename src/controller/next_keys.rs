//! The Secret with the key that was made ahead.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::context::Context;
use super::pass::PassError;
use super::secrets;
use crate::api::{MailCertificate, keys};
use crate::decide::certificate::world::{Fact, StoredKey};
use crate::pki::PrivateKey;

fn api(context: &Context, object: &MailCertificate) -> Api<Secret> {
    Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default())
}

/// Reads it.
pub async fn read(context: &Context, object: &MailCertificate, name: &str) -> Result<Fact, PassError> {
    let found = api(context, object).get_opt(name).await.map_err(PassError::api(format!("reading Secret {name}")))?;
    Ok(Fact::NextKey(found.map_or(StoredKey::Absent, |secret| stored(object, &secret))))
}

fn stored(object: &MailCertificate, secret: &Secret) -> StoredKey {
    if !is_own(object, secret) {
        return StoredKey::Broken("it belongs to something else".to_owned());
    }
    let pem = secret.data.as_ref().and_then(|d| d.get(keys::TLS_KEY)).map(|b| b.0.as_slice()).unwrap_or_default();
    PrivateKey::from_pem(pem).map_or_else(|e| StoredKey::Broken(e.to_string()), |key| StoredKey::Key(Arc::new(key)))
}

fn is_own(object: &MailCertificate, secret: &Secret) -> bool {
    let labels = secret.labels();
    labels.get(keys::MANAGED_BY).map(String::as_str) == Some(keys::MANAGER)
        && labels.get(keys::OWNER) == Some(&object.name_any())
        && labels.contains_key(keys::NEXT_KEY_LABEL)
}

/// Stores it, over another one of this MailCertificate where there is one.
pub async fn store(
    context: &Context,
    object: &MailCertificate,
    name: &str,
    exists: bool,
    key: Arc<PrivateKey>,
) -> Result<Fact, PassError> {
    let data = BTreeMap::from([(keys::TLS_KEY.to_owned(), ByteString(key.to_pkcs8_pem().as_bytes().to_vec()))]);
    let mut labels = secrets::labels(object);
    labels.insert(keys::NEXT_KEY_LABEL.to_owned(), "true".to_owned());
    let own = api(context, object);
    let written = if exists {
        let present = own.get_opt(name).await.map_err(PassError::api(format!("reading Secret {name}")))?;
        let Some(present) = present else { return Ok(Fact::Overtaken) };
        if !is_own(object, &present) {
            return Ok(Fact::NextKey(StoredKey::Broken("it belongs to something else".to_owned())));
        }
        let version = present.resource_version();
        let patch = json!({"metadata": {"resourceVersion": version, "labels": labels}, "data": data});
        own.patch(name, &secrets::params(), &Patch::Merge(patch)).await
    } else {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            owner_references: object.controller_owner_ref(&()).map(|o| vec![o]),
            ..ObjectMeta::default()
        };
        let secret = Secret { metadata, type_: Some("Opaque".to_owned()), data: Some(data), ..Secret::default() };
        own.create(&secrets::post(), &secret).await
    };
    match written {
        Ok(_) => Ok(Fact::NextKeyStored(key)),
        Err(kube::Error::Api(s)) if s.code == 409 || s.code == 404 => Ok(Fact::Overtaken),
        Err(e) => Err(PassError::api(format!("storing the next key in Secret {name}"))(e)),
    }
}
