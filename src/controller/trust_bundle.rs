//! MailTrustBundle: observe and act.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PartialObjectMeta, Patch, Preconditions};
use kube::core::Selector;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

pub use super::config_maps::CHART_VALUE;
use super::context::Context;
use super::index::Key;
use super::pass::{PassError, Subject};
use super::relations::key;
use super::secrets::{params, post};
use super::{outputs, system};
use crate::api::keys;
use crate::api::trust_bundle::{MailTrustBundle, MailTrustBundleStatus, TrustKeyRef, TrustSource};
use crate::decide::Decision;
use crate::decide::events::Note;
use crate::decide::trust_bundle::world::{
    Content, Done, PasswordView, SourceView, StoreWanted, TargetContent, TargetFound, TargetView,
};
use crate::decide::trust_bundle::{self, Action, Fact, World};
use crate::operating::metrics::AnchorSample;
use crate::pki::{Fingerprint, Password, Profile, truststore};

/// What Java programs try when they are told nothing.
const DEFAULT_PASSWORD: &[u8] = b"changeit";
/// Namespaces that a selector may find.
const MOST_NAMESPACES: u32 = 1000;

/// The controller of MailTrustBundles.
pub struct TrustBundles;

impl Subject for TrustBundles {
    type Object = MailTrustBundle;
    type Status = MailTrustBundleStatus;
    type World = World;
    type Action = Action;
    type Fact = Fact;
    const KIND: &'static str = "MailTrustBundle";

    async fn observe(context: &Context, object: Arc<MailTrustBundle>, now: Timestamp) -> Result<World, PassError> {
        let own = key(&*object);
        let mut world = World {
            object: object.clone(),
            now,
            forbidden: None,
            sources: Vec::new(),
            password: None,
            unknown_targets: None,
            targets: Vec::new(),
            done: Done::default(),
        };
        world.forbidden = match context.config_maps.ensure(&own.0).await {
            Ok(()) => context.bindings.ensure(&own.0).await.err(),
            forbidden => forbidden.err(),
        };
        if world.forbidden.is_some() {
            return Ok(world);
        }
        for (index, source) in object.spec.sources.iter().enumerate() {
            world.sources.extend(read_source(context, &own.0, index, source).await?);
        }
        world.password = password(context, &object, &own.0).await?;
        targets(context, &mut world, &own).await?;
        Ok(world)
    }

    fn decide(world: &World) -> Decision<Action, MailTrustBundleStatus> {
        trust_bundle::decide(world)
    }

    fn learn(world: &mut World, fact: Fact) {
        world.learn(fact);
    }

    fn ended(_: &World) -> bool {
        false
    }

    fn abreast(action: &Action) -> bool {
        matches!(action, Action::Write { .. } | Action::Remove { .. })
    }

    fn is_held(object: &MailTrustBundle) -> bool {
        object.finalizers().iter().any(|f| f == keys::TRUST_BUNDLE_FINALIZER)
    }

    async fn act(context: &Context, world: &World, action: Action) -> Result<Fact, PassError> {
        let object = &world.object;
        match action {
            Action::Write { namespace, over, content } => write(context, object, namespace, over, &content).await,
            Action::Remove { namespace, resource_version } => {
                remove(context, object, namespace, resource_version).await
            }
            Action::Hold | Action::Release => {
                let is_wanted = matches!(action, Action::Hold);
                let written =
                    system::with_finalizer(context, &**object, keys::TRUST_BUNDLE_FINALIZER, is_wanted).await?;
                Ok(written.map_or(Fact::Overtaken, Fact::Held))
            }
        }
    }

    fn status(object: &MailTrustBundle) -> Option<&MailTrustBundleStatus> {
        object.status.as_ref()
    }

    fn notes(old: &MailTrustBundleStatus, new: &MailTrustBundleStatus) -> Vec<Note> {
        trust_bundle::notes(old, new)
    }

    fn keep(context: &Context, world: &World, status: &MailTrustBundleStatus) {
        let own = key(&*world.object);
        let samples = status.own.iter().map(|anchor| AnchorSample {
            fingerprint: anchor.fingerprint_sha256.clone(),
            subject: anchor.subject.clone(),
            not_after: anchor.not_after.0.as_second(),
        });
        context.metrics.set_anchors(&own.0, &own.1, samples.collect());
    }

