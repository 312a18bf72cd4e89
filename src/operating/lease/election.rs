//! The rules of the election: no IO, and no clock but the one that is handed in.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};

/// The three durations of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// How long the others wait for a leader that does not renew. Whole seconds: the Lease stores no fractions.
    pub duration: Duration,
    /// How long a leader that cannot renew still leads; shorter than `duration`, so that it stops before another starts.
    pub renew_deadline: Duration,
    /// Time between two looks at the lease.
    pub retry_period: Duration,
}

impl LeaseTimes {
    /// Checks that a leader always stops before another can start.
    ///
    /// # Errors
    /// Says which durations contradict each other, by the names of their flags.
    pub fn check(&self) -> Result<(), String> {
        let Self { duration, renew_deadline, retry_period } = *self;
        if duration.subsec_nanos() != 0 || i32::try_from(duration.as_secs()).is_err() || duration.is_zero() {
            return Err(format!("--lease-duration ({duration:?}) must be whole seconds, at least one"));
        }
        if renew_deadline >= duration {
            return Err(format!(
                "--renew-deadline ({renew_deadline:?}) must be shorter than --lease-duration ({duration:?}), or two replicas could lead at once"
            ));
        }
        if retry_period.is_zero() || retry_period > renew_deadline / 2 {
            return Err(format!(
                "--retry-period ({retry_period:?}) must be at most half of --renew-deadline ({renew_deadline:?}), so that one failed renewal can be repeated"
            ));
        }
        Ok(())
    }
}

/// What a candidate should do after it has looked at the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is no lease: create one.
    Create,
    /// Nobody holds the lease, or its holder is gone, or it is ours: write ourselves into it.
    Take,
    /// Someone holds it; it cannot lapse before this much time has passed.
    Wait(Duration),
}

/// What a candidate has seen. Holders are judged by how long *we* have not seen a change, never by their clock.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    times: LeaseTimes,
    seen: Option<(LeaseSpec, Instant)>,
}

impl Election {
    pub(super) fn new(identity: String, times: LeaseTimes) -> Self {
        Self { identity, times, seen: None }
    }

    /// Takes note of the lease as it is now and says what to do.
    pub(super) fn look(&mut self, lease: Option<&Lease>, now: Instant) -> Step {
        let Some(lease) = lease else {
            self.seen = None;
            return Step::Create;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((known, since)) if *known == spec => *since,
            _ => now,
        };
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let valid = self.validity(&spec);
        self.seen = Some((spec, since));
        let left = (since + valid).saturating_duration_since(now);
        if holder.is_empty() || holder == self.identity || left.is_zero() { Step::Take } else { Step::Wait(left) }
    }

    /// How long the holder's lease holds: what it wrote, else what we would have written.
    fn validity(&self, spec: &LeaseSpec) -> Duration {
        let written = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
        written.map_or(self.times.duration, Duration::from_secs)
    }

    /// The lease with us as its holder. `resourceVersion` stays, so that only one of two writers succeeds.
    pub(super) fn claim(&self, mut lease: Lease, now: Timestamp) -> Lease {
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = Some(MicroTime(now));
        }
        spec.lease_duration_seconds = i32::try_from(self.times.duration.as_secs()).ok();
        spec.renew_time = Some(MicroTime(now));
        lease
    }

    /// The lease with no holder, so that the next candidate need not wait.
    pub(super) fn free(mut lease: Lease, now: Timestamp) -> Lease {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(now));
        lease
    }

    /// Whether the lease is ours.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()) == Some(&self.identity)
    }
}

/// How long a leader may lead, readable from every thread.
#[derive(Debug)]
pub(super) struct Tenure {
    start: Instant,
    renewed_nanos: AtomicU64,
    renew_deadline: Duration,
}

impl Tenure {
    /// `asked` is when the request that won the lease was sent: before its answer, so that we err on the safe side.
    pub(super) fn new(asked: Instant, renew_deadline: Duration) -> Self {
        Self { start: asked, renewed_nanos: AtomicU64::new(0), renew_deadline }
    }

