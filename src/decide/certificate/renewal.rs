//! When a revision is due for renewal: a share of its actual lifetime, with jitter from a hash.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::certificate::Renewal;
use crate::decide::jitter;

/// Lifetimes below this are renewed at half, not at a third (Let's Encrypt's integration guide).
const SHORT: SignedDuration = SignedDuration::from_hours(240);
/// The renewal moves ahead by at most this share of the time that it leaves.
const JITTER: f64 = 0.1;
/// A renewal is never due before this much of the lifetime, or half of it, is over. CAs set the start of validity up to
/// an hour back, and what is due as soon as it is issued would be issued again and again.
const EARLIEST: SignedDuration = SignedDuration::from_mins(70);

/// When a certificate with this validity is due, in whole seconds.
pub fn due(not_before: Timestamp, not_after: Timestamp, renewal: &Renewal, uid: &str, serial: &str) -> Timestamp {
    let lifetime = not_after.duration_since(not_before).max(SignedDuration::ZERO);
    let left = left_at_renewal(lifetime, renewal);
    let jitter = left.mul_f64_checked(JITTER * jitter::fraction(&[uid, serial])).min(lifetime.mul_f64_checked(0.05));
    let earliest = not_before.checked_add(EARLIEST.min(lifetime / 2)).unwrap_or(not_after);
    let due = not_after.checked_sub(left).and_then(|t| t.checked_sub(jitter)).unwrap_or(not_after).max(earliest);
    // As the API keeps it: with a fraction, the status would never be the same as the one that was written.
    Timestamp::from_second(due.as_second()).unwrap_or(due)
}

fn left_at_renewal(lifetime: SignedDuration, renewal: &Renewal) -> SignedDuration {
    let before =
        renewal.before.map(|d| SignedDuration::try_from(std::time::Duration::from(d)).unwrap_or(SignedDuration::MAX));
    match (before, renewal.before_percentage) {
        (Some(before), _) if before < lifetime => before,
        (None, Some(percent)) => lifetime.mul_f64_checked(f64::from(percent.clamp(1, 95)) / 100.0),
        _ if lifetime < SHORT => lifetime / 2,
        _ => lifetime / 3,
    }
}

trait MulF64 {
    fn mul_f64_checked(self, factor: f64) -> Self;
}

impl MulF64 for SignedDuration {
    fn mul_f64_checked(self, factor: f64) -> Self {
        // Whole seconds do here, and cannot overflow for factors below 1.
        SignedDuration::from_secs((self.as_secs() as f64 * factor) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(lifetime: i64, renewal: Renewal) -> i64 {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let at = due(start, start + SignedDuration::from_hours(lifetime), &renewal, "uid", "01");
        at.duration_since(start).as_hours()
    }

    #[test]
    fn a_third_of_the_lifetime_is_left() {
        let at = hours(90 * 24, Renewal::default());
        assert!((57 * 24..=60 * 24).contains(&at), "{at}");
    }

    #[test]
    fn it_is_in_whole_seconds() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        // Lifetimes as public CAs give them: a second less than whole days.
        for seconds in [90 * 86_400 - 1, 6 * 86_400 - 1, 3599] {
            let at = due(start, start + SignedDuration::from_secs(seconds), &Renewal::default(), "uid", "01");
            assert_eq!(at.subsec_nanosecond(), 0, "{at}");
        }
    }

    #[test]
    fn half_is_left_below_ten_days() {
        let at = hours(160, Renewal::default());
        assert!((72..=80).contains(&at), "{at}");
    }

    #[test]
    fn a_before_longer_than_the_lifetime_does_not_loop() {
        let before = Some(std::time::Duration::from_secs(3600 * 24 * 365).into());
        let at = hours(90 * 24, Renewal { before, ..Renewal::default() });
        assert!((57 * 24..=60 * 24).contains(&at), "{at}");
    }

    #[test]
    fn a_fresh_certificate_is_not_due_at_once() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let mins = |lifetime: i64, renewal: &Renewal| {
            let due = due(start, start + SignedDuration::from_mins(lifetime), renewal, "uid", "01");
            due.duration_since(start).as_mins()
        };
        // Five minutes of them are over when it is issued.
        let before = Renewal { before: Some(std::time::Duration::from_secs(3600).into()), ..Renewal::default() };
        assert_eq!(mins(65, &before), 32);
        let percentage = Renewal { before_percentage: Some(95), ..Renewal::default() };
        assert_eq!(mins(65, &percentage), 32);
        assert_eq!(mins(25 * 60, &percentage), 70);
    }

    #[test]
    fn percentages_count_what_is_left() {
        let at = hours(1000, Renewal { before_percentage: Some(20), ..Renewal::default() });
        assert!((780..=800).contains(&at), "{at}");
    }

    #[test]
    fn jitter_differs_between_objects_and_not_between_looks() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let end = start + SignedDuration::from_hours(2160);
        let at = |uid: &str| due(start, end, &Renewal::default(), uid, "01");
        assert_eq!(at("a"), at("a"));
        assert_ne!(at("a"), at("b"));
    }
}
