//! Whether a maintenance window is open, and when the next one opens.
//!
//! A cron line speaks of wall clocks. What it says is looked up on a wall clock that never jumps, and then put into the
//! time zone: a time that the clocks skip is as much later, and of one that they show twice the first counts. So every
//! opening happens exactly once.

use cronexpr::{Crontab, MakeTimestamp, parse_crontab};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::api::window::Window;

/// Clocks are put forward or back by less than this.
const LARGEST_JUMP: SignedDuration = SignedDuration::from_hours(3);

/// What windows say about a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// One is open, at least until then.
    Open {
        /// Its end, unless another one overlaps it.
        until: Timestamp,
    },
    /// None is open.
    Closed {
        /// When the next one opens.
        next: Timestamp,
    },
}

/// Looks whether one of the windows is open. No windows at all: always.
///
/// # Errors
/// What is wrong with which window.
pub fn look(windows: &[Window], now: Timestamp) -> Result<Opening, String> {
    if windows.is_empty() {
        return Ok(Opening::Open { until: Timestamp::MAX });
    }
    let mut best: Option<Opening> = None;
    for (index, window) in windows.iter().enumerate() {
        let found =
            Line::of(window).and_then(|line| line.look(now)).map_err(|why| format!("windows[{index}]: {why}"))?;
        best = Some(match (best, found) {
            (Some(Opening::Open { until: a }), Opening::Open { until: b }) => Opening::Open { until: a.max(b) },
            (Some(Opening::Closed { next: a }), Opening::Closed { next: b }) => Opening::Closed { next: a.min(b) },
            (Some(open @ Opening::Open { .. }), _) | (_, open @ Opening::Open { .. }) => open,
            (None, closed) => closed,
        });
    }
    best.ok_or_else(|| "no window".to_owned())
}

/// A window that can be read.
struct Line {
    crontab: Crontab,
    zone: TimeZone,
    duration: SignedDuration,
}

impl Line {
    fn of(window: &Window) -> Result<Self, String> {
        let name = window.time_zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(name).map_err(|_| format!("timeZone {name} is no time zone of the IANA database"))?;
        // Read as UTC, which has no jumps; the zone comes in afterwards.
        let crontab = parse_crontab(&format!("{} UTC", window.cron.trim()))
            .map_err(|_| format!("cron {:?} cannot be read: write minute, hour, day, month, weekday", window.cron))?;
        let duration = SignedDuration::try_from(std::time::Duration::from(window.duration))
            .ok()
            .filter(|d| d.is_positive())
            .ok_or_else(|| "duration must be positive".to_owned())?;
        Ok(Self { crontab, zone, duration })
    }

    fn look(&self, now: Timestamp) -> Result<Opening, String> {
        // Back over a growing span: a line that opens each minute is found at once, one of a week by its length.
        let longest = self.duration.saturating_add(LARGEST_JUMP);
        let mut back = LARGEST_JUMP;
        loop {
            back = back.min(longest);
            let last = self.openings(now, back).filter(|at| *at <= now).max();
            let end = last.and_then(|at| at.checked_add(self.duration).ok());
            if let Some(until) = end.filter(|end| *end > now) {
                return Ok(Opening::Open { until });
            }
            if last.is_some() || back == longest {
                break;
            }
            back = back.saturating_mul(2);
        }
        self.next(now).map(|next| Opening::Closed { next })
    }

