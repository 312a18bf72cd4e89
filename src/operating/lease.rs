//! One leader among the replicas, elected through a `coordination.k8s.io/v1` Lease.
//!
//! Safety rests on two things. Every write carries the `resourceVersion` that was read, so of two writers one gets a
//! conflict. And a leader stops [`LeaseTimes::renew_deadline`] after it *sent* its last successful renewal, while the
//! others wait [`LeaseTimes::duration`] after they *saw* it; both measure on their own monotonic clock.

mod election;

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{Api, Client, api::PostParams};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use election::LeaseTimes;
use election::{Election, Step, Tenure};

/// How long the write that gives the lease back may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// A replica that wants to lead.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
    election: Election,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("lease", &self.name).field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Candidate {
    /// A candidate for the Lease `name`. Its identity is the Pod's name and a random part, so that a container that
    /// starts again in the same Pod never mistakes its predecessor's lease for its own.
    ///
    /// `times` must have passed [`LeaseTimes::check`].
    pub fn new(client: Client, namespace: &str, name: &str, times: LeaseTimes) -> Self {
        let host = ["POD_NAME", "HOSTNAME"].into_iter().find_map(|v| std::env::var(v).ok().filter(|h| !h.is_empty()));
        let identity = format!("{}_{:016x}", host.as_deref().unwrap_or("mailcert"), random());
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            election: Election::new(identity.clone(), times),
            identity,
            times,
        }
    }

    /// What stands in `holderIdentity` while this candidate leads.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Waits until this replica leads; `None` when `shutdown` came first. Failures are logged, each kind once, and
    /// tried again.
    pub async fn acquire(mut self, shutdown: &CancellationToken) -> Option<Leader> {
        tracing::info!(lease = self.name, identity = self.identity, "waiting to lead");
        let mut told = String::new();
        loop {
            let asked = Instant::now();
            let attempt = tokio::time::timeout(self.times.renew_deadline, self.attempt());
            let wait = match shutdown.run_until_cancelled(attempt).await? {
                Ok(Ok(Attempt::Won(lease))) => return Some(Leader::start(self, *lease, asked)),
                Ok(Ok(Attempt::Wait(left))) => {
                    told.clear();
                    left.min(self.times.retry_period)
                }
                Ok(Err(error)) => self.complain(&mut told, describe(&error)),
                Err(_) => self.complain(&mut told, "no answer in time".to_owned()),
            };
            shutdown.run_until_cancelled(tokio::time::sleep(jittered(wait))).await?;
        }
    }

    fn complain(&self, told: &mut String, reason: String) -> Duration {
        if *told != reason {
            tracing::warn!(lease = self.name, reason, "cannot take part in the election of a leader; trying again");
            *told = reason;
        }
        self.times.retry_period
    }

    async fn attempt(&mut self) -> Result<Attempt, kube::Error> {
        let found = self.api.get_opt(&self.name).await?;
        let written = match self.election.look(found.as_ref(), Instant::now()) {
            Step::Wait(left) => return Ok(Attempt::Wait(left)),
            Step::Create => {
                let mut lease = Lease::default();
                lease.metadata.name = Some(self.name.clone());
                self.api.create(&PostParams::default(), &self.election.claim(lease, Timestamp::now())).await
            }
            Step::Take => self.claim(found.unwrap_or_default()).await,
        };
        match written {
            Ok(lease) => Ok(Attempt::Won(Box::new(lease))),
            // Another candidate was faster.
            Err(kube::Error::Api(s)) if s.is_conflict() || s.is_already_exists() => {
                Ok(Attempt::Wait(self.times.retry_period))
            }
            Err(error) => Err(error),
        }
    }

    async fn claim(&self, lease: Lease) -> Result<Lease, kube::Error> {
        let claimed = self.election.claim(lease, Timestamp::now());
        self.api.replace(&self.name, &PostParams::default(), &claimed).await
    }

    async fn renew(&self, lease: Lease) -> Result<Lease, Renewal> {
        match self.claim(lease).await {
            Err(kube::Error::Api(s)) if s.is_not_found() => Err(Renewal::Lost("the Lease was deleted".to_owned())),
            // Another's write, or our own whose answer was lost: the holder tells.
            Err(kube::Error::Api(s)) if s.is_conflict() => {
                let found = self.reread().await?;
                self.claim(found).await.map_err(Renewal::Failed)
            }
            other => other.map_err(Renewal::Failed),
        }
    }

    /// The lease as it is now, as long as it is ours.
    async fn reread(&self) -> Result<Lease, Renewal> {
        let found = self.api.get_opt(&self.name).await.map_err(Renewal::Failed)?;
        match found {
            Some(lease) if self.election.holds(&lease) => Ok(lease),
            Some(lease) => {
                let holder = lease.spec.and_then(|s| s.holder_identity).unwrap_or_default();
                Err(Renewal::Lost(format!("the Lease is held by {holder:?}")))
            }
            None => Err(Renewal::Lost("the Lease was deleted".to_owned())),
        }
    }

    async fn give_back(&self) -> Result<(), Renewal> {
        // Read first: a renewal that was under way may have changed the version.
        let freed = Election::free(self.reread().await?, Timestamp::now());
        self.api.replace(&self.name, &PostParams::default(), &freed).await.map(drop).map_err(Renewal::Failed)
    }
}

enum Attempt {
    Won(Box<Lease>),
    Wait(Duration),
}

enum Renewal {
    Lost(String),
    Failed(kube::Error),
}

