//! Roots that Mozilla has removed from its list.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::fingerprint::Fingerprint;

/// A root that Mozilla trusted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovedRoot {
    /// Its name.
    pub name: &'static str,
    /// A release of certifi (PyPI), which carries Mozilla's list, that lacks it.
    pub absent_from: &'static str,
}

/// Fingerprint, release and name, one in a line.
static TEXT: &str = include_str!("removed_roots.tsv");

static REMOVED: LazyLock<BTreeMap<Fingerprint, RemovedRoot>> = LazyLock::new(|| {
    let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &'static str| {
        let mut parts = line.splitn(3, '\t');
        let fingerprint = parts.next()?.parse().ok()?;
        let absent_from = parts.next()?;
        Some((fingerprint, RemovedRoot { name: parts.next()?, absent_from }))
    };
    lines.filter_map(read).collect()
});

/// What is known of a root that Mozilla has removed; nothing about any other certificate.
pub fn removed_root(fingerprint: &Fingerprint) -> Option<RemovedRoot> {
    REMOVED.get(fingerprint).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::mozilla_certificates;

    #[test]
    fn every_line_is_read_and_none_is_a_root_of_today() {
        let lines = TEXT.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!((REMOVED.len(), lines), (102, 102));
        assert!(mozilla_certificates().iter().all(|root| removed_root(&root.fingerprint).is_none()));
        let dst = "0687260331a72403d909f105e69bcf0d32e1bd2493ffc6d9206d11bcd6770739".parse().unwrap();
        assert_eq!(removed_root(&dst).unwrap().name, "DST Root CA X3");
    }
}
