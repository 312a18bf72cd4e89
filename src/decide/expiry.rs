//! Warnings before certificates end that nobody renews here.
//!
//! A warning is given when a threshold is passed, once: the status says which one was passed last.

use std::str::FromStr;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::certificate::{Expiring, ExpiryWarning, Watched, WatchedKind};
use crate::api::reasons::condition;
use crate::decide::events::Note;

/// Days before expiry, unless the spec says otherwise.
const DAYS: [i64; 5] = [30, 14, 7, 3, 1];
/// Of those, the ones count that are at most this part of the lifetime: what is renewed every week elsewhere is not to be
/// warned of all the time.
const LARGEST_PART: i32 = 3;

/// How long before the end of a certificate to warn, longest first.
pub fn thresholds(asked: &[ExpiryWarning], lifetime: SignedDuration) -> Vec<SignedDuration> {
    let mut all: Vec<SignedDuration> = if asked.is_empty() {
        let days = DAYS.map(|days| SignedDuration::from_hours(24 * days));
        days.into_iter().filter(|left| *left <= lifetime / LARGEST_PART).collect()
    } else {
        asked.iter().filter_map(|warning| left(&warning.0, lifetime)).collect()
    };
    all.retain(|left| left.is_positive());
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.dedup();
    all
}

fn left(text: &str, lifetime: SignedDuration) -> Option<SignedDuration> {
    match text.strip_suffix('%') {
        Some(share) => {
            let share: i64 = share.parse().ok()?;
            Some(SignedDuration::from_secs(lifetime.as_secs() / 100 * share))
        }
        None => {
            let span = kube::core::Duration::from_str(text).ok()?;
            SignedDuration::try_from(std::time::Duration::from(span)).ok()
        }
    }
}

/// The threshold that was passed last.
fn passed(left: SignedDuration, thresholds: &[SignedDuration]) -> Option<SignedDuration> {
    thresholds.iter().rev().find(|t| **t >= left).copied()
}

/// The warning that is to be given of a certificate now, if any.
pub fn warning(watched: &Watched, asked: &[ExpiryWarning], now: Timestamp) -> Option<Expiring> {
    let left = watched.not_after.0.duration_since(now);
    let within = match left.is_positive() {
        true => Some(words(passed(left, &thresholds(asked, lifetime(watched)))?)),
        false => None,
    };
    let (kind, subject, not_after) = (watched.kind, watched.subject.clone(), watched.not_after.clone());
    Some(Expiring { kind, subject, not_after, within })
}

/// When the next warning is due.
pub fn next(watched: &Watched, asked: &[ExpiryWarning], now: Timestamp) -> Option<Timestamp> {
    let end = watched.not_after.0;
    let thresholds = thresholds(asked, lifetime(watched));
    let dates = thresholds.into_iter().filter_map(|left| end.checked_sub(left).ok());
    dates.chain([end]).filter(|at| *at > now).min()
}

fn lifetime(watched: &Watched) -> SignedDuration {
    watched.not_after.0.duration_since(watched.not_before.0).max(SignedDuration::ZERO)
}

