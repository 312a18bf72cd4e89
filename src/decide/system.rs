//! Which MailCertificate is a namespace's system certificate, and who depends on it.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::MailCertificate;

/// The one of a namespace's MailCertificates with `system: true` that has the role: the oldest. One that is being deleted
/// keeps it until another one has a certificate.
pub fn holder(candidates: Vec<Arc<MailCertificate>>) -> Option<Arc<MailCertificate>> {
    let all = candidates.into_iter().filter(|c| c.spec.system);
    let can_serve = |c: &MailCertificate| {
        c.metadata.deletion_timestamp.is_none() && c.status.as_ref().is_some_and(|s| s.active.is_some())
    };
    let is_staying = |c: &MailCertificate| c.metadata.deletion_timestamp.is_none();
    let age = |c: &MailCertificate| (c.creation_timestamp().map_or(Timestamp::MAX, |t| t.0), c.name_any());
    let all: Vec<_> = all.collect();
    // Where one is on its way out, the next is the oldest that can serve; where none is, the oldest whatever it can do.
    let some_leave = all.iter().any(|c| !is_staying(c));
    all.into_iter().max_by_key(|c| {
        let rank = match (some_leave, is_staying(c)) {
            (true, true) => u8::from(can_serve(c)) * 2,
            (true, false) => 1,
            (false, _) => 2,
        };
        (rank, Reverse(age(c)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    fn certificate(name: &str, second: i64, active: bool, leaves: bool) -> Arc<MailCertificate> {
        let spec = json!({"issuerRef": {"name": "ca"}, "secretName": name, "dnsNames": ["a.example"], "system": true});
        let mut made = MailCertificate::new(name, serde_json::from_value(spec).unwrap());
        let time = |s| Time(Timestamp::from_second(s).unwrap());
        made.metadata.creation_timestamp = Some(time(second));
        made.metadata.deletion_timestamp = leaves.then(|| time(9));
        let revision = json!({"revision": 1, "serial": "1", "fingerprintSHA256": "f", "spkiSHA256": "s",
            "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2027-01-01T00:00:00Z", "issuer": "i", "dnsNames": [],
            "issuerRef": {"name": "ca"}, "key": "k"});
        made.status =
            Some(serde_json::from_value(if active { json!({"active": revision}) } else { json!({}) }).unwrap());
        Arc::new(made)
    }

    fn chosen(candidates: &[(&str, i64, bool, bool)]) -> Option<String> {
        let all = candidates.iter().map(|(name, second, active, leaves)| certificate(name, *second, *active, *leaves));
        holder(all.collect()).map(|c| c.name_any())
    }

    #[test]
    fn the_oldest_has_the_role_and_hands_it_over_when_it_goes() {
        assert_eq!(chosen(&[]), None);
        for (candidates, expected) in [
            (&[("b", 1, true, false), ("a", 2, true, false)][..], "b"),
            // Of the same second, by name.
            (&[("b", 1, true, false), ("a", 1, true, false)], "a"),
            // The older keeps it, also before it has a certificate.
            (&[("old", 1, false, false), ("new", 2, true, false)], "old"),
            // One that is being deleted hands it over to one that can serve, and to no other.
            (&[("old", 1, true, true), ("new", 2, true, false)], "new"),
            (&[("old", 1, true, true), ("new", 2, false, false)], "old"),
            (&[("old", 1, true, true), ("next", 2, false, false), ("new", 3, true, false)], "new"),
            (&[("old", 1, true, true)], "old"),
        ] {
            assert_eq!(chosen(candidates).as_deref(), Some(expected), "{candidates:?}");
        }
    }

    #[test]
    fn one_without_the_role_is_none() {
        let mut plain = (*certificate("plain", 1, true, false)).clone();
        plain.spec.system = false;
        assert!(holder(vec![Arc::new(plain)]).is_none());
    }
}
