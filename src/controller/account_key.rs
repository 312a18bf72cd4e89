//! The Secret with an ACME account key, and with the next one during a rollover.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::context::Context;
use super::index::Key;
use super::issuer::failed;
use super::pass::PassError;
use super::relations::key;
use crate::api::issuer::MailIssuer;
use crate::api::keys;
use crate::api::reasons::issuer as reason;
use crate::decide::issuer::account_key_secret;
use crate::decide::issuer::world::{Fact, KeySecret, SecretData, SecretState, World};
use crate::issuers::acme::account::{key_from_pem, key_to_pem, new_account_key, thumbprint};

fn api(context: &Context, object: &MailIssuer) -> Api<Secret> {
    Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default())
}

/// Reads the Secret into the world.
pub async fn look(context: &Context, world: &mut World) -> Result<(), PassError> {
    let object = world.object.clone();
    let name = account_key_secret(&object);
    let found = api(context, &object).get_opt(&name).await;
    match found.map_err(PassError::api(format!("reading Secret {name}")))? {
        None => world.account_secret = SecretState::Absent,
        Some(secret) => {
            world.see(seen(secret));
            world.rollover_by_other = by_other(context, world);
        }
    }
    Ok(())
}

fn seen(secret: Secret) -> KeySecret {
    let note = secret.annotations().get(keys::ROLLOVER).cloned();
    let data = SecretData(secret.data.unwrap_or_default());
    let thumbprint = data.get(keys::TLS_KEY).ok_or_else(|| "it has no tls.key".to_owned()).and_then(thumbprint_of);
    let next_thumbprint = data.get(keys::NEXT_KEY).map(thumbprint_of);
    KeySecret { data, thumbprint, next_thumbprint, note }
}

fn thumbprint_of(pem: &[u8]) -> Result<String, String> {
    key_from_pem(pem).and_then(|key| thumbprint(&key)).map_err(|e| e.words)
}

/// The MailIssuer that has begun the rollover, unless it is this one or exists no more.
fn by_other(context: &Context, world: &World) -> Option<String> {
    world.next_thumbprint.as_ref()?;
    let (name, _) = world.rollover_done.as_deref()?.split_once('/')?;
    let other = (world.object.namespace().unwrap_or_default(), name.to_owned());
    let is_other = name != world.object.name_any() && sharing(context, &world.object).contains(&other);
    is_other.then(|| name.to_owned())
}

/// The MailIssuers that use the same account key, with this one.
pub fn sharing(context: &Context, object: &MailIssuer) -> Vec<Key> {
    let (own, secret) = (key(object), account_key_secret(object));
    let uses = |other: &MailIssuer| {
        other.spec.acme.is_some() && other.namespace().as_ref() == Some(&own.0) && account_key_secret(other) == secret
    };
    let mut all: Vec<Key> =
        context.kinds.issuers.all().into_iter().filter(|other| uses(other)).map(|other| key(&*other)).collect();
    if !all.contains(&own) {
        all.push(own);
    }
    all
}

/// Makes an account key and its Secret.
pub async fn create(context: &Context, object: &MailIssuer, name: &str) -> Result<Fact, PassError> {
    let pem = match new_account_key() {
        Ok(key) => key_to_pem(&key),
        Err(e) => return Ok(Fact::Failed(failed(e, reason::SECRET_INVALID))),
    };
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(keys::MANAGED_BY.to_owned(), keys::MANAGER.to_owned())])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(keys::TLS_KEY.to_owned(), ByteString(pem.as_bytes().to_vec()))])),
        ..Secret::default()
    };
    let doing = || format!("storing the ACME account key in Secret {name}");
    match api(context, object).create(&PostParams::default(), &secret).await {
        Ok(made) => Ok(Fact::KeyStored(seen(made))),
        // Made meanwhile, by a person or by a pass that was interrupted: what is there counts.
        Err(kube::Error::Api(s)) if s.code == 409 => {
            Ok(Fact::KeyStored(seen(api(context, object).get(name).await.map_err(PassError::api(doing()))?)))
        }
        Err(e) => Err(PassError::api(doing())(e)),
    }
}