/// Proof of leadership; cheap to clone.
#[derive(Clone, Debug)]
pub struct Leader(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` without election: then the only replica always leads.
    tenure: Option<Tenure>,
    over: CancellationToken,
    release: CancellationToken,
    task: TaskTracker,
    lost: OnceLock<String>,
}

/// A side effect was refused because this replica does not lead any more.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("this replica does not lead any more; the one that does goes on")]
pub struct NotLeading;

impl Leader {
    /// The leader of an installation with one replica and no election.
    pub fn without_election() -> Self {
        Self::new(None)
    }

    fn new(tenure: Option<Tenure>) -> Self {
        let (over, release) = (CancellationToken::new(), CancellationToken::new());
        Self(Arc::new(Shared { tenure, over, release, task: TaskTracker::new(), lost: OnceLock::new() }))
    }

    fn start(candidate: Candidate, lease: Lease, asked: Instant) -> Self {
        tracing::info!(lease = candidate.name, identity = candidate.identity, "leading");
        let leader = Self::new(Some(Tenure::new(asked, candidate.times.renew_deadline)));
        let kept = leader.clone();
        leader.0.task.spawn(async move { kept.keep(&candidate, lease).await });
        leader.0.task.close();
        leader
    }

    /// Cancelled as soon as leadership is lost or given back. Stop all work then.
    pub fn token(&self) -> &CancellationToken {
        &self.0.over
    }

    /// Whether this replica leads at this very moment. Ask right before each external side effect: it is `false` once
    /// the renew deadline has passed, even if the runtime was too busy to cancel the token.
    pub fn is_leader(&self) -> bool {
        !self.0.over.is_cancelled() && self.0.tenure.as_ref().is_none_or(|t| t.holds(Instant::now()))
    }

    /// [`Self::is_leader`] as a `Result`.
    ///
    /// # Errors
    /// This replica does not lead any more.
    pub fn ensure(&self) -> Result<(), NotLeading> {
        if self.is_leader() { Ok(()) } else { Err(NotLeading) }
    }

    /// Why leadership was lost; `None` while it lasts or when it was given back.
    pub fn lost(&self) -> Option<&str> {
        self.0.lost.get().map(String::as_str)
    }

    /// Gives the lease back, so that another replica leads at once. Call it when all work has stopped.
    pub async fn release(&self) {
        self.0.release.cancel();
        self.0.task.close();
        self.0.task.wait().await;
        self.0.over.cancel();
    }

    async fn keep(&self, candidate: &Candidate, mut lease: Lease) {
        let Some(tenure) = &self.0.tenure else { return };
        loop {
            let deadline = tokio::time::sleep_until(tenure.deadline().into());
            tokio::select! {
                biased;
                () = self.0.release.cancelled() => return self.give_back(candidate).await,
                () = deadline => {
                    let reason = format!("not renewed for {:?}", candidate.times.renew_deadline);
                    return self.lose(candidate, reason);
                }
                renewed = next_renewal(candidate, &lease) => match renewed {
                    Ok((asked, written)) => {
                        tenure.renewed(asked);
                        lease = written;
                    }
                    Err(Renewal::Lost(reason)) => return self.lose(candidate, reason),
                    Err(Renewal::Failed(error)) => {
                        tracing::warn!(lease = candidate.name, reason = describe(&error), "cannot renew the leadership; trying again");
                    }
                }
            }
        }
    }

    fn lose(&self, candidate: &Candidate, reason: String) {
        tracing::error!(lease = candidate.name, identity = candidate.identity, reason, "leadership lost");
        let _ = self.0.lost.set(reason);
        self.0.over.cancel();
    }

    async fn give_back(&self, candidate: &Candidate) {
        self.0.over.cancel();
        let reason = match tokio::time::timeout(RELEASE_TIMEOUT, candidate.give_back()).await {
            Ok(Ok(())) => return tracing::info!(lease = candidate.name, "leadership given back"),
            Ok(Err(Renewal::Lost(reason))) => reason,
            Ok(Err(Renewal::Failed(error))) => describe(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(
            lease = candidate.name,
            reason,
            "cannot give the leadership back; the next leader waits until it lapses"
        );
    }
}

/// Waits one retry period and renews. One renewal gets half of the deadline: when it hangs on a dead connection, the
/// next one opens another.
async fn next_renewal(candidate: &Candidate, lease: &Lease) -> Result<(Instant, Lease), Renewal> {
    tokio::time::sleep(jittered(candidate.times.retry_period)).await;
    let asked = Instant::now();
    match tokio::time::timeout(candidate.times.renew_deadline / 2, candidate.renew(lease.clone())).await {
        Ok(renewed) => renewed.map(|lease| (asked, lease)),
        Err(_) => Err(Renewal::Failed(kube::Error::Service("no answer in time".into()))),
    }
}

/// An error as one line that says what to do about a missing permission.
fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(s) if s.is_forbidden() => {
            format!("{}; grant get, create and update on leases.coordination.k8s.io", s.message)
        }
        other => other.to_string(),
    }
}

/// `wait` and up to a fifth more, so that replicas do not ask in step.
fn jittered(wait: Duration) -> Duration {
    wait + wait.mul_f64(0.2 * (random() as f64 / u64::MAX as f64))
}

/// A number that differs between processes and calls; not for secrets.
fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_fifth() {
        let wait = Duration::from_secs(10);
        let all: Vec<_> = (0..100).map(|_| jittered(wait)).collect();
        assert!(all.iter().all(|j| (wait..=wait.mul_f64(1.2)).contains(j)));
        assert!(all.iter().any(|j| j != &all[0]));
    }

    #[tokio::test]
    async fn without_election_it_leads_until_released() {
        let leader = Leader::without_election();
        assert_eq!(leader.ensure(), Ok(()));
        leader.release().await;
        assert_eq!((leader.ensure(), leader.lost()), (Err(NotLeading), None));
        assert!(leader.token().is_cancelled());
    }
}
