//! How many passes may ask ACME servers at once. A server that hangs holds each pass that asks it for as long as a
//! request may take; without a bound its certificates would hold every worker, and nothing else would go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::context::Memory;
use super::index::Key;
use super::pass::PassError;

/// How long a pass that has begun to talk with a server waits to go on.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every turn of some issuers, until it is dropped.
pub struct Alone {
    _own: Vec<OwnedSemaphorePermit>,
}

/// The turns of all ACME issuers.
pub struct Turns {
    all: Arc<Semaphore>,
    each: Memory<Arc<Semaphore>>,
    /// Of one issuer.
    most: usize,
}

/// A turn, until it is dropped.
pub struct Turn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Turns {
    /// For so many workers: at most half of them talk with ACME servers at once, and a quarter with one issuer's.
    pub fn new(workers: usize) -> Self {
        let all = Arc::new(Semaphore::new((workers / 2).max(1)));
        Self { all, each: Memory::default(), most: (workers / 4).max(1) }
    }

    fn own(&self, issuer: &Key) -> Arc<Semaphore> {
        self.each.update(issuer, |known| known.get_or_insert_with(|| Arc::new(Semaphore::new(self.most))).clone())
    }

    /// A turn now.
    ///
    /// # Errors
    /// When there is none: the pass is made again soon.
    pub fn begin(&self, issuer: &Key) -> Result<Turn, PassError> {
        let own = self.own(issuer).try_acquire_owned().map_err(|_| PassError::Busy)?;
        let all = self.all.clone().try_acquire_owned().map_err(|_| PassError::Busy)?;
        Ok(Turn { _all: all, _own: own })
    }

    /// A turn soon, for a pass that has had one already.
    ///
    /// # Errors
    /// When none comes in a few seconds.
    pub async fn go_on(&self, issuer: &Key) -> Result<Turn, PassError> {
        let both = async {
            let own = self.own(issuer).acquire_owned().await.map_err(|_| PassError::Busy)?;
            let all = self.all.clone().acquire_owned().await.map_err(|_| PassError::Busy)?;
            Ok(Turn { _all: all, _own: own })
        };
        tokio::time::timeout(PATIENCE, both).await.unwrap_or(Err(PassError::Busy))
    }

    /// Every turn of these issuers, for what must not happen next to anything else that is asked with their account.
    ///
    /// # Errors
    /// When what is being asked does not end in a few seconds.
    pub async fn alone(&self, issuers: &[Key]) -> Result<Alone, PassError> {
        let most = u32::try_from(self.most).unwrap_or(u32::MAX);
        // Always in the same order, so that two who want the same never wait for each other.
        let mut sorted: Vec<&Key> = issuers.iter().collect();
        sorted.sort();
        sorted.dedup();
        let every = async {
            let mut own = Vec::new();
            for issuer in sorted {
                own.push(self.own(issuer).acquire_many_owned(most).await.map_err(|_| PassError::Busy)?);
            }
            Ok(Alone { _own: own })
        };
        tokio::time::timeout(PATIENCE, every).await.unwrap_or(Err(PassError::Busy))
    }

    /// Forgets a deleted issuer.
    pub fn forget(&self, issuer: &Key) {
        self.each.forget(issuer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("mail".to_owned(), name.to_owned())
    }

    #[tokio::test]
    async fn one_issuer_never_has_all_turns() {
        let turns = Turns::new(16);
        let held: Vec<_> = (0..4).map(|_| turns.begin(&key("hung")).unwrap()).collect();
        assert!(matches!(turns.begin(&key("hung")), Err(PassError::Busy)));
        assert!(turns.begin(&key("other")).is_ok());
        assert!(turns.go_on(&key("other")).await.is_ok());
        drop(held);
        assert!(turns.begin(&key("hung")).is_ok());
    }

    #[tokio::test]
    async fn who_is_alone_is_not_disturbed() {
        let turns = Turns::new(16);
        let (ours, other) = ([key("b"), key("a"), key("b")], key("other"));
        let alone = turns.alone(&ours).await.unwrap();
        assert!(ours.iter().all(|key| matches!(turns.begin(key), Err(PassError::Busy))));
        assert!(turns.begin(&other).is_ok());
        drop(alone);
        assert!(ours.iter().all(|key| turns.begin(key).is_ok()));
    }

    #[test]
    fn a_single_worker_has_its_turn() {
        assert!(Turns::new(1).begin(&key("ca")).is_ok());
    }
}
