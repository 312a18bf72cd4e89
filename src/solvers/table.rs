//! The challenges that this process answers, kept in memory by every replica out of the objects' statuses.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

/// The most entries of one object.
pub const MAX_PER_OBJECT: usize = 256;

/// The most entries of the whole table.
pub const MAX_ENTRIES: usize = 50_000;

/// How long a question waits for a table that is being filled, in which its challenge is still missing.
const FILLING: Duration = Duration::from_secs(5);

/// One challenge to answer.
pub trait Challenge: Clone + PartialEq {
    /// What a CA names when it asks.
    type Question: Clone + Eq + Hash;
    /// What it is answered.
    type Answer: Clone;

    /// Whether it can be a challenge at all. Statuses can be written by others.
    fn is_sound(&self) -> bool;
    /// By what it is found.
    fn question(&self) -> Self::Question;
    /// Made once for as long as the entry stands.
    fn answer(&self) -> Self::Answer;
}

/// The challenges that are answered now, each owned by the object it was made for. Clones are one table.
pub struct Table<C: Challenge> {
    inner: Arc<RwLock<Inner<C>>>,
    filling: Arc<watch::Sender<bool>>,
}

struct Inner<C: Challenge> {
    owned: HashMap<String, Vec<C>>,
    // Two objects may hold the same challenge (a copied status, or two orders for one name): the answer is that of the
    // first by name, so that all replicas answer alike.
    answers: HashMap<C::Question, BTreeMap<String, C::Answer>>,
    entries: usize,
}

impl<C: Challenge> Clone for Table<C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), filling: self.filling.clone() }
    }
}

impl<C: Challenge> fmt::Debug for Table<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} challenges)", self.len())
    }
}

impl<C: Challenge> Default for Table<C> {
    fn default() -> Self {
        Self::new(false)
    }
}

impl<C: Challenge> Table<C> {
    fn new(filling: bool) -> Self {
        let inner = Inner { owned: HashMap::new(), answers: HashMap::new(), entries: 0 };
        Self { inner: Arc::new(RwLock::new(inner)), filling: Arc::new(watch::Sender::new(filling)) }
    }

    /// A table that is still being filled, by a process that has just begun: a challenge that is missing in it may yet
    /// come, and a CA that asks for it waits a little, because a wrong answer would end its order.
    pub fn filling() -> Self {
        Self::new(true)
    }

    /// From now on a challenge that is missing does not exist.
    pub fn filled(&self) {
        self.filling.send_replace(false);
    }

    /// The answer, once it is certain.
    pub(super) async fn settled(&self, question: &C::Question) -> Option<C::Answer> {
        if let Some(answer) = self.look_up(question) {
            return Some(answer);
        }
        let mut filling = self.filling.subscribe();
        if !*filling.borrow() {
            return None;
        }
        let _ = tokio::time::timeout(FILLING, filling.wait_for(|filling| !filling)).await;
        self.look_up(question)
    }

    /// The answer as far as it is known now.
    pub(super) fn look_up(&self, question: &C::Question) -> Option<C::Answer> {
        let table = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        table.answers.get(question)?.values().next().cloned()
    }

    /// Makes `entries` the challenges of the object `object_key`, in place of those it had. Returns how many of them
    /// are answered: what is not a challenge, and what is beyond the bounds, is left out.
    pub fn replace_for(&self, object_key: String, entries: Vec<C>) -> usize {
        let mut table = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let own = table.owned.get(&object_key).map_or(0, Vec::len);
        let room = MAX_ENTRIES.saturating_sub(table.entries - own).min(MAX_PER_OBJECT);
        let entries: Vec<C> = entries.into_iter().filter(C::is_sound).take(room).collect();
        let count = entries.len();
        if table.owned.get(&object_key).is_some_and(|owned| *owned == entries) {
            return count;
        }
        table.remove(&object_key);
        if count > 0 {
            table.insert(object_key, entries);
        }
        count
    }

    /// Forgets the challenges of an object.
    pub fn remove(&self, object_key: &str) {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).remove(object_key);
    }

    /// How many challenges are answered now.
    pub fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).entries
    }

    /// Whether no challenge is answered now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<C: Challenge> Inner<C> {
    fn remove(&mut self, object_key: &str) {
        for entry in self.owned.remove(object_key).into_iter().flatten() {
            self.entries -= 1;
            let question = entry.question();
            if let Some(answers) = self.answers.get_mut(&question) {
                answers.remove(object_key);
                if answers.is_empty() {
                    self.answers.remove(&question);
                }
            }
        }
    }

    fn insert(&mut self, object_key: String, entries: Vec<C>) {
        self.entries += entries.len();
        for entry in &entries {
            self.answers.entry(entry.question()).or_default().insert(object_key.clone(), entry.answer());
        }
        self.owned.insert(object_key, entries);
    }
}