/// Makes the next key, unless there is one, and notes for whom.
pub async fn store_next(context: &Context, world: &World, name: &str, note: &str) -> Result<Fact, PassError> {
    let pem = match new_account_key() {
        Ok(key) => key_to_pem(&key),
        Err(e) => return Ok(Fact::Failed(failed(e, reason::SECRET_INVALID))),
    };
    let change = |now: &SecretData| {
        let data = json!({ keys::NEXT_KEY: ByteString(pem.as_bytes().to_vec()) });
        now.get(keys::NEXT_KEY).is_none().then_some((data, Note::Is(note)))
    };
    Ok(Fact::KeyStored(changed(context, world, name, change).await?))
}

/// The next key becomes the account key, and that the previous one.
pub async fn promote(context: &Context, world: &World, name: &str) -> Result<Fact, PassError> {
    let Some(next) = of(world, keys::NEXT_KEY) else { return Ok(Fact::KeyStored(read(context, world, name).await?)) };
    let change = |now: &SecretData| {
        let present = now.get(keys::TLS_KEY).filter(|present| *present != next.0.as_slice());
        if present.is_none() && now.get(keys::NEXT_KEY).is_none() {
            return None;
        }
        // Whatever has happened to the Secret since: the next key is the one that the CA knows.
        let mut data = json!({ keys::TLS_KEY: &next, keys::NEXT_KEY: null });
        if let Some(present) = present {
            data[keys::PREVIOUS_KEY] = json!(ByteString(present.to_vec()));
        }
        Some((data, Note::Kept))
    };
    Ok(Fact::Promoted(changed(context, world, name, change).await?))
}

/// The next key is given up, and with it the note that there was a rollover, unless it is another one by now.
pub async fn drop_next(context: &Context, world: &World, name: &str) -> Result<Fact, PassError> {
    let next = of(world, keys::NEXT_KEY).unwrap_or_default();
    let change = |now: &SecretData| {
        let same = now.get(keys::NEXT_KEY) == Some(next.0.as_slice());
        same.then(|| (json!({ keys::NEXT_KEY: null }), Note::Removed))
    };
    Ok(Fact::KeyStored(changed(context, world, name, change).await?))
}

fn of(world: &World, key: &str) -> Option<ByteString> {
    match &world.account_secret {
        SecretState::Found(data) => data.get(key).map(|value| ByteString(value.to_vec())),
        SecretState::Absent | SecretState::NotLooked => None,
    }
}

async fn read(context: &Context, world: &World, name: &str) -> Result<KeySecret, PassError> {
    let found = api(context, &world.object).get(name).await;
    Ok(seen(found.map_err(PassError::api(format!("reading Secret {name}")))?))
}

/// What becomes of the note of the last rollover.
enum Note<'a> {
    Kept,
    Is(&'a str),
    Removed,
}

/// Changes the Secret as it is now; a change by somebody else in between ends the pass.
async fn changed<'a>(
    context: &Context,
    world: &World,
    name: &str,
    change: impl FnOnce(&SecretData) -> Option<(Value, Note<'a>)>,
) -> Result<KeySecret, PassError> {
    let api = api(context, &world.object);
    let found = api.get(name).await.map_err(PassError::api(format!("reading Secret {name}")))?;
    let version = found.resource_version();
    let data = SecretData(found.data.clone().unwrap_or_default());
    let Some((data, note)) = change(&data) else { return Ok(seen(found)) };
    let mut patch = json!({"metadata": {"resourceVersion": version}, "data": data});
    let annotation = match note {
        Note::Kept => None,
        Note::Is(note) => Some(Value::from(note)),
        Note::Removed => Some(Value::Null),
    };
    if let Some(value) = annotation {
        patch["metadata"]["annotations"] = json!({ keys::ROLLOVER: value });
    }
    let written = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    Ok(seen(written.map_err(PassError::api(format!("storing the ACME account key in Secret {name}")))?))
}
