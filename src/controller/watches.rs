//! What is watched: mailcert's own kinds in full, Secrets and workloads by their metadata only.
//!
//! Own kinds are cached. Of Secrets only name, resourceVersion and mailcert's labels are kept. Workloads are not kept at
//! all: a change only says which MailDomains to look at. Where Secrets and workloads may not be watched cluster-wide,
//! they are watched in each namespace that has an object of ours, and where even that is forbidden the objects say so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::index::{Key, SecretMeta};
use super::queue::Queue;
use super::relations::{Relations, key};
use crate::api::{MailCertificate, MailDomain, MailIssuer, keys};
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
}

/// What has to be served for [`Kinds`] to work.
pub struct KindsServed {
    /// Of MailIssuers.
    pub issuers: Vec<Served<MailIssuer>>,
    /// Of MailCertificates.
    pub certificates: Vec<Served<MailCertificate>>,
    /// Of MailDomains.
    pub domains: Vec<Served<MailDomain>>,
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
        let kinds = Self { issuers, certificates, domains };
        (kinds, KindsServed { issuers: issuers_served, certificates: certificates_served, domains: domains_served })
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
        }
    }

    /// Waits until every object that exists is known: what is not known yet must not be taken for missing.
    pub async fn synced(&self) {
        self.issuers.synced().await;
        self.certificates.synced().await;
        self.domains.synced().await;
    }

    /// Asks for a pass over every object, for instance because the clock was set.
    pub fn trigger_all(&self) {
        self.issuers.trigger_all();
        self.certificates.trigger_all();
        self.domains.trigger_all();
    }
}

/// What becomes of the events of an own kind.
pub trait Watcher<K>: Send + Sync {
    /// It was created or changed; `news`: in a way that asks for a pass.
    fn changed(&self, object: &K, news: bool);
    /// It was deleted.
    fn gone(&self, key: &Key);
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
    let mut seen: HashMap<Key, u64> = HashMap::new();
    let mut listed: HashSet<Key> = HashSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(key(&object));
                seen.insert(key(&object), spec_hash(&object));
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
                let hash = spec_hash(&object);
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

fn scoped<K>(client: Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// Where Secrets and workloads can be watched.
pub struct Bindings {
    client: Client,
    relations: Arc<Relations>,
    kinds: Arc<Kinds>,
    /// Secrets and workloads are watched in all namespaces at once.
    everywhere: bool,
    state: Mutex<HashMap<String, Binding>>,
    changed: Notify,
}

#[derive(Clone, Debug, PartialEq)]
enum Binding {
    Starting,
    Synced,
    Forbidden(String),
}

/// The entry for watches of all namespaces.
const EVERYWHERE: &str = "";

impl Bindings {
    /// Nothing is watched yet.
    pub fn new(client: Client, relations: Arc<Relations>, kinds: Arc<Kinds>, everywhere: bool) -> Self {
        let (state, changed) = (Mutex::new(HashMap::new()), Notify::new());
        Self { client, relations, kinds, everywhere, state, changed }
    }

    /// Makes sure that the namespace's Secrets and workloads are watched, and waits until its Secrets are known.
    ///
    /// # Errors
    /// What is forbidden, and which binding to create.
    pub async fn ensure(self: &Arc<Self>, namespace: &str) -> Result<(), String> {
        let scope = if self.everywhere { EVERYWHERE } else { namespace };
        loop {
            let changed = self.changed.notified();
            match self.start(scope) {
                Binding::Synced => return Ok(()),
                Binding::Forbidden(why) => return Err(why),
                Binding::Starting => changed.await,
            }
        }
    }

    fn start(self: &Arc<Self>, scope: &str) -> Binding {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(binding) = state.get(scope) {
            return binding.clone();
        }
        state.insert(scope.to_owned(), Binding::Starting);
        let namespace = (scope != EVERYWHERE).then(|| scope.to_owned());
        tokio::spawn(self.clone().watch_secrets(namespace.clone()));
        tokio::spawn(self.clone().watch_workloads::<Deployment>(namespace.clone()));
        tokio::spawn(self.clone().watch_workloads::<StatefulSet>(namespace.clone()));
        tokio::spawn(self.clone().watch_workloads::<DaemonSet>(namespace));
        Binding::Starting
    }

    fn set(&self, namespace: Option<&str>, binding: Binding) -> bool {
        let scope = namespace.unwrap_or(EVERYWHERE).to_owned();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.insert(scope, binding.clone());
        drop(state);
        self.changed.notify_waiters();
        before.as_ref() != Some(&binding)
    }

    async fn watch_secrets(self: Arc<Self>, namespace: Option<String>) {
        let api: Api<PartialObjectMeta<Secret>> = scoped(self.client.clone(), namespace.as_deref());
        let stream = watch(api, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut listed: HashSet<Key> = HashSet::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(secret)) => {
                    listed.insert(key(&secret));
                    self.secret_changed(&secret);
                }
                Ok(Event::InitDone) => {
                    let listed = std::mem::take(&mut listed);
                    for gone in self.relations.secrets.keys(namespace.as_deref()).difference(&listed) {
                        self.secret_gone(gone);
                    }
                    if self.set(namespace.as_deref(), Binding::Synced) {
                        self.look_again(namespace.as_deref());
                    }
                }
                Ok(Event::Apply(secret)) => self.secret_changed(&secret),
                Ok(Event::Delete(secret)) => self.secret_gone(&key(&secret)),
                Err(error) => self.failed(namespace.as_deref(), &error),
            }
        }
    }

