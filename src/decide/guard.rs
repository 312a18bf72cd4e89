//! The guard: no order is asked for that would bring an ACME account near its CA's rate limits.
//!
//! Counted are the orders that this operator asks for, in sliding windows, from a [`Ledger`] that survives restarts. The
//! limits are a little below those of Let's Encrypt (letsencrypt.org/docs/rate-limits), so that orders made by hand have
//! room as well. A renewal that the CA itself asked for (ARI, RFC 9773) is exempt there, and so it is here.

mod ledger;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::jiff::Timestamp;

pub use self::ledger::{Ledger, LedgerError, Loaded, MAX_BYTES};
use crate::api::issuer::OrderLimits;
use crate::pki::Fingerprint;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// The window of [`LimitKind::NameSet`] and [`LimitKind::Domain`], in seconds.
const WEEK: i64 = 7 * DAY;
/// The window of [`LimitKind::Account`], in seconds.
const ACCOUNT_WINDOW: i64 = 3 * HOUR;
/// Entries further ahead than this, in seconds, were written by a clock that was wrong, and are not counted.
const SKEW: i64 = DAY;

/// How much may be asked of a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Orders for exactly the same names, in 7 days.
    pub per_name_set: u32,
    /// Orders with names of the same registered domain, in 7 days.
    pub per_domain: u32,
    /// Orders of the account, in 3 hours.
    pub per_account: u32,
    /// Failed authorizations of the same name, in an hour.
    pub failed_authorizations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_name_set: 4, per_domain: 40, per_account: 250, failed_authorizations: 4 }
    }
}

impl From<OrderLimits> for Limits {
    fn from(spec: OrderLimits) -> Self {
        Self {
            per_name_set: spec.per_name_set,
            per_domain: spec.per_domain,
            per_account: spec.per_account,
            failed_authorizations: spec.failed_authorizations,
        }
    }
}

/// An order that is about to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its names, in any order.
    pub names: Vec<String>,
    /// The CA asked for this renewal itself (ARI): only failed authorizations can hold it back, and it is not counted.
    pub exempt: bool,
}

/// Which limit holds an order back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// [`Limits::per_name_set`].
    NameSet,
    /// [`Limits::per_domain`].
    Domain,
    /// [`Limits::per_account`].
    Account,
    /// [`Limits::failed_authorizations`].
    FailedAuthorizations,
    /// The counts themselves cannot be read or kept, and nothing is asked for uncounted.
    Ledger,
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameSet => "perNameSet",
            Self::Domain => "perDomain",
            Self::Account => "perAccount",
            Self::FailedAuthorizations => "failedAuthorizations",
            Self::Ledger => "ledger",
        })
    }
}

/// An order must not be asked for yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Of several limits, the one that lasts longest.
    pub limit: LimitKind,
    /// When it can be asked for, in whole seconds.
    pub until: Timestamp,
    /// For the object's status.
    pub words: String,
}

/// Whether an order may be asked for now. `past`: every ledger of the account.
///
/// # Errors
/// When a limit is reached, with the time at which the last of those reached leaves room again.
pub fn check(past: &[&Ledger], limits: &Limits, request: &Request, now: Timestamp) -> Result<(), Blocked> {
    let mut blocked: Vec<Blocked> = failed_names(past, limits, request, now).collect();
    if !request.exempt {
        blocked.extend(same_names(past, limits, request, now));
        blocked.extend(same_domains(past, limits, request, now));
        blocked.extend(same_account(past, limits, now));
    }
    match blocked.into_iter().reduce(|a, b| if b.until > a.until { b } else { a }) {
        Some(blocked) => Err(blocked),
        None => Ok(()),
    }
}

fn same_names(past: &[&Ledger], limits: &Limits, request: &Request, now: Timestamp) -> Option<Blocked> {
    let set = name_set(&request.names);
    let full = full(orders(past).filter(|o| o.set == set).map(|o| o.at), limits.per_name_set, WEEK, now)?;
    Some(full.blocked(LimitKind::NameSet, "for exactly these names", "7 days"))
}