    fn forget(context: &Context, key: &Key) {
        context.metrics.remove_anchors(&key.0, &key.1);
    }
}

/// A source of own anchors; nothing for Mozilla's roots.
async fn read_source(
    context: &Context,
    namespace: &str,
    index: usize,
    source: &TrustSource,
) -> Result<Option<SourceView>, PassError> {
    let label = |kind: &str, at: &TrustKeyRef| format!("{kind} {}/{}", at.name, at.key);
    Ok(if let Some(at) = &source.config_map {
        let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
        let found = api.get_opt(&at.name).await.map_err(PassError::api(format!("reading ConfigMap {}", at.name)))?;
        let content = found.ok_or_else(|| format!("there is no ConfigMap {} in namespace {namespace}", at.name));
        let content = content.and_then(|map| {
            let text = map.data.as_ref().and_then(|d| d.get(&at.key)).map(|t| t.clone().into_bytes());
            let bytes = || map.binary_data.as_ref().and_then(|d| d.get(&at.key)).map(|b| b.0.clone());
            let has = map.data.iter().flat_map(BTreeMap::keys).chain(map.binary_data.iter().flat_map(BTreeMap::keys));
            text.or_else(bytes).ok_or_else(|| no_key(&at.key, has))
        });
        Some(SourceView { label: label("ConfigMap", at), content })
    } else if let Some(at) = &source.secret {
        let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
        let found = api.get_opt(&at.name).await.map_err(PassError::api(format!("reading Secret {}", at.name)))?;
        let content = found.ok_or_else(|| format!("there is no Secret {} in namespace {namespace}", at.name));
        let content = content.and_then(|secret| {
            let data = secret.data.unwrap_or_default();
            data.get(&at.key).map(|b| b.0.clone()).ok_or_else(|| no_key(&at.key, data.keys()))
        });
        Some(SourceView { label: label("Secret", at), content })
    } else {
        let inline = source.inline.as_ref();
        inline.map(|text| SourceView {
            label: format!("spec.sources[{index}].inline"),
            content: Ok(text.clone().into_bytes()),
        })
    })
}

fn no_key<'a>(wanted: &str, has: impl Iterator<Item = &'a String>) -> String {
    let has: Vec<&str> = has.take(5).map(String::as_str).collect();
    let has = if has.is_empty() { "nothing".to_owned() } else { has.join(", ") };
    format!("it has no key {wanted} (it has {has})")
}

/// The password of the trust store, where one is asked for.
async fn password(
    context: &Context,
    object: &MailTrustBundle,
    namespace: &str,
) -> Result<Option<PasswordView>, PassError> {
    let Some(store) = &object.spec.targets.truststore else { return Ok(None) };
    let Some(at) = &store.password_secret_ref else {
        let password = Password::new(DEFAULT_PASSWORD).map_err(|e| e.to_string());
        return Ok(Some(PasswordView { password, version: "default".to_owned() }));
    };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(&at.name).await.map_err(PassError::api(format!("reading Secret {}", at.name)))?;
    let version = |s: &Secret| format!("{}/{}", s.uid().unwrap_or_default(), s.resource_version().unwrap_or_default());
    let version = found.as_ref().map(version).unwrap_or_default();
    Ok(Some(PasswordView { password: outputs::password(at, namespace, found.as_ref()), version }))
}

/// Looks at every target, and at those that had the ConfigMap before.
async fn targets(context: &Context, world: &mut World, own: &Key) -> Result<(), PassError> {
    let spec = world.object.spec.targets.namespaces.clone();
    let may_leave = own.0 == context.identity.namespace || context.trust_bundles_from.contains(&own.0);
    let not_allowed = format!(
        "a MailTrustBundle in namespace {} may not write into other namespaces: make it in {}, or have the operator allow it \
         (Helm: --set 'trustBundles.from={{{}}}')",
        own.0, context.identity.namespace, own.0
    );
    let wanted: BTreeSet<String> = match (&spec.selector, spec.names.is_empty()) {
        (Some(_), _) if !may_leave => {
            world.unknown_targets = Some(not_allowed.clone());
            BTreeSet::new()
        }
        (Some(selector), _) => match select(context, selector).await? {
            Ok(found) => found,
            Err(why) => {
                world.unknown_targets = Some(why);
                BTreeSet::new()
            }
        },
        (None, true) => BTreeSet::from([own.0.clone()]),
        (None, false) => spec.names.iter().cloned().collect(),
    };
    let told = world.object.status.iter().flat_map(|s| s.targets.iter().map(|t| t.namespace.clone()));
    // Where it is not known which namespaces are wanted, those of before are left alone.
    let former: BTreeSet<String> =
        told.filter(|namespace| !wanted.contains(namespace) && world.unknown_targets.is_none()).collect();
    let all = wanted.into_iter().map(|n| (n, false)).chain(former.into_iter().map(|n| (n, true)));
    let mut found = Vec::new();
    for (namespace, is_former) in all {
        let what = match namespace == own.0 || may_leave {
            true => look(context, world, &namespace).await?,
            false => TargetFound::NotAllowed(not_allowed.clone()),
        };
        found.push(TargetView { namespace, is_former, found: what });
    }
    world.targets = found;
    Ok(())
}

