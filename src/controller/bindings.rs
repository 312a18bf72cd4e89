//! Where Secrets and workloads can be watched: by their metadata only.
//!
//! Of Secrets only name, resourceVersion and mailcert's labels are kept. Workloads are not kept at all: a change only
//! says which MailDomains to look at. Where they may not be watched cluster-wide, they are watched in each namespace that
//! has an object of ours, and where even that is forbidden the objects say so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::Notify;

use super::caches::{Kinds, scoped};
use super::index::{Key, SecretMeta};
use super::relations::{Relations, key};
use crate::api::keys;

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
        if !is_forbidden(error) {
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
        for object in self.kinds.trust_bundles.all().iter().filter(|o| there(&key(&***o))) {
            self.kinds.trust_bundles.trigger(&key(&**object));
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
            domain: labels.get(keys::DOMAIN).filter(|_| ours).cloned(),
            revision: labels.get(keys::REVISION).filter(|_| ours).and_then(|r| r.parse().ok()),
        };
        if self.relations.secrets.get(&key.0, &key.1).as_ref() == Some(&meta) {
            return;
        }
        self.relations.secrets.set(key.clone(), meta);
        self.trigger_users(&key);
    }

    fn secret_gone(&self, key: &Key) {
        let owner = self.relations.secrets.get(&key.0, &key.1).and_then(|meta| meta.owner);
        self.relations.secrets.remove(key);
        self.trigger_users(key);
        // A revision, or the next key, that somebody deleted is missed by its owner.
        if let Some(owner) = owner {
            self.kinds.certificates.trigger(&(key.0.clone(), owner));
        }
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
        for user in self.relations.copies.of(secret) {
            let domain = self.kinds.domains.get(&user);
            let known = domain.and_then(|d| d.status.as_ref()?.certificate.as_ref()?.copy.clone());
            if known.map(|c| c.resource_version) != version {
                self.kinds.domains.trigger(&user);
            }
        }
        for user in self.relations.imports.of(secret) {
            self.kinds.certificates.trigger(&user);
        }
        for user in self.relations.passwords.of(secret) {
            self.kinds.certificates.trigger(&user);
        }
        if let Some(writer) = self.relations.sni.of(secret).into_iter().min() {
            self.kinds.domains.trigger(&writer);
        }
        for user in self.relations.bundle_secrets.of(secret) {
            self.kinds.trust_bundles.trigger(&user);
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

/// Whether a watch was refused for lack of a right.
pub(super) fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(s))
        | watcher::Error::WatchStartFailed(kube::Error::Api(s))
        | watcher::Error::WatchFailed(kube::Error::Api(s)) => s.code == 403,
        watcher::Error::WatchError(s) => s.code == 403,
        _ => false,
    }
}
