//! The ledgers in memory: checked and changed under one lock, and written by one task at a time for each issuer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::Place;
use super::store::{self, Trouble, Written};
use crate::controller::index::Key;
use crate::controller::pass::PassError;
use crate::decide::guard::{self, Blocked, Ledger, Limits, Request};

/// Tries of a write that others keep overtaking.
const TRIES: usize = 5;
/// A large ledger is written less often: at most this many bytes in a second, on the whole. etcd keeps each version for
/// some minutes.
const BYTES_PER_SECOND: f64 = 1_048_576.0;

/// The ledgers of every issuer.
#[derive(Default)]
pub struct Ledgers {
    books: Mutex<HashMap<Key, Book>>,
    /// One reads at a time: many passes begin at once.
    loading: tokio::sync::Mutex<()>,
}

/// The ledgers of one issuer, by account.
#[derive(Default)]
struct Book {
    accounts: BTreeMap<String, Ledger>,
    /// The Secret's resourceVersion; none: there is none.
    version: Option<String>,
    /// The number of the last change.
    changed: u64,
    /// Changes up to this number are in the Secret.
    stored: u64,
    /// Changes up to this number, and not stored, were given up: a write failed, for this reason.
    failed: (u64, String),
    /// Held while writing: when to write again at the earliest.
    writer: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

/// What is counted.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Order(Request),
    Failures(Vec<String>),
}

/// A change that is not stored yet. Dropped before it is, it is taken back: what is counted must have a chance to happen.
pub(super) struct Pending<'a> {
    ledgers: &'a Ledgers,
    issuer: Key,
    account: String,
    change: Change,
    at: Timestamp,
    number: u64,
    kept: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.ledgers.undo(&self.issuer, &self.account, &self.change, self.at);
        }
    }
}

impl Ledgers {
    fn books(&self) -> MutexGuard<'_, HashMap<Key, Book>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, issuer: &Key, then: impl FnOnce(&mut Book) -> T) -> T {
        then(self.books().entry(issuer.clone()).or_default())
    }

    /// Reads an issuer's ledgers, unless they are known.
    pub(super) async fn load(&self, place: Place<'_>, issuer: &Key) -> Result<(), Trouble> {
        if self.books().contains_key(issuer) {
            return Ok(());
        }
        let _one = self.loading.lock().await;
        if self.books().contains_key(issuer) {
            return Ok(());
        }
        let (version, accounts) = store::read(place, issuer).await?;
        self.books().insert(issuer.clone(), Book { accounts, version, ..Book::default() });
        Ok(())
    }

    /// Counts an order, where every ledger of the account that is known here leaves room for it.
    pub(super) fn record(
        &self,
        issuer: &Key,
        account: &str,
        limits: &Limits,
        request: &Request,
        now: Timestamp,
    ) -> Result<Pending<'_>, Blocked> {
        let mut books = self.books();
        let past: Vec<&Ledger> = books.values().filter_map(|b| b.accounts.get(account)).collect();
        guard::check(&past, limits, request, now)?;
        let book = books.entry(issuer.clone()).or_default();
        Ok(self.change(book, issuer, account, Change::Order(request.clone()), now))
    }

    /// Counts what has happened.
    pub(super) fn apply(&self, issuer: &Key, account: &str, change: Change, now: Timestamp) -> Pending<'_> {
        self.change(self.books().entry(issuer.clone()).or_default(), issuer, account, change, now)
    }

    fn change(&self, book: &mut Book, issuer: &Key, account: &str, change: Change, at: Timestamp) -> Pending<'_> {
        let ledger = book.accounts.entry(account.to_owned()).or_default();
        match &change {
            Change::Order(request) => ledger.record_order(request, at),
            Change::Failures(names) => ledger.record_failures(names, at),
        }
        book.changed += 1;
        let (issuer, account) = (issuer.clone(), account.to_owned());
        Pending { ledgers: self, issuer, account, change, at, number: book.changed, kept: false }
    }

    /// Takes a change back. The next write tells.
    pub(super) fn undo(&self, issuer: &Key, account: &str, change: &Change, at: Timestamp) {
        let mut books = self.books();
        let Some(ledger) = books.get_mut(issuer).and_then(|book| book.accounts.get_mut(account)) else { return };
        match change {
            Change::Order(request) if request.exempt => {}
            Change::Order(request) => {
                ledger.forget_order(&request.names, at);
            }
            Change::Failures(names) => ledger.forget_failures(names, at),
        }
    }

    /// Waits until a change is in the Secret. Whoever comes first writes for all that wait.
    pub(super) async fn store(
        &self,
        place: Place<'_>,
        issuer: &Key,
        mut change: Pending<'_>,
        now: Timestamp,
    ) -> Result<(), Trouble> {
        if matches!(&change.change, Change::Order(request) if request.exempt) {
            change.kept = true;
            return Ok(());
        }
        let writer = self.with(issuer, |book| book.writer.clone());
        let mut not_before = writer.lock().await;
        for _ in 0..TRIES {
            if let Some(settled) = self.with(issuer, |book| book.settled(change.number)) {
                change.kept = settled.is_ok();
                return settled.map_err(|words| Trouble::failed(issuer, words));
            }
            if let Some(at) = *not_before {
                tokio::time::sleep_until(at).await;
            }
            place.leader.ensure().map_err(PassError::from)?;
            let (mut accounts, version, number) = self.with(issuer, |book| {
                // What was pruned need not be kept here either.
                book.accounts.values_mut().for_each(|l| l.prune(now));
                (book.accounts.clone(), book.version.clone(), book.changed)
            });
            match store::write(place, issuer, &mut accounts, version, now).await {
                Ok(Written::Done { version, bytes }) => {
                    *not_before = Some(Instant::now() + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND));
                    self.with(issuer, |book| {
                        book.version = version;
                        book.stored = number;
                    });
                }
                Ok(Written::Overtaken) => self.reload(place, issuer).await?,
                Err(trouble) => {
                    self.with(issuer, |book| book.failed = (number, trouble.to_string()));
                    return Err(trouble);
                }
            }
        }
        match self.with(issuer, |book| book.settled(change.number)) {
            Some(Ok(())) => {
                change.kept = true;
                Ok(())
            }
            _ => Err(Trouble::failed(issuer, "somebody else keeps changing it".to_owned())),
        }
    }

    /// Takes in what somebody else wrote.
    async fn reload(&self, place: Place<'_>, issuer: &Key) -> Result<(), Trouble> {
        let (version, accounts) = store::read(place, issuer).await?;
        self.with(issuer, |book| {
            book.version = version;
            for (account, ledger) in &accounts {
                book.accounts.entry(account.clone()).or_default().merge(ledger);
            }
        });
        Ok(())
    }
}

impl Book {
    /// What became of a change, once that is known.
    fn settled(&self, number: u64) -> Option<Result<(), String>> {
        if self.stored >= number {
            Some(Ok(()))
        } else if self.failed.0 >= number {
            Some(Err(self.failed.1.clone()))
        } else {
            None
        }
    }
}