/// A span in words, in its largest whole unit.
fn words(span: SignedDuration) -> String {
    let (number, unit) = match span.as_secs() {
        s if s % 86_400 == 0 => (s / 86_400, "day"),
        s if s % 3600 == 0 => (s / 3600, "hour"),
        s if s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// What a warning says. It says the same until the next threshold.
pub fn message(expiring: &Expiring, advice: &str) -> String {
    let what = match expiring.kind {
        WatchedKind::Imported => "the imported certificate".to_owned(),
        WatchedKind::CA => format!("the CA certificate {}", expiring.subject),
        WatchedKind::Anchor => format!("the trust anchor {}", expiring.subject),
    };
    let at = expiring.not_after.0;
    match &expiring.within {
        Some(within) => format!("{what} expires at {at}, less than {within} from now: {advice}"),
        None => format!("{what} expired at {at}: {advice}"),
    }
}

/// One Note for each warning that was not given before.
pub fn notes(
    old: &[Expiring],
    new: &[Expiring],
    reason: impl Fn(&Expiring) -> &'static str,
    advice: impl Fn(&Expiring) -> &'static str,
) -> Vec<Note> {
    let note = |e: &Expiring| Note {
        warning: true,
        reason: reason(e).to_owned(),
        action: condition::RENEWAL_OVERDUE.to_owned(),
        message: message(e, advice(e)),
    };
    new.iter().filter(|e| !old.contains(e)).map(note).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn days(n: i64) -> SignedDuration {
        SignedDuration::from_hours(24 * n)
    }

    fn lasting(lifetime: SignedDuration) -> Watched {
        let (not_before, not_after) = (Time(start()), Time(start() + lifetime));
        Watched { kind: WatchedKind::Imported, subject: "CN=mail".to_owned(), not_before, not_after }
    }

    fn asked(list: &[&str]) -> Vec<ExpiryWarning> {
        list.iter().map(|text| ExpiryWarning((*text).to_owned())).collect()
    }

    #[test]
    fn the_usual_thresholds_are_those_that_suit_the_lifetime() {
        let whole = |lifetime| thresholds(&[], lifetime).iter().map(|t| t.as_hours() / 24).collect::<Vec<_>>();
        assert_eq!(whole(days(365)), [30, 14, 7, 3, 1]);
        assert_eq!(whole(days(90)), [30, 14, 7, 3, 1]);
        assert_eq!(whole(days(47)), [14, 7, 3, 1]);
        assert_eq!(whole(days(6)), [1]);
        assert_eq!(whole(days(1)), [] as [i64; 0]);
    }

    #[test]
    fn spans_and_shares_can_be_asked_for() {
        let hours = |list: &[&str]| {
            thresholds(&asked(list), days(100)).iter().map(SignedDuration::as_hours).collect::<Vec<_>>()
        };
        assert_eq!(hours(&["36h", "10%", "36h", "0s"]), [240, 36]);
    }

    #[test]
    fn each_threshold_is_one_warning_and_a_wake_up_at_its_moment() {
        let watched = lasting(days(90));
        let mut now = start();
        let mut said = Vec::new();
        while let Some(at) = next(&watched, &[], now) {
            assert_eq!(warning(&watched, &[], at - SignedDuration::from_secs(1)), warning(&watched, &[], now));
            now = at;
            let warned = warning(&watched, &[], now).unwrap();
            said.push((now.duration_since(start()).as_hours() / 24, warned.within.unwrap_or("over".to_owned())));
        }
        let wanted = [(60, "30 days"), (76, "14 days"), (83, "7 days"), (87, "3 days"), (89, "1 day"), (90, "over")];
        assert_eq!(said, wanted.map(|(day, within)| (day, within.to_owned())));
        assert_eq!(warning(&watched, &[], start()), None);
    }

    #[test]
    fn it_says_what_ends_and_when() {
        let watched = Watched { kind: WatchedKind::Anchor, ..lasting(days(90)) };
        let soon = warning(&watched, &asked(&["90m"]), start() + days(90) - SignedDuration::from_mins(80)).unwrap();
        let end = start() + days(90);
        assert_eq!(
            message(&soon, "replace it"),
            format!("the trust anchor CN=mail expires at {end}, less than 90 minutes from now: replace it")
        );
        let over = warning(&watched, &[], end).unwrap();
        assert_eq!(message(&over, "replace it"), format!("the trust anchor CN=mail expired at {end}: replace it"));
    }

    #[test]
    fn nothing_is_told_twice() {
        let warned = |at| warning(&lasting(days(90)), &[], at).into_iter().collect::<Vec<_>>();
        let told = |old: &[Expiring], new: &[Expiring]| notes(old, new, |_| "ExpiresSoon", |_| "renew it").len();
        let (first, same, second) =
            (warned(start() + days(61)), warned(start() + days(70)), warned(start() + days(77)));
        assert_eq!((told(&[], &first), told(&first, &same), told(&same, &second)), (1, 0, 1));
    }
}
