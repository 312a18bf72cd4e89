//! Runs the passes over the objects of a cache.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::applier;
use kube::runtime::controller::{Action as Requeue, Config, Error, ReconcileRequest};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::sync::CancellationToken;

use super::caches::{Caches, Kinds};
use super::context::Context;
use super::pass::{PassError, Subject, pass};
use super::queue::Queue;
use crate::decide::jitter;
use crate::operating::settings::OperatorSettings;

/// Passes over the objects of one cache, each at most once at a time, until `stop`.
pub fn run<S: Subject>(
    context: Arc<Context>,
    store: Store<S::Object>,
    queue: Queue,
    settings: &OperatorSettings,
    stop: CancellationToken,
    caches: fn(&Kinds) -> &Caches<S::Object>,
) -> impl Future<Output = ()> + Send + use<S> {
    let timeout = settings.reconcile_timeout;
    let config = Config::default().concurrency(settings.concurrency);
    let requests = futures::stream::unfold(queue, |queue| async move {
        let (namespace, name) = queue.pop().await;
        let next = ObjectRef::<S::Object>::new(&name).within(&namespace);
        Some((Ok::<_, Infallible>(ReconcileRequest::from(next)), queue))
    });
    let requests = requests.take_until(stop.cancelled_owned());
    let reconcile = move |object: Arc<S::Object>, context: Arc<Context>| {
        Box::pin(async move {
            let object = caches(&context.kinds).freshest(object);
            let started = Instant::now();
            let result = match tokio::time::timeout(timeout, pass::<S>(&context, object.clone())).await {
                Ok(result) => result,
                Err(_) => Err(PassError::Timeout(timeout)),
            };
            context.metrics.reconciled(S::KIND, started.elapsed(), result.as_ref().err().map(PassError::class));
            if result.is_ok() {
                context
                    .failures
                    .forget(&(S::KIND.to_owned() + &object.namespace().unwrap_or_default(), object.name_any()));
            }
            result
        })
    };
    async move {
        let results = applier(reconcile, retry::<S>, context.clone(), store, Box::pin(requests), config);
        results
            .for_each(|result| {
                if let Err(error) = result {
                    failed::<S>(&context, &error);
                }
                std::future::ready(())
            })
            .await;
    }
}

/// After an error that is no finding: 1 s, doubling, at most 5 min.
fn retry<S: Subject>(object: Arc<S::Object>, error: &PassError, context: Arc<Context>) -> Requeue {
    if matches!(error, PassError::Busy) {
        // No fault of its own; spread, so that not all of them come back at the same moment.
        let spread = jitter::fraction(&[&object.uid().unwrap_or_default()]);
        return Requeue::requeue(Duration::from_secs_f64(1.0 + spread));
    }
    let key = (S::KIND.to_owned() + &object.namespace().unwrap_or_default(), object.name_any());
    let failures = context.failures.update(&key, |n| {
        let next = n.unwrap_or(0u32).saturating_add(1);
        *n = Some(next);
        next
    });
    Requeue::requeue(Duration::from_secs((1u64 << failures.clamp(1, 9).saturating_sub(1)).min(300)))
}

fn failed<S: Subject>(context: &Context, error: &Error<PassError, Infallible>) {
    match error {
        // Deleted since it was queued.
        Error::ObjectNotFound(object) => {
            S::forget(context, &(object.namespace.clone().unwrap_or_default(), object.name.clone()));
        }
        Error::ReconcilerFailed(PassError::Busy, _) => {}
        Error::ReconcilerFailed(error, object) => {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(kind = S::KIND, %object, %error, cause, "the pass was not finished and is tried again");
        }
        other => tracing::warn!(kind = S::KIND, error = %other, "the controller had an error"),
    }
}