/// The namespaces with these labels, those that are being deleted left out.
async fn select(
    context: &Context,
    selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
) -> Result<Result<BTreeSet<String>, String>, PassError> {
    let selector = match Selector::try_from(selector.clone()) {
        Ok(selector) => selector.to_string(),
        Err(e) => return Ok(Err(format!("spec.targets.namespaces.selector cannot be used: {e}"))),
    };
    if let Err(why) = context.config_maps.ensure_namespaces().await {
        return Ok(Err(why));
    }
    let api: Api<Namespace> = Api::all(context.client.clone());
    let list = ListParams::default().labels(&selector).limit(MOST_NAMESPACES);
    let found = api.list_metadata(&list).await.map_err(PassError::api("listing namespaces"))?;
    let stays = |n: &&PartialObjectMeta<Namespace>| n.metadata.deletion_timestamp.is_none();
    Ok(Ok(found.items.iter().filter(stays).map(ResourceExt::name_any).collect()))
}

async fn look(context: &Context, world: &World, namespace: &str) -> Result<TargetFound, PassError> {
    if !context.kinds.trust_bundles.serves(namespace) {
        let why = format!("the operator does not serve namespace {namespace} (Helm: watchNamespaces)");
        return Ok(TargetFound::NoNamespace(why));
    }
    if let Err(why) = context.config_maps.ensure(namespace).await {
        return Ok(TargetFound::Forbidden(why));
    }
    let name = &world.object.spec.targets.config_map.name;
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let doing = || PassError::api(format!("reading ConfigMap {name} in namespace {namespace}"));
    let found = api.get_opt(name).await.map_err(doing())?;
    Ok(match found {
        None => TargetFound::Absent,
        Some(map) => match foreign(world, &map, namespace) {
            Some(why) => TargetFound::Foreign(why),
            None => TargetFound::Ours(content(&map)),
        },
    })
}

fn foreign(world: &World, map: &ConfigMap, namespace: &str) -> Option<String> {
    let labels = map.labels();
    let is_ours = trust_bundle::labels(world).iter().all(|(k, v)| labels.get(k) == Some(v));
    if is_ours {
        return None;
    }
    let by_mailcert = labels.get(keys::MANAGED_BY).map(String::as_str) == Some(keys::MANAGER);
    let belongs = match (labels.get(keys::TRUST_BUNDLE_NAMESPACE), labels.get(keys::TRUST_BUNDLE)) {
        (Some(ns), Some(name)) if by_mailcert => format!("belongs to MailTrustBundle {ns}/{name}"),
        _ => "was not made by this MailTrustBundle".to_owned(),
    };
    Some(format!(
        "the ConfigMap {} in namespace {namespace} exists and {belongs}: choose another targets.configMap.name, or delete it",
        map.name_any()
    ))
}

fn content(map: &ConfigMap) -> TargetContent {
    let digest = |(key, text): (&String, &String)| (key.clone(), Fingerprint::of(text.as_bytes()).to_string());
    TargetContent {
        resource_version: map.resource_version().unwrap_or_default(),
        data: map.data.iter().flatten().map(digest).collect(),
        binary_data: map.binary_data.iter().flat_map(BTreeMap::keys).cloned().collect(),
        labels: map.labels().clone(),
        annotations: map.annotations().clone(),
    }
}

