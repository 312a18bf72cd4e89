//! The pass over an object, the same for every kind.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::Action as Requeue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Context;
use super::report;
use crate::decide::Decision;
use crate::decide::events::Note;
use crate::operating::lease::NotLeading;

/// Rounds of deciding and acting in one pass. A pass needs at most nine; one that needs more goes on in the next.
const ROUNDS: usize = 12;
/// Actions that do not depend on each other run at most this many at once.
const ABREAST: usize = 16;
/// An object is looked at again at least this often, so that a clock that was put right is noticed.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// Why a pass could not be finished. What it found wrong with an object is not here: that is in the status.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The API server did not answer, or not as it should.
    #[error("{doing}")]
    Api {
        /// What was being done.
        doing: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// Another replica leads now.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// As many passes as may talk with an ACME server at once.
    #[error("the ACME server is asked about as many certificates as it may be at once: this one waits")]
    Busy,
    /// Something that was made for a challenge is still there.
    #[error("left behind: {0}")]
    LeftBehind(String),
    /// It took too long.
    #[error("the pass was not finished within {0:?}")]
    Timeout(Duration),
}

impl PassError {
    /// Wraps an API error with what was being done.
    pub fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { doing: doing.into(), source: Box::new(source) }
    }

    /// For metrics.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Api { .. } => "api",
            Self::NotLeading(_) => "not_leading",
            Self::Busy => "busy",
            Self::LeftBehind(_) => "left_behind",
            Self::Timeout(_) => "timeout",
        }
    }
}

/// A kind of object that is reconciled.
pub trait Subject: Send + Sync + Sized + 'static {
    /// The object.
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static;
    /// Its status.
    type Status: Clone + Default + PartialEq + Serialize + Send + Sync;
    /// What is known about it.
    type World: Send + Sync;
    /// What can be done about it.
    type Action: Debug + Display + Send + Sync;
    /// What doing it brings to light.
    type Fact: Send;

    /// The kind's name.
    const KIND: &'static str;

    /// Reads what `decide` needs.
    fn observe(
        context: &Context,
        object: Arc<Self::Object>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Self::World, PassError>> + Send;
    /// Pure.
    fn decide(world: &Self::World) -> Decision<Self::Action, Self::Status>;
    /// Pure.
    fn learn(world: &mut Self::World, fact: Self::Fact);
    /// Does it. Makes no choices.
    fn act(
        context: &Context,
        world: &Self::World,
        action: Self::Action,
    ) -> impl Future<Output = Result<Self::Fact, PassError>> + Send;
    /// Whether actions like this one run at the same time as their neighbours.
    fn abreast(action: &Self::Action) -> bool;
    /// Whether the pass cannot go on after what was learnt.
    fn ended(world: &Self::World) -> bool;
    /// The status that the object has.
    fn status(object: &Self::Object) -> Option<&Self::Status>;
    /// The Events that tell of a change of status.
    fn notes(old: &Self::Status, new: &Self::Status) -> Vec<Note>;
    /// Remembers and measures what the pass found.
    fn keep(context: &Context, world: &Self::World, status: &Self::Status);
    /// Whether an object that is being deleted is still looked after: a finalizer of ours is on it.
    fn is_held(_: &Self::Object) -> bool {
        false
    }
    /// Forgets a deleted object.
    fn forget(context: &Context, key: &super::index::Key);
}

/// One pass over an object.
///
/// # Errors
/// When it could not be finished; the controller tries again with backoff.
pub async fn pass<S: Subject>(context: &Context, object: Arc<S::Object>) -> Result<Requeue, PassError> {
    if object.meta().deletion_timestamp.is_some() && !S::is_held(&object) {
        return Ok(Requeue::await_change());
    }
    let mut world = S::observe(context, object.clone(), Context::now()).await?;
    let mut decision = S::decide(&world);
    for _ in 0..ROUNDS {
        if decision.actions.is_empty() {
            break;
        }
        act_all::<S>(context, &mut world, std::mem::take(&mut decision.actions)).await?;
        decision = S::decide(&world);
    }
    let pending = !decision.actions.is_empty();
    S::keep(context, &world, &decision.status);
    report::report::<S>(context, &object, &decision.status).await?;
    Ok(Requeue::requeue(if pending { Duration::ZERO } else { until(decision.wake) }))
}

async fn act_all<S: Subject>(
    context: &Context,
    world: &mut S::World,
    actions: Vec<S::Action>,
) -> Result<(), PassError> {
    let (abreast, in_turn): (Vec<_>, Vec<_>) = actions.into_iter().partition(S::abreast);
    if !abreast.is_empty() {
        let facts: Vec<Result<S::Fact, PassError>> = {
            let world = &*world;
            futures::stream::iter(abreast.into_iter().map(|action| act_one::<S>(context, world, action)))
                .buffered(ABREAST)
                .collect()
                .await
        };
        for fact in facts {
            S::learn(world, fact?);
        }
    }
    // What is asked for after a failure (to remove what was made for it) is done; what was asked for before it is not.
    let ended_before = S::ended(world);
    for action in in_turn {
        if S::ended(world) && !ended_before {
            return Ok(());
        }
        let fact = act_one::<S>(context, world, action).await?;
        S::learn(world, fact);
    }
    Ok(())
}

async fn act_one<S: Subject>(context: &Context, world: &S::World, action: S::Action) -> Result<S::Fact, PassError> {
    context.leader.ensure()?;
    tracing::debug!(kind = S::KIND, %action, "acting");
    S::act(context, world, action).await
}

fn until(wake: Option<Timestamp>) -> Duration {
    let Some(at) = wake else { return LONGEST_REST };
    let left = at.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or(Duration::ZERO).min(LONGEST_REST)
}
