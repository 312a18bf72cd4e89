//! Looks that spare the servers: mail servers count connections and ban clients that come too often at once.

use super::connect;
use super::error::LookError;
use super::line::Deadline;
use super::sighting::Sighting;
use super::target::{Limits, Target};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};

/// How many looks run at once when nothing else is said.
pub const DEFAULT_CONCURRENCY: usize = 32;

/// Runs looks, a bounded number at once and never two at one address and port. Share one; it is cheap to keep.
#[derive(Debug)]
pub struct Prober {
    limits: Limits,
    permits: Semaphore,
    addresses: Arc<Addresses>,
}

impl Prober {
    /// A prober that runs [`DEFAULT_CONCURRENCY`] looks at once.
    pub fn new(limits: Limits) -> Self {
        Self::with_concurrency(limits, DEFAULT_CONCURRENCY)
    }

    /// A prober that runs `concurrency` looks at once, at least one.
    pub fn with_concurrency(limits: Limits, concurrency: usize) -> Self {
        let permits = Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS));
        Self { limits, permits, addresses: Arc::default() }
    }

    /// Looks at an endpoint once its turn has come. The limit of time holds for the resolution and again for the look;
    /// it does not run while the look waits for its turn.
    ///
    /// # Errors
    /// As [`look`](super::look).
    pub async fn look(&self, target: &Target) -> Result<Sighting, LookError> {
        target.validate()?;
        let addresses = {
            let _permit = self.permit().await;
            connect::resolve(target, &Deadline::after(self.limits.total)).await?
        };
        // The turn at the addresses comes first, so that looks which queue for one server keep no permit from others.
        let _turns = self.addresses.take(&addresses).await;
        let _permit = self.permit().await;
        super::look_at(target, &addresses, &self.limits, &Deadline::after(self.limits.total)).await
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.expect("the semaphore is never closed")
    }
}

type Turn = Arc<tokio::sync::Mutex<()>>;

/// One lock per address that is looked at or waited for.
#[derive(Debug, Default)]
struct Addresses(Mutex<HashMap<SocketAddr, Turn>>);

impl Addresses {
    fn map(&self) -> MutexGuard<'_, HashMap<SocketAddr, Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for every address. They are taken in order, so that two looks cannot wait for each other.
    async fn take(self: &Arc<Self>, addresses: &[SocketAddr]) -> Vec<Held> {
        let mut wanted = addresses.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let mut held = Vec::new();
        for address in wanted {
            let turn = self.map().entry(address).or_default().clone();
            // In place before the wait, so that a look which is cancelled meanwhile leaves no entry behind.
            let entry = Entry { address, turn: turn.clone(), all: self.clone() };
            held.push(Held { _turn: turn.lock_owned().await, _entry: entry });
        }
        held
    }
}

/// A turn at an address. The lock is declared before the entry: fields are dropped in order.
struct Held {
    _turn: OwnedMutexGuard<()>,
    _entry: Entry,
}

/// Removes an address from the map when nobody else uses it.
struct Entry {
    address: SocketAddr,
    turn: Turn,
    all: Arc<Addresses>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut map = self.all.map();
        // Clones are made only under the map's lock: two are the map's and ours.
        if Arc::strong_count(&self.turn) <= 2 {
            map.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_left_behind() {
        let all: Arc<Addresses> = Arc::default();
        let (one, two) = ("192.0.2.1:25".parse().unwrap(), "192.0.2.2:143".parse().unwrap());
        let held = all.take(&[two, one, one]).await;
        assert_eq!(held.len(), 2);
        assert!(all.take(&[one]).now_or_never().is_none(), "two looks at one address");
        assert_eq!(all.map().len(), 2, "the cancelled wait must not take the entry of the look that runs");
        drop(held);
        assert!(all.map().is_empty());
        assert_eq!(all.take(&[one]).now_or_never().map(|held| held.len()), Some(1));
    }
}
