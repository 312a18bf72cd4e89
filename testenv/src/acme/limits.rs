//! Rate limits as Let's Encrypt has them, but as sliding windows and without its exemption of renewals that do not say
//! what they replace: whoever stays within these stays within those. What ARI asked for is neither refused nor counted.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::answer::Problem;

const WEEK: i64 = 7 * 86_400;

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Certificates for the same set of names.
    ExactSet,
    /// Certificates for names of a registered domain.
    RegisteredDomain,
    /// Orders of an account.
    Orders,
    /// Failed authorizations of a name, by account.
    FailedAuthorizations,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ExactSet, Self::RegisteredDomain, Self::Orders, Self::FailedAuthorizations];

    /// The window, in seconds.
    fn window(self) -> i64 {
        match self {
            Self::ExactSet | Self::RegisteredDomain => WEEK,
            Self::Orders => 3 * 3600,
            Self::FailedAuthorizations => 3600,
        }
    }
}

/// How many are allowed in a window.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In 7 days.
    pub exact_set: usize,
    /// In 7 days.
    pub registered_domain: usize,
    /// In 3 hours.
    pub orders: usize,
    /// In an hour.
    pub failed_authorizations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { exact_set: 5, registered_domain: 50, orders: 300, failed_authorizations: 5 }
    }
}

impl Limits {
    /// None that could be reached.
    pub fn none() -> Self {
        let most = usize::MAX;
        Self { exact_set: most, registered_domain: most, orders: most, failed_authorizations: most }
    }

    fn of(&self, limit: Limit) -> usize {
        match limit {
            Limit::ExactSet => self.exact_set,
            Limit::RegisteredDomain => self.registered_domain,
            Limit::Orders => self.orders,
            Limit::FailedAuthorizations => self.failed_authorizations,
        }
    }
}

/// What happened when, for each limit and what it counts.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<(Limit, String), VecDeque<i64>>);

impl Counts {
    /// The limit that an order for these names would exceed.
    pub fn exceeded(
        &mut self,
        limits: &Limits,
        account: usize,
        names: &[String],
        now: i64,
    ) -> Option<(Limit, Problem)> {
        let mut keys = vec![(Limit::ExactSet, set(names)), (Limit::Orders, account.to_string())];
        keys.extend(domains(names).into_iter().map(|domain| (Limit::RegisteredDomain, domain)));
        keys.extend(names.iter().map(|name| (Limit::FailedAuthorizations, failed(account, name))));
        keys.into_iter().find_map(|(limit, key)| {
            let (allowed, window) = (limits.of(limit), limit.window());
            let seen = self.0.get_mut(&(limit, key.clone()))?;
            while seen.front().is_some_and(|at| *at <= now - window) {
                seen.pop_front();
            }
            let oldest = *seen.get(seen.len().checked_sub(allowed)?)?;
            let wait = u32::try_from(oldest + window - now).unwrap_or(1).max(1);
            let what = match limit {
                Limit::ExactSet => format!("certificates ({allowed}) already issued for this exact set of identifiers"),
                Limit::RegisteredDomain => format!("certificates ({allowed}) already issued for {key:?}"),
                Limit::Orders => format!("new orders ({allowed}) from this account"),
                Limit::FailedAuthorizations => format!("failed authorizations ({allowed}) for {key:?}"),
            };
            let words = format!("too many {what} in the last {}h, retry after {wait} s", window / 3600);
            Some((limit, Problem::new(429, "rateLimited", words).retry_after(wait)))
        })
    }

    pub fn ordered(&mut self, account: usize, now: i64) {
        self.count(Limit::Orders, account.to_string(), now);
    }

    pub fn issued(&mut self, names: &[String], now: i64) {
        self.count(Limit::ExactSet, set(names), now);
        for domain in domains(names) {
            self.count(Limit::RegisteredDomain, domain, now);
        }
    }

    pub fn failed(&mut self, account: usize, name: &str, now: i64) {
        self.count(Limit::FailedAuthorizations, failed(account, name), now);
    }

    fn count(&mut self, limit: Limit, key: String, now: i64) {
        self.0.entry((limit, key)).or_default().push_back(now);
    }
}

fn failed(account: usize, name: &str) -> String {
    format!("{name} of account {account}")
}

fn set(names: &[String]) -> String {
    names.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

fn domains(names: &[String]) -> BTreeSet<String> {
    let registered = |name: &String| {
        let name = name.trim_start_matches("*.");
        psl::domain_str(name).unwrap_or(name).to_owned()
    };
    names.iter().map(registered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_sixth_certificate_of_a_set_waits_for_the_first_to_be_a_week_old() {
        let (mut counts, limits) = (Counts::default(), Limits::default());
        let set = names(&["b.example.co.uk", "a.example.co.uk"]);
        for day in 0..5 {
            assert!(counts.exceeded(&limits, 0, &set, day * 86_400).is_none());
            counts.issued(&set, day * 86_400);
        }
        let (limit, problem) =
            counts.exceeded(&limits, 0, &names(&["a.example.co.uk", "b.example.co.uk"]), 5 * 86_400).unwrap();
        assert_eq!((limit, problem.retry_after), (Limit::ExactSet, Some(2 * 86_400)));
        assert!(counts.exceeded(&limits, 0, &names(&["a.example.co.uk"]), 5 * 86_400).is_none());
        assert!(counts.exceeded(&limits, 0, &set, 7 * 86_400).is_none());
    }

    #[test]
    fn domains_are_registered_ones_and_failures_are_by_account() {
        let (mut counts, limits) = (Counts::default(), Limits { registered_domain: 2, ..Limits::default() });
        counts.issued(&names(&["a.example.co.uk"]), 0);
        counts.issued(&names(&["b.example.co.uk"]), 0);
        assert_eq!(counts.exceeded(&limits, 0, &names(&["c.example.co.uk"]), 1).unwrap().0, Limit::RegisteredDomain);
        assert!(counts.exceeded(&limits, 0, &names(&["other.co.uk"]), 1).is_none());
        for _ in 0..5 {
            counts.failed(0, "x.test", 0);
        }
        assert_eq!(counts.exceeded(&limits, 0, &names(&["x.test"]), 1).unwrap().0, Limit::FailedAuthorizations);
        assert!(counts.exceeded(&limits, 1, &names(&["x.test"]), 1).is_none());
        assert!(counts.exceeded(&limits, 0, &names(&["x.test"]), 3600).is_none());
    }
}
