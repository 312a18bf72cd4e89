//! What one ACME account has asked for, and its text form.
//!
//! ```text
//! mailcert-order-ledger/1
//! o 1763776000 0123456789abcdef example.com,example.net
//! f 1763776123 mail.example.com
//! ```
//! `o`: an order, with its time (Unix seconds), the first 64 bits of the SHA-256 over its sorted names, and their
//! registered domains. `f`: an authorization that failed, with its time and name. Each line ends with a line feed.

use std::collections::HashMap;
use std::fmt::Write;

use k8s_openapi::jiff::Timestamp;

use super::{ACCOUNT_WINDOW, HOUR, Request, SKEW, WEEK, base, name_set, registered_domains};

/// The first line of the text form.
const HEADER: &str = "mailcert-order-ledger/1";
/// What the text form never exceeds, in bytes: the data of a Secret has 1 MiB at most.
pub const MAX_BYTES: usize = 900 * 1024;
/// What is read at most, in bytes.
const MAX_READ: usize = 1024 * 1024;
/// The longest DNS name, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;

/// An order that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Order {
    /// In Unix seconds.
    pub at: i64,
    /// Its exact names.
    pub set: u64,
    /// Their registered domains, sorted.
    pub domains: Box<[Box<str>]>,
}

/// An authorization that failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Failure {
    /// In Unix seconds.
    pub at: i64,
    /// The name, without `*`.
    pub name: Box<str>,
}

/// The past of one ACME account, as far back as a limit looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Sorted, the oldest first.
    pub(super) orders: Vec<Order>,
    /// Sorted, the oldest first.
    pub(super) failures: Vec<Failure>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The entries that could be read.
    pub ledger: Ledger,
    /// Lines that could not.
    pub damaged: usize,
}

/// Bytes that are no ledger of a version known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The first line is another one.
    #[error("its first line is {0:?}, and only {HEADER} is known here: a newer mailcert may have written it")]
    Version(String),
    /// More than a Secret can hold.
    #[error("it has {0} bytes, and at most {MAX_READ} are read")]
    TooLarge(usize),
}

impl Ledger {
    /// Counts an order that is about to be asked for, unless it is exempt.
    pub fn record_order(&mut self, request: &Request, now: Timestamp) {
        if !request.exempt {
            insert(&mut self.orders, order(&request.names, now));
        }
    }

    /// Takes back an order recorded at that time that was not asked for after all. Whether it was there.
    pub fn forget_order(&mut self, names: &[String], at: Timestamp) -> bool {
        let found = self.orders.binary_search(&order(names, at));
        found.map(|index| self.orders.remove(index)).is_ok()
    }

    /// Counts authorizations that failed, one for each name.
    pub fn record_failures(&mut self, names: &[String], now: Timestamp) {
        for name in names {
            insert(&mut self.failures, Failure { at: now.as_second(), name: base(name).into() });
        }
    }

    /// Takes back what was recorded at that time.
    pub fn forget_failures(&mut self, names: &[String], at: Timestamp) {
        for name in names {
            let failure = Failure { at: at.as_second(), name: base(name).into() };
            if let Ok(index) = self.failures.binary_search(&failure) {
                self.failures.remove(index);
            }
        }
    }

    /// Adds what another copy of this ledger has and this one has not.
    pub fn merge(&mut self, other: &Self) {
        self.orders = union(std::mem::take(&mut self.orders), &other.orders);
        self.failures = union(std::mem::take(&mut self.failures), &other.failures);
    }