    /// Notes a renewal whose request was sent at `asked`.
    pub(super) fn renewed(&self, asked: Instant) {
        let nanos = u64::try_from(asked.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        self.renewed_nanos.fetch_max(nanos, Ordering::SeqCst);
    }

    /// When the leader must stop unless it renews.
    pub(super) fn deadline(&self) -> Instant {
        self.start + Duration::from_nanos(self.renewed_nanos.load(Ordering::SeqCst)) + self.renew_deadline
    }

    pub(super) fn holds(&self, now: Instant) -> bool {
        now < self.deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: LeaseTimes = LeaseTimes {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    };

    fn lease(holder: &str, renewed: i64, seconds: Option<i32>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: seconds,
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    /// Looks at a sequence of (seconds, lease) and gives the last step.
    fn last_step(looks: &[(u64, Option<Lease>)]) -> Step {
        let mut election = Election::new("me".into(), TIMES);
        let start = Instant::now();
        let steps = looks.iter().map(|(at, lease)| election.look(lease.as_ref(), start + Duration::from_secs(*at)));
        steps.last().unwrap()
    }

    #[test]
    fn a_lease_lapses_only_after_we_watched_it_long_enough() {
        let wait = |s| Step::Wait(Duration::from_secs(s));
        let other = |renewed| Some(lease("other", renewed, Some(15)));
        let cases = [
            ("no lease", vec![(0, None)], Step::Create),
            ("long past by its own clock, but new to us", vec![(0, other(0))], wait(15)),
            ("in its own future", vec![(0, other(9_999_999_999))], wait(15)),
            ("unchanged for 14 s", vec![(0, other(1)), (14, other(1))], wait(1)),
            ("unchanged for 15 s", vec![(0, other(1)), (15, other(1))], Step::Take),
            ("renewed meanwhile", vec![(0, other(1)), (14, other(2)), (16, other(2))], wait(13)),
            ("its clock goes backwards: still a renewal", vec![(0, other(9)), (14, other(3))], wait(15)),
            ("released", vec![(0, other(1)), (1, Some(lease("", 1, Some(1))))], Step::Take),
            ("ours from a write whose answer was lost", vec![(0, Some(lease("me", 1, Some(15))))], Step::Take),
            (
                "the holder's longer duration counts",
                vec![(0, Some(lease("o", 1, Some(60)))), (30, Some(lease("o", 1, Some(60))))],
                wait(30),
            ),
            ("no duration: ours", vec![(0, Some(lease("o", 1, None))), (5, Some(lease("o", 1, None)))], wait(10)),
            ("a senseless duration: ours", vec![(0, Some(lease("o", 1, Some(-5))))], wait(15)),
            ("an empty lease", vec![(0, Some(Lease::default()))], Step::Take),
            ("deleted and created anew", vec![(0, other(1)), (10, None), (15, other(1))], wait(15)),
        ];
        for (name, looks, wanted) in cases {
            assert_eq!(last_step(&looks), wanted, "{name}");
        }
    }

    #[test]
    fn a_change_of_metadata_is_no_renewal() {
        let mut annotated = lease("other", 1, Some(15));
        annotated.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
        assert_eq!(last_step(&[(0, Some(lease("other", 1, Some(15)))), (15, Some(annotated))]), Step::Take);
    }

    #[test]
    fn claims_count_transitions_and_keep_the_version() {
        let election = Election::new("me".into(), TIMES);
        let (first, second) = (Timestamp::from_second(100).unwrap(), Timestamp::from_second(102).unwrap());
        let mut found = lease("other", 1, Some(60));
        found.metadata.resource_version = Some("7".into());
        let taken = election.claim(found, first);
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
        let spec = taken.spec.as_ref().unwrap();
        assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(5), Some(15)));
        assert!(election.holds(&taken));
        let renewed = election.claim(taken, second).spec.unwrap();
        assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(5), Some(MicroTime(first))));
        assert_eq!(renewed.renew_time, Some(MicroTime(second)));
        let created = election.claim(Lease::default(), first).spec.unwrap();
        assert_eq!(created.lease_transitions, Some(0));
    }

    #[test]
    fn a_freed_lease_is_taken_at_once() {
        let freed = Election::free(lease("other", 1, Some(15)), Timestamp::from_second(2).unwrap());
        assert_eq!(freed.spec.as_ref().unwrap().lease_transitions, Some(4));
        assert_eq!(last_step(&[(0, Some(freed))]), Step::Take);
    }

    #[test]
    fn a_tenure_ends_by_itself_and_never_shrinks() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let tenure = Tenure::new(start, TIMES.renew_deadline);
        assert!(tenure.holds(at(9)) && !tenure.holds(at(10)));
        tenure.renewed(at(8));
        tenure.renewed(at(2));
        assert!(tenure.holds(at(17)) && !tenure.holds(at(18)));
    }

    #[test]
    fn a_leader_stops_before_another_starts() {
        assert_eq!(TIMES.check(), Ok(()));
        let seconds = Duration::from_secs;
        assert!(LeaseTimes { renew_deadline: seconds(15), ..TIMES }.check().is_err());
        assert!(LeaseTimes { duration: Duration::from_millis(15_100), ..TIMES }.check().is_err());
        assert!(LeaseTimes { duration: seconds(0), ..TIMES }.check().is_err());
        assert!(LeaseTimes { retry_period: seconds(6), ..TIMES }.check().is_err());
        assert!(LeaseTimes { retry_period: seconds(0), ..TIMES }.check().is_err());
    }
}
