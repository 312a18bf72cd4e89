//! When to try again. Pure functions of what the status remembers, so that a restart forgets nothing.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Longest pause between two tries. A retry time further ahead than this was written by a clock that was wrong.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// How a failure is to be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A network or server fault: 10 s, doubling, at most 1 h.
    Transient,
    /// The CA said no: 1 min, 10 min, 100 min, then daily, as Let's Encrypt's integration guide asks.
    Refusal,
    /// It takes a person: hourly, and at once when the spec changes.
    Person,
}

/// The pause after the `failures`-th failure in a row (1 or more). The server's own Retry-After wins, up to [`LONGEST`].
pub fn pause(pace: Pace, failures: i32, retry_after: Option<SignedDuration>) -> SignedDuration {
    if let Some(asked) = retry_after.filter(|d| d.is_positive()) {
        return asked.min(LONGEST);
    }
    let n = u32::try_from(failures.clamp(1, 30) - 1).unwrap_or(0);
    match pace {
        Pace::Transient => SignedDuration::from_secs(10 * 2i64.pow(n.min(9))).min(SignedDuration::from_hours(1)),
        Pace::Refusal => match n {
            0 => SignedDuration::from_mins(1),
            1 => SignedDuration::from_mins(10),
            2 => SignedDuration::from_mins(100),
            _ => LONGEST,
        },
        Pace::Person => SignedDuration::from_hours(1),
    }
}

/// Whether `retry_time` still has to be waited for.
pub fn waits(retry_time: Option<Timestamp>, now: Timestamp) -> bool {
    retry_time.is_some_and(|at| at > now && at.duration_since(now) <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(pace: Pace, failures: i32) -> i64 {
        pause(pace, failures, None).as_secs()
    }

    #[test]
    fn transient_faults_double_up_to_an_hour() {
        let got: Vec<i64> = (1..=12).map(|n| secs(Pace::Transient, n)).collect();
        assert_eq!(got, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]);
    }

    #[test]
    fn refusals_wait_as_the_integration_guide_asks() {
        let got: Vec<i64> = (1..=5).map(|n| secs(Pace::Refusal, n)).collect();
        assert_eq!(got, [60, 600, 6000, 86400, 86400]);
    }

    #[test]
    fn retry_after_wins_and_is_bounded() {
        let asked = |s| pause(Pace::Transient, 1, Some(SignedDuration::from_secs(s))).as_secs();
        assert_eq!(asked(7), 7);
        assert_eq!(asked(10_000_000), 86400);
        assert_eq!(asked(-5), 10);
    }

    #[test]
    fn odd_counts_do_not_panic() {
        for n in [i32::MIN, -1, 0, 31, i32::MAX] {
            assert!(secs(Pace::Transient, n) > 0 && secs(Pace::Refusal, n) > 0);
        }
    }

    #[test]
    fn a_retry_time_of_a_wrong_clock_is_not_waited_for() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |s| Some(now + SignedDuration::from_secs(s));
        assert!(waits(at(60), now));
        assert!(!waits(at(-1), now));
        assert!(!waits(at(86_401), now));
        assert!(!waits(None, now));
    }
}
