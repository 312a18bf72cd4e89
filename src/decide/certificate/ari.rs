//! When the CA suggests to renew: ACME Renewal Information (RFC 9773).

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::decide::jitter;

/// Bounds of the time between two questions (RFC 9773, section 4.3.3, asks clients to set some).
const SHORTEST_POLL: SignedDuration = SignedDuration::from_hours(1);
const LONGEST_POLL: SignedDuration = SignedDuration::from_hours(24);
/// Where the CA does not say when to ask again.
const DEFAULT_POLL: SignedDuration = SignedDuration::from_hours(6);
/// By this share of the pause, the certificates' questions are spread.
const SPREAD: f64 = 0.1;
/// How far a window may reach beyond the certificate's validity: clocks differ, and CAs set the start of validity back.
const SLACK: SignedDuration = SignedDuration::from_hours(24);
/// The last tenth of the lifetime, and a week at most, is left for renewals that fail at first.
const LONGEST_MARGIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The time span in which the CA suggests to renew (RFC 9773, section 4.2, `suggestedWindow`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its start.
    pub start: Timestamp,
    /// Its end.
    pub end: Timestamp,
}

/// When a certificate is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// In whole seconds.
    pub at: Timestamp,
    /// The CA's window decided it.
    pub by_ca: bool,
    /// Why the CA's answer was not used.
    pub finding: Option<String>,
}

/// The moment in the window at which this certificate is renewed, in whole seconds: drawn once, from a hash, so that it
/// stays the same with each answer that gives the same window. A window in the past gives a moment that is over: due now.
pub fn renewal_moment(window: &Window, uid: &str, ari_id: &str) -> Timestamp {
    let first = window.start.as_second().saturating_add(i64::from(window.start.subsec_nanosecond() > 0));
    let length = window.end.as_second().saturating_sub(first).max(0);
    let drawn = (length as f64 * jitter::fraction(&[uid, ari_id, "ari"])) as i64;
    Timestamp::from_second(first.saturating_add(drawn)).unwrap_or(window.start)
}

/// When to ask the CA again: at its Retry-After, within bounds, a little later for each certificate by a hash.
pub fn next_check(now: Timestamp, retry_after: Option<SignedDuration>, uid: &str, ari_id: &str) -> Timestamp {
    let asked = retry_after.filter(|d| d.is_positive());
    let pause = asked.unwrap_or(DEFAULT_POLL).clamp(SHORTEST_POLL, LONGEST_POLL).as_secs();
    let spread = (pause as f64 * SPREAD * jitter::fraction(&[uid, ari_id, "poll"])) as i64;
    let seconds = now.as_second().saturating_add(pause.saturating_add(spread).min(LONGEST_POLL.as_secs()));
    Timestamp::from_second(seconds).unwrap_or(now)
}

/// Whether a window makes sense for a certificate with this validity.
///
/// # Errors
/// Why it makes none. It is then treated as if the CA had said nothing (RFC 9773, section 4.2).
pub fn sensible(window: &Window, not_before: Timestamp, not_after: Timestamp) -> Result<(), String> {
    let Window { start, end } = *window;
    let earliest = not_before.checked_sub(SLACK).unwrap_or(Timestamp::MIN);
    let latest = not_after.checked_add(SLACK).unwrap_or(Timestamp::MAX);
    let problem = if end <= start {
        "does not end after it starts".to_owned()
    } else if start < earliest {
        format!("starts before the certificate is valid ({not_before})")
    } else if start >= not_after {
        format!("starts when the certificate has expired ({not_after})")
    } else if end > latest {
        format!("ends long after the certificate has expired ({not_after})")
    } else {
        return Ok(());
    };
    Err(format!("the CA suggests to renew from {start} to {end}, which {problem}"))
}

