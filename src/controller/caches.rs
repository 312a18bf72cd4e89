//! mailcert's own kinds, cached in full, and the watch that keeps them up to date.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::index::Key;
use super::queue::Queue;
use super::relations::key;
use crate::api::{MailCertificate, MailDomain, MailIssuer, MailTrustBundle};
use crate::operating::http::Gate;

/// One cache of a kind: of a namespace, or of all.
pub struct Cache<K: Resource<DynamicType = ()> + 'static> {
    /// The namespace; none: all.
    pub namespace: Option<String>,
    /// The objects as they were watched last.
    pub store: Store<K>,
    queue: Queue,
}

/// The caches of a kind.
pub struct Caches<K: Resource<DynamicType = ()> + 'static> {
    caches: Vec<Cache<K>>,
    /// Objects as the last status write returned them, until the watch has caught up.
    written: Mutex<HashMap<Key, Arc<K>>>,
}

/// A cache's writing side and its queue, to be served.
pub type Served<K> = (Option<String>, reflector::store::Writer<K>, Store<K>, Queue);

impl<K> Caches<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Send + Sync + 'static,
{
    fn new(namespaces: &[Option<String>]) -> (Self, Vec<Served<K>>) {
        let mut caches = Vec::new();
        let mut served = Vec::new();
        for namespace in namespaces {
            let (store, writer) = reflector::store::<K>();
            let queue = Queue::default();
            served.push((namespace.clone(), writer, store.clone(), queue.clone()));
            caches.push(Cache { namespace: namespace.clone(), store, queue });
        }
        (Self { caches, written: Mutex::new(HashMap::new()) }, served)
    }

    fn cache(&self, namespace: &str) -> Option<&Cache<K>> {
        self.caches.iter().find(|c| c.namespace.as_deref().is_none_or(|ns| ns == namespace))
    }

    /// The object, as it was watched or written last.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        Some(self.freshest(self.watched(key)?))
    }

    fn watched(&self, key: &Key) -> Option<Arc<K>> {
        self.cache(&key.0)?.store.get(&ObjectRef::new(&key.1).within(&key.0))
    }

    /// The object as it was watched or written last; `seen` may have been overtaken by either.
    pub fn freshest(&self, seen: Arc<K>) -> Arc<K> {
        let key = key(&*seen);
        // What leaves `written` is in the cache by then: neither is missed while this is locked.
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let later = |a: Arc<K>, b: Arc<K>| if a.uid() == b.uid() && version(&*b) > version(&*a) { b } else { a };
        let others = [self.watched(&key), written.get(&key).cloned()];
        others.into_iter().flatten().fold(seen, later)
    }

    /// Remembers an object as a write returned it.
    pub fn remember(&self, mut object: K) {
        slim(&mut object);
        let key = key(&object);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if self.watched(&key).is_none_or(|w| w.uid() != object.uid() || version(&*w) < version(&object)) {
            written.insert(key, Arc::new(object));
        }
    }

    /// Forgets what was written before what the watch shows now.
    fn caught_up(&self, watched: &K) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(watched);
        if written.get(&key).is_some_and(|own| own.uid() != watched.uid() || version(&**own) <= version(watched)) {
            written.remove(&key);
        }
    }

    fn forget(&self, key: &Key) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Asks for a pass over an object.
    pub fn trigger(&self, key: &Key) {
        if let Some(cache) = self.cache(&key.0) {
            cache.queue.push(key.clone());
        }
    }

    /// Asks for a pass over every object.
    pub fn trigger_all(&self) {
        for cache in &self.caches {
            cache.store.state().iter().for_each(|object| cache.queue.push(key(&**object)));
        }
    }

    /// Whether objects of this namespace are watched.
    pub fn serves(&self, namespace: &str) -> bool {
        self.cache(namespace).is_some()
    }

    /// Waits until every object that exists is known.
    async fn synced(&self) {
        for cache in &self.caches {
            // Fails only when the watch has ended, and then the operator ends.
            let _ = cache.store.wait_until_ready().await;
        }
    }

    /// Every object.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.caches.iter().flat_map(|c| c.store.state()).collect()
    }
}

/// Leaves out what nothing here reads, and what can be most of an object.
fn slim<K: Resource<DynamicType = ()>>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// resourceVersions of one resource are ordered numbers (and documented to be, since Kubernetes 1.35).
fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// The caches of every kind of mailcert.
pub struct Kinds {
    /// MailIssuers.
    pub issuers: Caches<MailIssuer>,
    /// MailCertificates.
    pub certificates: Caches<MailCertificate>,
    /// MailDomains.
    pub domains: Caches<MailDomain>,
    /// MailTrustBundles.
    pub trust_bundles: Caches<MailTrustBundle>,
}

