//! How many ACME orders of an issuer are under way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::index::Key;

/// The MailCertificates with an open order, and those that wait to have one, for each MailIssuer.
#[derive(Debug, Default)]
pub struct OpenOrders(Mutex<HashMap<Key, Orders>>);

#[derive(Debug, Default)]
struct Orders {
    open: HashSet<Key>,
    waiting: VecDeque<Key>,
}

impl Orders {
    fn end(&mut self, certificate: &Key) -> Option<Key> {
        self.waiting.retain(|waiting| waiting != certificate);
        if self.open.remove(certificate) { self.waiting.pop_front() } else { None }
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }
}

impl OpenOrders {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Orders>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the order of a MailCertificate, unless `most` others are open: then it waits. One that is counted stays so.
    pub fn enter(&self, issuer: &Key, certificate: &Key, most: usize) -> bool {
        let mut all = self.lock();
        let orders = all.entry(issuer.clone()).or_default();
        orders.waiting.retain(|waiting| waiting != certificate);
        if !orders.open.contains(certificate) && orders.open.len() >= most {
            orders.waiting.push_back(certificate.clone());
            return false;
        }
        orders.open.insert(certificate.clone());
        true
    }

    /// The order is over, or not wanted any more. Returns the MailCertificate whose turn it is now.
    #[must_use]
    pub fn leave(&self, issuer: &Key, certificate: &Key) -> Option<Key> {
        let mut all = self.lock();
        let orders = all.get_mut(issuer)?;
        let next = orders.end(certificate);
        if orders.is_empty() {
            all.remove(issuer);
        }
        next
    }

    /// The MailCertificate is gone. Returns those whose turn it is now.
    #[must_use]
    pub fn left(&self, certificate: &Key) -> Vec<Key> {
        let mut all = self.lock();
        let next = all.values_mut().filter_map(|orders| orders.end(certificate)).collect();
        all.retain(|_, orders| !orders.is_empty());
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_counted_once_and_until_it_is_over() {
        let orders = OpenOrders::default();
        let key = |name: &str| ("mail".to_owned(), name.to_owned());
        let (ca, other) = (key("ca"), key("other"));
        assert!(orders.enter(&ca, &key("a"), 2) && orders.enter(&ca, &key("a"), 2));
        assert!(orders.enter(&ca, &key("b"), 2));
        assert!(!orders.enter(&ca, &key("c"), 2));
        assert!(orders.enter(&other, &key("c"), 2), "each issuer has its own");
        assert_eq!(orders.leave(&ca, &key("a")), Some(key("c")), "it has waited");
        assert!(orders.enter(&ca, &key("c"), 2));
        assert_eq!(orders.leave(&ca, &key("a")), None, "what was not open makes no room");
        assert!(!orders.enter(&ca, &key("d"), 2) && !orders.enter(&ca, &key("e"), 2));
        assert_eq!(orders.left(&key("d")), []);
        assert_eq!(orders.left(&key("c")), [key("e")]);
        assert!(orders.enter(&ca, &key("e"), 2));
    }
}