async fn write(
    context: &Context,
    object: &MailTrustBundle,
    namespace: String,
    over: Option<TargetContent>,
    content_wanted: &Arc<Content>,
) -> Result<Fact, PassError> {
    let name = &object.spec.targets.config_map.name;
    let store = match store(content_wanted.clone()).await {
        Ok(store) => store,
        Err(why) => return Ok(Fact::Failed(namespace, why)),
    };
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let data = BTreeMap::from([(content_wanted.key.clone(), content_wanted.pem.clone())]);
    let written = match &over {
        None => {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                labels: Some(content_wanted.labels.clone()),
                annotations: Some(content_wanted.annotations.clone()),
                ..ObjectMeta::default()
            };
            let binary_data = store.map(|store| BTreeMap::from([store]));
            let map = ConfigMap { metadata, data: Some(data), binary_data, ..ConfigMap::default() };
            api.create(&post(), &map).await
        }
        Some(present) => api.patch(name, &params(), &Patch::Merge(change(present, content_wanted, store))).await,
    };
    match written {
        Ok(map) => Ok(Fact::Written(namespace, content(&map))),
        Err(kube::Error::Api(s)) if s.code == 409 || s.code == 404 && over.is_some() => Ok(Fact::Overtaken),
        // A namespace that does not exist, or is being deleted, or that may not be written to.
        Err(kube::Error::Api(s)) if (400..500).contains(&s.code) && s.code != 429 => {
            let why = format!("the ConfigMap {name} cannot be written in namespace {namespace}: {}", s.message);
            Ok(Fact::Failed(namespace, why))
        }
        Err(e) => Err(PassError::api(format!("writing ConfigMap {name} in namespace {namespace}"))(e)),
    }
}

/// The merge that makes what is there what it should be: keys that are not wanted go.
fn change(present: &TargetContent, wanted: &Content, store: Option<(String, ByteString)>) -> Value {
    let gone = |keys: &mut dyn Iterator<Item = &String>| -> BTreeMap<String, Value> {
        keys.map(|key| (key.clone(), Value::Null)).collect()
    };
    let mut data = gone(&mut present.data.keys());
    data.insert(wanted.key.clone(), json!(wanted.pem));
    let mut annotations: BTreeMap<String, Value> = BTreeMap::new();
    let mut patch =
        json!({"metadata": {"resourceVersion": present.resource_version, "labels": wanted.labels}, "data": data});
    if !matches!(wanted.truststore, StoreWanted::Keep) {
        annotations.insert(keys::TRUSTSTORE_SHA256.to_owned(), Value::Null);
        let mut binary = gone(&mut present.binary_data.iter());
        binary.extend(store.map(|(key, bytes)| (key, json!(bytes))));
        patch["binaryData"] = json!(binary);
    }
    annotations.extend(wanted.annotations.iter().map(|(k, v)| (k.clone(), json!(v))));
    patch["metadata"]["annotations"] = json!(annotations);
    patch
}

/// Makes the trust store. The password's derivation takes CPU.
async fn store(content: Arc<Content>) -> Result<Option<(String, ByteString)>, String> {
    let made = tokio::task::spawn_blocking(move || match &content.truststore {
        StoreWanted::Make { key, password, anchors } => {
            let bytes = truststore(anchors.iter(), password, Profile::Modern2023).map_err(|e| e.to_string())?;
            Ok(Some((key.clone(), ByteString(bytes))))
        }
        StoreWanted::No | StoreWanted::Keep => Ok(None),
    });
    made.await.unwrap_or_else(|_| Err("making the trust store was interrupted".to_owned()))
}

async fn remove(
    context: &Context,
    object: &MailTrustBundle,
    namespace: String,
    resource_version: String,
) -> Result<Fact, PassError> {
    let name = &object.spec.targets.config_map.name;
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let still = Preconditions { resource_version: Some(resource_version), uid: None };
    match api.delete(name, &DeleteParams::default().preconditions(still)).await {
        Ok(_) => Ok(Fact::Removed(namespace)),
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(Fact::Removed(namespace)),
        Err(kube::Error::Api(s)) if s.code == 409 => Ok(Fact::Overtaken),
        Err(kube::Error::Api(s)) if s.code == 403 => {
            let why = format!("the ConfigMap {name} cannot be deleted in namespace {namespace}: {}", s.message);
            Ok(Fact::Failed(namespace, why))
        }
        Err(e) => Err(PassError::api(format!("deleting ConfigMap {name} in namespace {namespace}"))(e)),
    }
}
