//! How many ACME orders of an issuer are under way.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::index::Key;

/// The MailCertificates with an open order, for each MailIssuer.
#[derive(Debug, Default)]
pub struct OpenOrders(Mutex<HashMap<Key, HashSet<Key>>>);

impl OpenOrders {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, HashSet<Key>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the order of a MailCertificate, unless `most` others are open. One that is counted stays so.
    pub fn enter(&self, issuer: &Key, certificate: &Key, most: usize) -> bool {
        let mut all = self.lock();
        let open = all.entry(issuer.clone()).or_default();
        if !open.contains(certificate) && open.len() >= most {
            return false;
        }
        open.insert(certificate.clone());
        true
    }

    /// The order is over.
    pub fn leave(&self, issuer: &Key, certificate: &Key) {
        let mut all = self.lock();
        if let Some(open) = all.get_mut(issuer) {
            open.remove(certificate);
            if open.is_empty() {
                all.remove(issuer);
            }
        }
    }

    /// The MailCertificate is gone.
    pub fn left(&self, certificate: &Key) {
        self.lock().retain(|_, open| {
            open.remove(certificate);
            !open.is_empty()
        });
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
        orders.leave(&ca, &key("a"));
        assert!(orders.enter(&ca, &key("c"), 2));
        orders.left(&key("c"));
        assert!(orders.enter(&ca, &key("d"), 2) && !orders.enter(&ca, &key("e"), 2));
    }
}
