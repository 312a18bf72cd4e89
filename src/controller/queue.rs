//! Objects that wait for a pass, each at most once: bounded by the number of objects, also where nobody takes them out,
//! as on a replica that does not lead.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::index::Key;

/// The waiting objects of one cache.
#[derive(Clone, Debug, Default)]
pub struct Queue(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Key>,
    present: HashSet<Key>,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a pass over an object, unless one is asked for already.
    pub fn push(&self, key: Key) {
        let mut waiting = self.waiting();
        if waiting.present.insert(key.clone()) {
            waiting.order.push_back(key);
            self.0.arrived.notify_one();
        }
    }

    /// The object that has waited longest.
    pub async fn pop(&self) -> Key {
        loop {
            if let Some(key) = self.take() {
                return key;
            }
            self.0.arrived.notified().await;
        }
    }

    fn take(&self) -> Option<Key> {
        let mut waiting = self.waiting();
        let key = waiting.order.pop_front()?;
        waiting.present.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn an_object_waits_once_and_in_order() {
        let queue = Queue::default();
        let key = |name: &str| ("ns".to_owned(), name.to_owned());
        for name in ["a", "b", "a", "b", "a"] {
            queue.push(key(name));
        }
        assert_eq!([queue.pop().await, queue.pop().await], [key("a"), key("b")]);
        assert!(queue.pop().now_or_never().is_none());
        queue.push(key("a"));
        assert_eq!(queue.pop().await, key("a"));
    }
}