/// When a certificate is due: at a moment in the CA's window where there is a sensible one, but early enough before it
/// expires; else at `fallback`, which goes by its lifetime.
pub fn effective(
    fallback: Timestamp,
    window: Option<&Window>,
    (not_before, not_after): (Timestamp, Timestamp),
    uid: &str,
    ari_id: &str,
) -> Due {
    let Some(window) = window else { return Due { at: fallback, by_ca: false, finding: None } };
    if let Err(why) = sensible(window, not_before, not_after) {
        return Due { at: fallback, by_ca: false, finding: Some(why) };
    }
    let moment = renewal_moment(window, uid, ari_id);
    let lifetime = not_after.duration_since(not_before).max(SignedDuration::ZERO);
    let margin = SignedDuration::from_secs((lifetime / 10).min(LONGEST_MARGIN).as_secs());
    let last = Timestamp::from_second(not_after.as_second().saturating_sub(margin.as_secs())).unwrap_or(not_after);
    Due { at: moment.min(last), by_ca: moment <= last, finding: None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(start: &str, end: &str) -> Window {
        Window { start: at(start), end: at(end) }
    }

    const BEGIN: &str = "2030-01-01T00:00:00Z";
    const END: &str = "2030-04-01T00:00:00Z";

    fn due(window: Option<Window>) -> Due {
        effective(at("2030-03-02T00:00:00Z"), window.as_ref(), (at(BEGIN), at(END)), "uid", "id")
    }

    #[test]
    fn the_moment_is_drawn_once_and_for_each() {
        let window = window("2030-03-01T00:00:00Z", "2030-03-03T00:00:00Z");
        let moment = renewal_moment(&window, "uid", "id");
        assert_eq!(moment, renewal_moment(&window, "uid", "id"));
        assert!(window.start <= moment && moment < window.end);
        assert_ne!(moment, renewal_moment(&window, "other", "id"));
        assert_ne!(moment, renewal_moment(&window, "uid", "next"));
        let moments: Vec<_> = (0..1000).map(|i| renewal_moment(&window, &i.to_string(), "id")).collect();
        let early = moments.iter().filter(|m| **m < at("2030-03-02T00:00:00Z")).count();
        assert!((450..550).contains(&early), "{early}");
    }

    #[test]
    fn windows_that_make_no_sense_are_ignored_and_said() {
        for (start, end, why) in [
            ("2030-03-01T00:00:00Z", "2030-03-01T00:00:00Z", "which does not end after it starts"),
            ("2030-03-02T00:00:00Z", "2030-03-01T00:00:00Z", "which does not end after it starts"),
            ("1970-01-01T00:00:00Z", "2030-03-01T00:00:00Z", "which starts before the certificate is valid "),
            (END, "2030-04-01T12:00:00Z", "which starts when the certificate has expired "),
            ("2030-03-01T00:00:00Z", "2030-04-03T00:00:00Z", "which ends long after the certificate has expired "),
        ] {
            let got = due(Some(window(start, end)));
            assert_eq!((got.at, got.by_ca), (at("2030-03-02T00:00:00Z"), false), "{start} {end}");
            assert!(got.finding.as_ref().is_some_and(|f| f.contains(why)), "{got:?}");
        }
    }

    #[test]
    fn the_words_say_it_all() {
        let got = due(Some(window("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"))).finding;
        assert_eq!(
            got.as_deref(),
            Some(
                "the CA suggests to renew from 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z, which starts before the \
                 certificate is valid (2030-01-01T00:00:00Z)"
            )
        );
    }

    #[test]
    fn a_sensible_window_wins() {
        for (start, end) in [
            ("2030-02-25T00:00:00Z", "2030-02-27T00:00:00Z"),
            ("2030-03-10T00:00:00Z", "2030-03-12T00:00:00Z"),
            // All over: the CA wants it replaced now.
            ("2029-12-31T12:00:00Z", "2029-12-31T13:00:00Z"),
        ] {
            let window = window(start, end);
            let got = due(Some(window));
            assert!(got.by_ca && got.finding.is_none() && window.start <= got.at && got.at < window.end, "{got:?}");
        }
        assert_eq!(due(None), Due { at: at("2030-03-02T00:00:00Z"), by_ca: false, finding: None });
    }

    #[test]
    fn there_is_time_left_before_it_expires() {
        let got = due(Some(window("2030-03-31T00:00:00Z", "2030-04-01T12:00:00Z")));
        assert_eq!(got, Due { at: at("2030-03-25T00:00:00Z"), by_ca: false, finding: None });
        let short = (at("2030-01-01T00:00:00Z"), at("2030-01-07T00:00:00Z"));
        let window = window("2030-01-06T22:00:00Z", "2030-01-06T23:00:00Z");
        let got = effective(at("2030-01-04T00:00:00Z"), Some(&window), short, "uid", "id");
        assert_eq!(got.at, at("2030-01-06T09:36:00Z"));
    }

    #[test]
    fn the_ca_is_asked_again_at_its_retry_after_within_bounds() {
        let now = at(BEGIN);
        for (asked, least, most) in [
            (None, 6 * 3600, 6 * 3960),
            (Some(0), 6 * 3600, 6 * 3960),
            (Some(-5), 6 * 3600, 6 * 3960),
            (Some(1), 3600, 3960),
            (Some(4 * 3600), 4 * 3600, 4 * 3960),
            (Some(10_000_000), 86_400, 86_400),
            (Some(i64::MAX), 86_400, 86_400),
        ] {
            let at = next_check(now, asked.map(SignedDuration::from_secs), "uid", "id");
            let pause = at.duration_since(now).as_secs();
            assert!((least..=most).contains(&pause), "{asked:?}: {pause}");
        }
        let spread: std::collections::BTreeSet<_> =
            (0..1000).map(|i| next_check(now, None, &i.to_string(), "id")).collect();
        assert!(spread.len() > 500, "{}", spread.len());
    }

    fn moment() -> impl Strategy<Value = Timestamp> {
        let any = Timestamp::MIN.as_second()..Timestamp::MAX.as_second();
        prop_oneof![
            3 => (any, 0..1_000_000_000i32).prop_map(|(s, n)| Timestamp::new(s, n).unwrap_or(Timestamp::MAX)),
            2 => (1_800_000_000..1_820_000_000i64).prop_map(|s| Timestamp::from_second(s).unwrap()),
            1 => prop::sample::select(vec![Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH]),
        ]
    }

    proptest! {
        #[test]
        fn any_window_is_survived(start in moment(), end in moment(), begin in moment(), over in moment()) {
            let window = Window { start, end };
            let got = effective(begin, Some(&window), (begin, over), "uid", "id");
            prop_assert!(!got.by_ca || got.at >= start && got.at <= end.max(start + SignedDuration::from_secs(1)));
            prop_assert!(got.by_ca || got.at == begin || got.at <= over);
            let _ = next_check(start, Some(end.duration_since(start)), "uid", "id");
        }
    }
}