    /// Openings from `back` before now on the wall clock until a jump's length after it.
    fn openings(&self, now: Timestamp, back: SignedDuration) -> impl Iterator<Item = Timestamp> + '_ {
        let wall = now.to_zoned(self.zone.clone()).datetime();
        let from = wall.saturating_sub(back);
        let to = wall.saturating_add(LARGEST_JUMP);
        self.after(from).take_while(move |at| *at <= to).filter_map(|at| self.instant(at))
    }

    fn next(&self, now: Timestamp) -> Result<Timestamp, String> {
        let wall = now.to_zoned(self.zone.clone()).datetime().saturating_sub(LARGEST_JUMP);
        let later = |at: &DateTime| self.instant(*at).is_some_and(|at| at > now);
        let first = self.after(wall).find(later).ok_or_else(|| "cron never opens".to_owned())?;
        // One that a jump put off may come after a later one.
        let until = first.saturating_add(LARGEST_JUMP);
        let candidates = self.after(wall).take_while(|at| *at <= until).filter_map(|at| self.instant(at));
        candidates.filter(|at| *at > now).min().ok_or_else(|| "cron never opens".to_owned())
    }

    /// Times on the wall clock, later than `from`.
    fn after(&self, from: DateTime) -> impl Iterator<Item = DateTime> + '_ {
        let next = |at: &DateTime| {
            // The library looks four years ahead, and panics where time ends before that.
            if at.year() > 9990 {
                return None;
            }
            let at = at.to_zoned(TimeZone::UTC).ok()?.timestamp();
            self.crontab.find_next(MakeTimestamp(at)).ok().as_ref().map(Zoned::datetime)
        };
        std::iter::successors(next(&from), move |at| next(at))
    }

    fn instant(&self, wall: DateTime) -> Option<Timestamp> {
        self.zone.to_ambiguous_zoned(wall).compatible().ok().map(|zoned| zoned.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(cron: &str, hours: u64, zone: Option<&str>) -> Window {
        Window {
            cron: cron.to_owned(),
            duration: std::time::Duration::from_secs(hours * 3600).into(),
            time_zone: zone.map(str::to_owned),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn looked(window: &Window, now: &str) -> Opening {
        look(std::slice::from_ref(window), at(now)).unwrap()
    }

    fn open(until: &str) -> Opening {
        Opening::Open { until: at(until) }
    }

    fn closed(next: &str) -> Opening {
        Opening::Closed { next: at(next) }
    }

    #[test]
    fn it_opens_and_closes() {
        let nightly = window("0 2 * * *", 2, None);
        assert_eq!(looked(&nightly, "2030-06-15T01:59:59Z"), closed("2030-06-15T02:00:00Z"));
        assert_eq!(looked(&nightly, "2030-06-15T02:00:00Z"), open("2030-06-15T04:00:00Z"));
        assert_eq!(looked(&nightly, "2030-06-15T03:59:59Z"), open("2030-06-15T04:00:00Z"));
        assert_eq!(looked(&nightly, "2030-06-15T04:00:00Z"), closed("2030-06-16T02:00:00Z"));
        // Over midnight, and for days.
        let late = window("30 23 * * *", 3, Some("Europe/Berlin"));
        assert_eq!(looked(&late, "2030-06-15T23:00:00Z"), open("2030-06-16T00:30:00Z"));
        let weekend = window("0 18 * * FRI", 60, None);
        assert_eq!(looked(&weekend, "2030-06-16T12:00:00Z"), open("2030-06-17T06:00:00Z"));
        assert_eq!(looked(&weekend, "2030-06-17T06:00:00Z"), closed("2030-06-21T18:00:00Z"));
    }

    #[test]
    fn a_time_that_the_clocks_skip_comes_as_much_later() {
        // 2030-03-31: Berlin goes from 02:00 (+01:00) to 03:00 (+02:00).
        let skipped = window("30 2 * * *", 1, Some("Europe/Berlin"));
        assert_eq!(looked(&skipped, "2030-03-31T00:45:00Z"), closed("2030-03-31T01:30:00Z"));
        assert_eq!(looked(&skipped, "2030-03-31T01:30:00Z"), open("2030-03-31T02:30:00Z"));
        assert_eq!(looked(&skipped, "2030-03-31T02:30:00Z"), closed("2030-04-01T00:30:00Z"));
        // One that begins later by the cron line may be first.
        let both = window("0,30 2,3 * * *", 1, Some("Europe/Berlin"));
        assert_eq!(looked(&both, "2030-03-31T00:45:00Z"), closed("2030-03-31T01:00:00Z"));
        let across = window("30 1 * * *", 2, Some("Europe/Berlin"));
        assert_eq!(looked(&across, "2030-03-31T02:29:59Z"), open("2030-03-31T02:30:00Z"));
    }

    #[test]
    fn a_time_that_the_clocks_repeat_comes_once() {
        // 2030-10-27: Berlin goes from 03:00 (+02:00) back to 02:00 (+01:00).
        let repeated = window("30 2 * * *", 1, Some("Europe/Berlin"));
        assert_eq!(looked(&repeated, "2030-10-27T00:29:59Z"), closed("2030-10-27T00:30:00Z"));
        assert_eq!(looked(&repeated, "2030-10-27T00:30:00Z"), open("2030-10-27T01:30:00Z"));
        assert_eq!(looked(&repeated, "2030-10-27T01:30:00Z"), closed("2030-10-28T01:30:00Z"));
        // It lasts as long as it says, whatever the clocks show.
        let across = window("30 1 * * *", 3, Some("Europe/Berlin"));
        assert_eq!(looked(&across, "2030-10-27T02:00:00Z"), open("2030-10-27T02:30:00Z"));
    }

    #[test]
    fn several_windows_open_when_one_does() {
        let windows = [window("0 2 * * *", 1, None), window("0 14 * * *", 1, None), window("30 14 * * *", 2, None)];
        assert_eq!(look(&windows, at("2030-06-15T05:00:00Z")), Ok(closed("2030-06-15T14:00:00Z")));
        assert_eq!(look(&windows, at("2030-06-15T14:45:00Z")), Ok(open("2030-06-15T16:30:00Z")));
        assert_eq!(look(&[], at("2030-06-15T05:00:00Z")), Ok(Opening::Open { until: Timestamp::MAX }));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let error = |w: Window| look(&[window("0 2 * * *", 1, None), w], at("2030-06-15T00:00:00Z")).unwrap_err();
        assert_eq!(
            error(window("0 25 * * *", 1, None)),
            "windows[1]: cron \"0 25 * * *\" cannot be read: write minute, hour, day, month, weekday"
        );
        assert_eq!(
            error(window("0 2 * * *", 1, Some("Mars/Base"))),
            "windows[1]: timeZone Mars/Base is no time zone of the IANA database"
        );
        assert_eq!(error(window("0 0 30 2 *", 1, None)), "windows[1]: cron never opens");
        assert_eq!(error(window("0 2 * * *", 0, None)), "windows[1]: duration must be positive");
    }

    #[test]
    fn odd_moments_do_not_panic() {
        let often = window("* * * * *", 168, Some("America/New_York"));
        for now in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            let _ = look(std::slice::from_ref(&often), now);
        }
        assert!(matches!(looked(&often, "2030-03-10T07:30:00Z"), Opening::Open { .. }));
    }
}