/// What has to be served for [`Kinds`] to work.
pub struct KindsServed {
    /// Of MailIssuers.
    pub issuers: Vec<Served<MailIssuer>>,
    /// Of MailCertificates.
    pub certificates: Vec<Served<MailCertificate>>,
    /// Of MailDomains.
    pub domains: Vec<Served<MailDomain>>,
    /// Of MailTrustBundles.
    pub trust_bundles: Vec<Served<MailTrustBundle>>,
}

impl Kinds {
    /// Empty caches for these namespaces; none: one for all.
    pub fn new(namespaces: &[String]) -> (Self, KindsServed) {
        let scopes: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let (issuers, issuers_served) = Caches::new(&scopes);
        let (certificates, certificates_served) = Caches::new(&scopes);
        let (domains, domains_served) = Caches::new(&scopes);
        let (trust_bundles, trust_bundles_served) = Caches::new(&scopes);
        let kinds = Self { issuers, certificates, domains, trust_bundles };
        let served = KindsServed {
            issuers: issuers_served,
            certificates: certificates_served,
            domains: domains_served,
            trust_bundles: trust_bundles_served,
        };
        (kinds, served)
    }

    /// Remembers an object of any kind as a status write returned it.
    pub fn remember<K: Clone + 'static>(&self, object: &K) {
        let any: &dyn std::any::Any = object;
        if let Some(o) = any.downcast_ref::<MailCertificate>() {
            self.certificates.remember(o.clone());
        } else if let Some(o) = any.downcast_ref::<MailDomain>() {
            self.domains.remember(o.clone());
        } else if let Some(o) = any.downcast_ref::<MailIssuer>() {
            self.issuers.remember(o.clone());
        } else if let Some(o) = any.downcast_ref::<MailTrustBundle>() {
            self.trust_bundles.remember(o.clone());
        }
    }

    /// Waits until every object that exists is known: what is not known yet must not be taken for missing.
    pub async fn synced(&self) {
        self.issuers.synced().await;
        self.certificates.synced().await;
        self.domains.synced().await;
        self.trust_bundles.synced().await;
    }

    /// Asks for a pass over every object, for instance because the clock was set.
    pub fn trigger_all(&self) {
        self.issuers.trigger_all();
        self.certificates.trigger_all();
        self.domains.trigger_all();
        self.trust_bundles.trigger_all();
    }
}

/// What becomes of the events of an own kind.
pub trait Watcher<K>: Send + Sync {
    /// It was created or changed; `news`: in a way that asks for a pass.
    fn changed(&self, object: &K, news: bool);
    /// It was deleted.
    fn gone(&self, key: &Key);
    /// What of its status asks for a pass: what others write there.
    fn written_by_others(&self, _: &K) -> u64 {
        0
    }
}

/// Watches one cache of an own kind for ever.
pub async fn watch_own<K>(
    client: Client,
    namespace: Option<String>,
    writer: reflector::store::Writer<K>,
    caches: &Caches<K>,
    watcher: &impl Watcher<K>,
    gate: Gate,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<K> = scoped(client, namespace.as_deref());
    let stream = watch(api, watcher::Config::default()).default_backoff().modify(slim).reflect(writer);
    let mut stream = std::pin::pin!(stream);
    let mut seen: HashMap<Key, (u64, u64)> = HashMap::new();
    let mut listed: HashSet<Key> = HashSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(key(&object));
                seen.insert(key(&object), (spec_hash(&object), watcher.written_by_others(&object)));
                watcher.changed(&object, false);
            }
            Ok(Event::InitDone) => {
                let gone: Vec<Key> = seen.keys().filter(|k| !listed.contains(*k)).cloned().collect();
                for key in gone {
                    seen.remove(&key);
                    caches.forget(&key);
                    watcher.gone(&key);
                }
                gate.set(true);
                for key in std::mem::take(&mut listed) {
                    caches.trigger(&key);
                }
            }
            Ok(Event::Apply(object)) => {
                caches.caught_up(&object);
                let hash = (spec_hash(&object), watcher.written_by_others(&object));
                let news = seen.insert(key(&object), hash) != Some(hash);
                watcher.changed(&object, news);
                if news {
                    caches.trigger(&key(&object));
                }
            }
            Ok(Event::Delete(object)) => {
                let key = key(&object);
                seen.remove(&key);
                caches.forget(&key);
                watcher.gone(&key);
                // Finds nothing, and so forgets what is remembered of it.
                caches.trigger(&key);
            }
            Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "the watch was interrupted"),
        }
    }
}

/// What of an object asks for a pass: not its status, which is the operator's own.
fn spec_hash<K: Resource<DynamicType = ()>>(object: &K) -> u64 {
    let mut hash = DefaultHasher::new();
    let meta = object.meta();
    (meta.uid.as_ref(), meta.generation, meta.annotations.as_ref(), meta.deletion_timestamp.is_some()).hash(&mut hash);
    hash.finish()
}

/// Of a namespace, or of all.
pub fn scoped<K>(client: Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}