    fn failed(&self, namespace: Option<&str>, error: &watcher::Error) {
        let forbidden = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(s))
            | watcher::Error::WatchStartFailed(kube::Error::Api(s))
            | watcher::Error::WatchFailed(kube::Error::Api(s)) => s.code == 403,
            watcher::Error::WatchError(s) => s.code == 403,
            _ => false,
        };
        if !forbidden {
            tracing::warn!(namespace, %error, "the watch of Secrets was interrupted");
            return;
        }
        let place = namespace.map_or("all namespaces".to_owned(), |ns| format!("namespace {ns}"));
        let why = format!(
            "the operator may not list and watch Secrets in {place}: create a RoleBinding there to the ClusterRole \
             mailcert-namespaced (Helm: --set 'bind.namespaces={{{}}}')",
            namespace.unwrap_or("*")
        );
        tracing::warn!("{why}");
        if self.set(namespace, Binding::Forbidden(why)) {
            self.look_again(namespace);
        }
    }

    /// Every object there has something new to say.
    fn look_again(&self, namespace: Option<&str>) {
        let there = |key: &Key| namespace.is_none_or(|ns| ns == key.0);
        for object in self.kinds.certificates.all().iter().filter(|o| there(&key(&***o))) {
            self.kinds.certificates.trigger(&key(&**object));
        }
        for object in self.kinds.domains.all().iter().filter(|o| there(&key(&***o))) {
            self.kinds.domains.trigger(&key(&**object));
        }
        for object in self.kinds.issuers.all().iter().filter(|o| there(&key(&***o))) {
            self.kinds.issuers.trigger(&key(&**object));
        }
    }

    fn secret_changed(&self, secret: &PartialObjectMeta<Secret>) {
        let key = key(secret);
        let labels = secret.labels();
        let ours = labels.get(keys::MANAGED_BY).is_some_and(|m| m == keys::MANAGER);
        let meta = SecretMeta {
            version: secret.resource_version().unwrap_or_default(),
            owner: labels.get(keys::OWNER).filter(|_| ours).cloned(),
            revision: labels.get(keys::REVISION).filter(|_| ours).and_then(|r| r.parse().ok()),
        };
        if self.relations.secrets.get(&key.0, &key.1).as_ref() == Some(&meta) {
            return;
        }
        self.relations.secrets.set(key.clone(), meta);
        self.trigger_users(&key);
    }

    fn secret_gone(&self, key: &Key) {
        self.relations.secrets.remove(key);
        self.trigger_users(key);
    }

    fn trigger_users(&self, secret: &Key) {
        let version = self.relations.secrets.get(&secret.0, &secret.1).map(|m| m.version);
        for user in self.relations.claims.of(secret) {
            // The operator's own write, whose status is written already, is no news.
            let known = self
                .kinds
                .certificates
                .get(&user)
                .and_then(|c| c.status.as_ref()?.active.as_ref()?.secret_resource_version.clone());
            if known.is_none() || known != version {
                self.kinds.certificates.trigger(&user);
            }
        }
        for user in self.relations.issuers.of(secret) {
            self.kinds.issuers.trigger(&user);
            for certificate in self.relations.users.of(&user) {
                self.kinds.certificates.trigger(&certificate);
            }
        }
    }

    async fn watch_workloads<W>(self: Arc<Self>, namespace: Option<String>)
    where
        W: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Send + Sync + 'static,
    {
        let api: Api<PartialObjectMeta<W>> = scoped(self.client.clone(), namespace.as_deref());
        let stream = watch(api, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(w) | Event::Delete(w)) => {
                    self.workload_changed(&W::kind(&()), &key(&w), w.labels());
                }
                Ok(Event::Init | Event::InitApply(_) | Event::InitDone) => {}
                Err(error) => tracing::warn!(kind = %W::kind(&()), namespace, %error, "the watch was interrupted"),
            }
        }
    }

    fn workload_changed(&self, kind: &str, workload: &Key, labels: &BTreeMap<String, String>) {
        for domain in self.relations.domains_in.of(&workload.0) {
            let names_it =
                self.kinds.domains.get(&domain).is_some_and(|d| super::workloads::names(&d, kind, &workload.1, labels));
            if names_it {
                self.kinds.domains.trigger(&domain);
            }
        }
    }
}
