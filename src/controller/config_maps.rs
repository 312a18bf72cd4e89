//! Where ConfigMaps are watched, by their metadata only: in each namespace that a MailTrustBundle reads from or writes to.
//! And which namespaces there are, once a MailTrustBundle selects them by label.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tokio::sync::Notify;

use super::bindings::is_forbidden;
use super::caches::Kinds;
use super::index::Key;
use super::relations::{Relations, key};

/// The chart's value that grants what this needs.
pub const CHART_VALUE: &str = "trustBundles.enabled";

/// The watches that run.
pub struct ConfigMaps {
    client: Client,
    kinds: Arc<Kinds>,
    relations: Arc<Relations>,
    state: Mutex<HashMap<String, State>>,
    changed: Notify,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Starting,
    Synced,
    Forbidden(String),
}

/// The entry for the watch of namespaces.
const NAMESPACES: &str = "";

impl ConfigMaps {
    /// Nothing is watched yet.
    pub fn new(client: Client, kinds: Arc<Kinds>, relations: Arc<Relations>) -> Self {
        Self { client, kinds, relations, state: Mutex::default(), changed: Notify::new() }
    }

    /// Makes sure that the namespace's ConfigMaps are watched.
    ///
    /// # Errors
    /// What is forbidden, and what to do.
    pub async fn ensure(self: &Arc<Self>, namespace: &str) -> Result<(), String> {
        self.wait(namespace, |this| tokio::spawn(this.watch_maps(namespace.to_owned()))).await
    }

    /// Makes sure that it is noticed when a namespace is made or labelled.
    ///
    /// # Errors
    /// What is forbidden, and what to do.
    pub async fn ensure_namespaces(self: &Arc<Self>) -> Result<(), String> {
        self.wait(NAMESPACES, |this| tokio::spawn(this.watch_namespaces())).await
    }

    async fn wait<T>(self: &Arc<Self>, scope: &str, start: impl Fn(Arc<Self>) -> T) -> Result<(), String> {
        loop {
            let changed = self.changed.notified();
            let (state, is_new) = self.enter(scope);
            if is_new {
                start(self.clone());
            }
            match state {
                State::Synced => return Ok(()),
                State::Forbidden(why) => return Err(why),
                State::Starting => changed.await,
            }
        }
    }

    fn enter(&self, scope: &str) -> (State, bool) {
        let mut all = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(scope) {
            Some(state) => (state.clone(), false),
            None => (all.entry(scope.to_owned()).or_insert(State::Starting).clone(), true),
        }
    }

    fn set(&self, scope: &str, state: State) {
        let mut all = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.insert(scope.to_owned(), state.clone());
        drop(all);
        self.changed.notify_waiters();
        if before.is_some_and(|b| b != State::Starting && b != state) {
            self.kinds.trust_bundles.trigger_all();
        }
    }

    async fn watch_maps(self: Arc<Self>, namespace: String) {
        let api: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(self.client.clone(), &namespace);
        let stream = watch(api, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut has_begun = false;
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(map) | Event::Delete(map)) => self.tell(&key(&map)),
                // What happened while the watch was interrupted is not known one by one.
                Ok(Event::InitDone) if has_begun => self.tell_all(&namespace),
                Ok(Event::InitDone) => {
                    has_begun = true;
                    self.set(&namespace, State::Synced);
                }
                Ok(Event::Init | Event::InitApply(_)) => {}
                Err(error) => self.failed(&namespace, "ConfigMaps", &error),
            }
        }
    }

    async fn watch_namespaces(self: Arc<Self>) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let stream = watch(api, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::InitDone) => {
                    self.set(NAMESPACES, State::Synced);
                    self.tell_selecting();
                }
                Ok(Event::Apply(_) | Event::Delete(_)) => self.tell_selecting(),
                Ok(Event::Init | Event::InitApply(_)) => {}
                Err(error) => self.failed(NAMESPACES, "namespaces", &error),
            }
        }
    }

    fn tell(&self, map: &Key) {
        for bundle in self.relations.bundle_maps.of(map) {
            self.kinds.trust_bundles.trigger(&bundle);
        }
    }

    fn tell_all(&self, namespace: &str) {
        for map in self.relations.bundle_maps.targets().iter().filter(|map| map.0 == namespace) {
            self.tell(map);
        }
    }

    fn tell_selecting(&self) {
        let all = self.kinds.trust_bundles.all();
        for bundle in all.iter().filter(|b| b.spec.targets.namespaces.selector.is_some()) {
            self.kinds.trust_bundles.trigger(&key(&**bundle));
        }
    }

    fn failed(&self, scope: &str, what: &str, error: &watcher::Error) {
        if !is_forbidden(error) {
            tracing::warn!(scope, %error, "the watch of {what} was interrupted");
            return;
        }
        let place = if scope == NAMESPACES { String::new() } else { format!(" in namespace {scope}") };
        let why = format!(
            "the operator may not list and watch {what}{place}: MailTrustBundles are off (Helm: --set {CHART_VALUE}=true), or \
             the namespace is not bound (bind.namespaces)"
        );
        self.set(scope, State::Forbidden(why));
    }
}