fn same_domains(past: &[&Ledger], limits: &Limits, request: &Request, now: Timestamp) -> impl Iterator<Item = Blocked> {
    registered_domains(&request.names).into_iter().filter_map(move |domain| {
        let times = orders(past).filter(|o| o.domains.iter().any(|d| **d == *domain)).map(|o| o.at);
        let full = full(times, limits.per_domain, WEEK, now)?;
        Some(full.blocked(LimitKind::Domain, &format!("with names of {domain}"), "7 days"))
    })
}

fn same_account(past: &[&Ledger], limits: &Limits, now: Timestamp) -> Option<Blocked> {
    let full = full(orders(past).map(|o| o.at), limits.per_account, ACCOUNT_WINDOW, now)?;
    Some(full.blocked(LimitKind::Account, "of this ACME account", "3 hours"))
}

fn failed_names(past: &[&Ledger], limits: &Limits, request: &Request, now: Timestamp) -> impl Iterator<Item = Blocked> {
    let names: BTreeSet<String> = request.names.iter().map(|n| base(n)).collect();
    names.into_iter().filter_map(move |name| {
        let failures = past.iter().flat_map(|l| &l.failures).filter(|f| *f.name == *name);
        let full = full(failures.map(|f| f.at), limits.failed_authorizations, HOUR, now)?;
        let words = format!(
            "the CA could not validate {name} in the last hour {}, and the limit is {} (failedAuthorizations): the next \
             order is possible at {}",
            times(full.count),
            full.limit,
            full.until
        );
        Some(Blocked { limit: LimitKind::FailedAuthorizations, until: full.until, words })
    })
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

fn orders<'a>(past: &'a [&'a Ledger]) -> impl Iterator<Item = &'a ledger::Order> {
    past.iter().flat_map(|l| &l.orders)
}

/// A window without room.
struct Full {
    count: usize,
    limit: u32,
    until: Timestamp,
}

impl Full {
    fn blocked(&self, kind: LimitKind, which: &str, window: &str) -> Blocked {
        let orders = if self.count == 1 { "order" } else { "orders" };
        let words = format!(
            "{} {orders} {which} in the last {window}, and the limit is {} ({kind}): the next is possible at {}",
            self.count, self.limit, self.until
        );
        Blocked { limit: kind, until: self.until, words }
    }
}

/// Whether the window that ends now has no room for one more, and when it will.
fn full(times: impl Iterator<Item = i64>, limit: u32, window: i64, now: Timestamp) -> Option<Full> {
    let now = now.as_second();
    let counted = |at: &i64| *at > now.saturating_sub(window) && *at <= now.saturating_add(SKEW);
    let mut times: Vec<i64> = times.filter(counted).collect();
    let excess = times.len().checked_sub(usize::try_from(limit).unwrap_or(usize::MAX))?;
    times.sort_unstable();
    // A limit of 0 allows nothing: it is looked at again after a window.
    let frees = times.get(excess).copied().unwrap_or(now);
    let until = Timestamp::from_second(frees.saturating_add(window)).unwrap_or(Timestamp::MAX);
    Some(Full { count: times.len(), limit, until })
}

/// The exact set of names, whatever their order and case: the first 64 bits of a SHA-256.
fn name_set(names: &[String]) -> u64 {
    let names: BTreeSet<String> = names.iter().map(|n| plain(n)).collect();
    let digest = Fingerprint::of(names.into_iter().collect::<Vec<_>>().join("\n").as_bytes()).0;
    digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The registered domains of these names, by the public suffix list.
fn registered_domains(names: &[String]) -> BTreeSet<String> {
    names.iter().map(|n| registered_domain(n)).collect()
}

/// The registered domain of a name. A public suffix, and a name below none, counts as itself.
pub fn registered_domain(name: &str) -> String {
    let name = base(name);
    let known = psl::suffix(name.as_bytes()).is_some_and(|s| s.is_known());
    let registered = psl::domain_str(&name).filter(|_| known).map(str::to_owned);
    registered.unwrap_or(name)
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The name that is validated: a wildcard's without its `*`.
fn base(name: &str) -> String {
    let name = plain(name);
    name.strip_prefix("*.").map(str::to_owned).unwrap_or(name)
}