    /// How many orders are remembered.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.failures.is_empty()
    }

    /// The time of the last entry.
    pub fn latest(&self) -> Option<Timestamp> {
        let last = self.orders.last().map(|o| o.at).max(self.failures.last().map(|f| f.at))?;
        Timestamp::from_second(last).ok()
    }

    /// Forgets what no window needs, also when the clock is set back by a day, and then what exceeds [`MAX_BYTES`].
    pub fn prune(&mut self, now: Timestamp) {
        let oldest = |window: i64| now.as_second().saturating_sub(window).saturating_sub(SKEW);
        self.orders.retain(|o| o.at > oldest(WEEK));
        self.failures.retain(|f| f.at > oldest(HOUR));
        let size = HEADER.len() + 1 + self.orders.iter().map(Order::size).sum::<usize>() + self.failures_size();
        if size > MAX_BYTES {
            // With some room, so that this is not done for each order.
            self.drop_least_needed(size - MAX_BYTES + MAX_BYTES / 10, now.as_second());
        }
    }

    fn failures_size(&self) -> usize {
        self.failures.iter().map(Failure::size).sum()
    }

    /// Forgets this many bytes. First what no window counts (written by a clock that was wrong) and what has served the
    /// account's window and is the only order for its names; then the oldest.
    fn drop_least_needed(&mut self, mut bytes: usize, now: i64) {
        let mut room = |size: usize| {
            let drops = bytes > 0;
            bytes = if drops { bytes.saturating_sub(size) } else { 0 };
            !drops
        };
        let mut failures_too_many = self.failures_size().saturating_sub(MAX_BYTES / 4);
        self.failures.retain(|f| {
            let drops = failures_too_many > 0;
            failures_too_many = failures_too_many.saturating_sub(f.size());
            !drops || room(f.size())
        });
        let mut same: HashMap<u64, u32> = HashMap::new();
        self.orders.iter().for_each(|o| *same.entry(o.set).or_default() += 1);
        let served = |o: &Order| o.at <= now.saturating_sub(ACCOUNT_WINDOW) && same.get(&o.set) == Some(&1);
        self.orders.retain(|o| o.at <= now.saturating_add(SKEW) || room(o.size()));
        self.orders.retain(|o| !served(o) || room(o.size()));
        self.orders.retain(|o| room(o.size()));
    }

    /// The text form, of at most [`MAX_BYTES`], after [`Self::prune`].
    pub fn to_bytes(&mut self, now: Timestamp) -> Vec<u8> {
        self.prune(now);
        let mut text = format!("{HEADER}\n");
        for order in &self.orders {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "o {} {:016x} {}", order.at, order.set, order.domains.join(","));
        }
        for failure in &self.failures {
            let _ = writeln!(text, "f {} {}", failure.at, failure.name);
        }
        text.into_bytes()
    }

    /// Reads the text form. Lines that cannot be read are left out and counted.
    ///
    /// # Errors
    /// When it is of another version, or too large.
    pub fn from_bytes(bytes: &[u8]) -> Result<Loaded, LedgerError> {
        if bytes.len() > MAX_READ {
            return Err(LedgerError::TooLarge(bytes.len()));
        }
        let mut lines = bytes.split_inclusive(|b| *b == b'\n');
        let header = lines.next().unwrap_or_default();
        if header.trim_ascii_end() != HEADER.as_bytes() {
            let shown = String::from_utf8_lossy(header.get(..60).unwrap_or(header)).trim_end().to_owned();
            return Err(LedgerError::Version(shown));
        }
        let mut loaded = Loaded { ledger: Self::default(), damaged: 0 };
        for line in lines {
            // Without its line feed, a line was cut.
            let text = line.strip_suffix(b"\n").and_then(|l| std::str::from_utf8(l).ok());
            if text.and_then(|text| loaded.ledger.read_line(text)).is_none() {
                loaded.damaged += 1;
            }
        }
        loaded.ledger.orders.sort();
        loaded.ledger.failures.sort();
        Ok(loaded)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields.as_slice() {
            ["o", at, set, domains] if set.len() == 16 => {
                let domains: Option<Box<[Box<str>]>> = domains.split(',').map(name).collect();
                let set = u64::from_str_radix(set, 16).ok()?;
                self.orders.push(Order { at: seconds(at)?, set, domains: domains? });
            }
            ["f", at, failed] => self.failures.push(Failure { at: seconds(at)?, name: name(failed)? }),
            _ => return None,
        }
        Some(())
    }
}

impl Order {
    /// Of its line, in bytes; a little more than it is.
    fn size(&self) -> usize {
        32 + self.domains.iter().map(|d| d.len() + 1).sum::<usize>()
    }
}

impl Failure {
    fn size(&self) -> usize {
        16 + self.name.len()
    }
}

fn order(names: &[String], at: Timestamp) -> Order {
    let domains = registered_domains(names).into_iter().map(Into::into).collect();
    Order { at: at.as_second(), set: name_set(names), domains }
}

fn seconds(text: &str) -> Option<i64> {
    text.parse().ok().filter(|s| Timestamp::from_second(*s).is_ok())
}

fn name(text: &str) -> Option<Box<str>> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    (!text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(plain)).then(|| text.into())
}

fn insert<T: Ord>(sorted: &mut Vec<T>, entry: T) {
    let at = sorted.partition_point(|e| *e <= entry);
    sorted.insert(at, entry);
}

/// Every entry as often as in the one that has it more often: two orders for the same names may fall into one second,
/// and what both copies know must not count twice.
fn union<T: Ord + Clone>(ours: Vec<T>, theirs: &[T]) -> Vec<T> {
    let mut all = Vec::with_capacity(ours.len().max(theirs.len()));
    let mut theirs = theirs.iter().peekable();
    for entry in ours {
        while let Some(other) = theirs.next_if(|t| **t < entry) {
            all.push(other.clone());
        }
        theirs.next_if(|t| **t == entry);
        all.push(entry);
    }
    all.extend(theirs.cloned());
    all
}
