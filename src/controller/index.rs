//! Small maps kept up to date by the watches, so that no pass has to search.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Namespace and name.
pub type Key = (String, String);

/// Which objects point at a thing: set anew for an object whenever it changes.
#[derive(Debug)]
pub struct Index<T> {
    inner: RwLock<Maps<T>>,
}

#[derive(Debug)]
struct Maps<T> {
    // Lists, since most have one entry and there are as many as there are objects: a set of one is ten times as large.
    by_target: HashMap<T, Vec<Key>>,
    by_object: HashMap<Key, Vec<T>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { inner: RwLock::new(Maps { by_target: HashMap::new(), by_object: HashMap::new() }) }
    }
}

impl<T: Eq + Hash + Clone> Index<T> {
    /// From now on, `object` points at exactly `targets`.
    pub fn set(&self, object: &Key, targets: impl IntoIterator<Item = T>) {
        let mut unique = Vec::with_capacity(1);
        for target in targets {
            if !unique.contains(&target) {
                unique.push(target);
            }
        }
        let targets = unique;
        let mut maps = write(&self.inner);
        if maps.by_object.get(object) == Some(&targets) {
            return;
        }
        maps.clear(object);
        for target in &targets {
            maps.by_target.entry(target.clone()).or_insert_with(|| Vec::with_capacity(1)).push(object.clone());
        }
        if !targets.is_empty() {
            maps.by_object.insert(object.clone(), targets);
        }
    }

    /// `object` is gone.
    pub fn remove(&self, object: &Key) {
        write(&self.inner).clear(object);
    }

    /// What `object` points at.
    pub fn targets_of(&self, object: &Key) -> Vec<T> {
        read(&self.inner).by_object.get(object).cloned().unwrap_or_default()
    }

    /// Everything that is pointed at.
    pub fn targets(&self) -> Vec<T> {
        read(&self.inner).by_target.keys().cloned().collect()
    }

    /// Who points at `target`.
    pub fn of(&self, target: &T) -> Vec<Key> {
        read(&self.inner).by_target.get(target).cloned().unwrap_or_default()
    }
}

impl<T: Eq + Hash> Maps<T> {
    fn clear(&mut self, object: &Key) {
        for target in self.by_object.remove(object).into_iter().flatten() {
            if let Some(list) = self.by_target.get_mut(&target) {
                list.retain(|o| o != object);
                if list.is_empty() {
                    self.by_target.remove(&target);
                }
            }
        }
    }
}

/// What is kept of a Secret: nothing that is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMeta {
    /// resourceVersion.
    pub version: String,
    /// The MailCertificate that owns it, when it carries mailcert's labels.
    pub owner: Option<String>,
    /// The revision whose key it keeps.
    pub revision: Option<i64>,
    /// The MailDomain for which it holds a copy of the system certificate.
    pub domain: Option<String>,
}

/// The Secrets of the watched namespaces, metadata only.
#[derive(Debug, Default)]
pub struct SecretIndex {
    inner: RwLock<Secrets>,
}

#[derive(Debug, Default)]
struct Secrets {
    all: HashMap<Key, SecretMeta>,
    /// (namespace, owner) to revision to name.
    revisions: HashMap<Key, BTreeMap<i64, String>>,
}

impl SecretIndex {
    /// The Secret exists with this metadata.
    pub fn set(&self, key: Key, meta: SecretMeta) {
        let mut secrets = write(&self.inner);
        secrets.drop_revision(&key);
        if let (Some(owner), Some(revision)) = (&meta.owner, meta.revision) {
            let of_owner = secrets.revisions.entry((key.0.clone(), owner.clone())).or_default();
            of_owner.insert(revision, key.1.clone());
        }
        secrets.all.insert(key, meta);
    }

    /// The Secret is gone.
    pub fn remove(&self, key: &Key) {
        let mut secrets = write(&self.inner);
        secrets.drop_revision(key);
        secrets.all.remove(key);
    }

    /// What is known of a Secret.
    pub fn get(&self, namespace: &str, name: &str) -> Option<SecretMeta> {
        read(&self.inner).all.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The revision Secrets of a MailCertificate.
    pub fn revisions(&self, namespace: &str, owner: &str) -> BTreeMap<i64, String> {
        read(&self.inner).revisions.get(&(namespace.to_owned(), owner.to_owned())).cloned().unwrap_or_default()
    }

    /// The Secrets known in a namespace, or all.
    pub fn keys(&self, namespace: Option<&str>) -> HashSet<Key> {
        let secrets = read(&self.inner);
        secrets.all.keys().filter(|(ns, _)| namespace.is_none_or(|wanted| wanted == ns)).cloned().collect()
    }
}

impl Secrets {
    fn drop_revision(&mut self, key: &Key) {
        let Some(old) = self.all.get(key) else { return };
        let (Some(owner), Some(revision)) = (&old.owner, old.revision) else { return };
        let owner = (key.0.clone(), owner.clone());
        if let Some(of_owner) = self.revisions.get_mut(&owner) {
            of_owner.remove(&revision);
            if of_owner.is_empty() {
                self.revisions.remove(&owner);
            }
        }
    }
}

/// A poisoned lock means a panic elsewhere; every write here leaves the maps consistent.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("ns".to_owned(), name.to_owned())
    }

    #[test]
    fn an_object_points_at_its_latest_targets_only() {
        let index = Index::default();
        index.set(&key("a"), ["x", "y"]);
        index.set(&key("b"), ["y"]);
        index.set(&key("a"), ["y", "z"]);
        assert!(index.of(&"x").is_empty());
        assert_eq!(index.of(&"y"), [key("b"), key("a")]);
        index.remove(&key("a"));
        assert_eq!(index.of(&"y"), [key("b")]);
        assert!(index.of(&"z").is_empty());
    }

    #[test]
    fn revisions_follow_their_secrets() {
        let meta = |owner: Option<&str>, revision| SecretMeta {
            version: "1".to_owned(),
            owner: owner.map(str::to_owned),
            revision,
            domain: None,
        };
        let index = SecretIndex::default();
        index.set(key("mail-tls"), meta(Some("mail"), None));
        index.set(key("mail-tls-r1"), meta(Some("mail"), Some(1)));
        index.set(key("mail-tls-r2"), meta(Some("mail"), Some(2)));
        assert_eq!(index.revisions("ns", "mail").into_keys().collect::<Vec<_>>(), [1, 2]);
        index.set(key("mail-tls-r2"), meta(None, None));
        index.remove(&key("mail-tls-r1"));
        assert!(index.revisions("ns", "mail").is_empty());
        assert!(index.get("ns", "mail-tls").is_some());
    }
}
