//! Events, published beside the passes, which do not wait for them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::api::keys;
use crate::decide::events::Note;

/// Events that wait to be published, before passes have to wait for them after all.
const QUEUE: usize = 1024;
/// Events that are published at once: few, so that issuance goes before them, and enough to keep up with it.
const ABREAST: usize = 4;
/// Events of which a repetition is recognised.
const REMEMBERED: usize = 512;
/// Longest note of an Event (events.k8s.io/v1).
const LONGEST_NOTE: usize = 1000;

/// Something to tell about an object.
#[derive(Debug)]
pub struct News {
    /// The object.
    pub about: ObjectReference,
    /// What to tell.
    pub note: Note,
}

/// Where news goes in, and where it comes out.
pub fn queue() -> (mpsc::Sender<News>, mpsc::Receiver<News>) {
    mpsc::channel(QUEUE)
}

/// Publishes what comes until `stop`, and then what is left.
pub async fn publish(client: Client, queue: mpsc::Receiver<News>, stop: CancellationToken) {
    let known = Known::default();
    let news = futures::stream::unfold((queue, stop), |(mut queue, stop)| async move {
        let next = tokio::select! {
            biased;
            next = queue.recv() => next,
            () = stop.cancelled() => None,
        };
        Some((next?, (queue, stop)))
    });
    news.for_each_concurrent(ABREAST, |news| publish_one(&client, &known, news)).await;
}

/// UID of the object, reason and text.
type Said = (Option<String>, String, String);

/// Name and count of what was told lately.
#[derive(Default)]
struct Known(Mutex<HashMap<Said, (String, i32)>>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, HashMap<Said, (String, i32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what is told under `name`: the name that it was told under at first, and how often by now.
    fn count(&self, key: &Said, name: &str) -> (String, i32) {
        let mut known = self.lock();
        if known.len() >= REMEMBERED && !known.contains_key(key) {
            known.clear();
        }
        let (name, count) = known.entry(key.clone()).or_insert_with(|| (name.to_owned(), 0));
        *count += 1;
        (name.clone(), *count)
    }
}

async fn publish_one(client: &Client, known: &Known, news: News) {
    let News { about, note } = news;
    let api: Api<Event> = Api::namespaced(client.clone(), about.namespace.as_deref().unwrap_or("default"));
    let text: String = note.message.chars().take(LONGEST_NOTE).collect();
    let key = (about.uid.clone(), note.reason.clone(), text.clone());
    let event = event(&about, note, text);
    let result = match known.count(&key, event.metadata.name.as_deref().unwrap_or_default()) {
        (_, 1) => api.create(&PostParams::default(), &event).await,
        (name, count) => repeat(&api, &name, count).await,
    };
    if let Err(error) = result {
        known.lock().remove(&key);
        tracing::warn!(kind = about.kind, name = about.name, %error, "an Event could not be published");
    }
}

fn event(about: &ObjectReference, note: Note, text: String) -> Event {
    let now = Timestamp::now();
    let name = about.name.as_deref().unwrap_or(keys::MANAGER);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason),
        action: Some(note.action),
        note: Some(text),
        regarding: Some(about.clone()),
        reporting_controller: Some(keys::MANAGER.to_owned()),
        reporting_instance: Some(keys::MANAGER.to_owned()),
        ..Event::default()
    }
}

/// The same thing was told before: the Event counts.
async fn repeat(api: &Api<Event>, name: &str, count: i32) -> kube::Result<Event> {
    let series = json!({"series": {"count": count, "lastObservedTime": MicroTime(Context::now())}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(series)).await
}
