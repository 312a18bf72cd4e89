//! Keys that are not to be activated before DNS knows of them, wherever they come from.

use super::bench::*;
use super::fake_source::{importing, usual};
use super::rollback::renewed;
use super::staged::wants_tlsa;

#[test]
fn an_imported_certificate_with_another_key_is_held_back() {
    let (mut bench, authority) = importing();
    bench.put(&usual(&bench, &authority), &authority);
    bench.settle();
    bench.assert_ready();
    wants_tlsa(&mut bench);
    let other = usual(&bench, &authority);
    bench.put(&other, &authority);
    bench.settle();
    let status = bench.status();
    assert_eq!((bench.active().revision, status.staged.len()), (1, 1));
    assert_eq!(status.staged[0].fingerprint_sha256, other.leaf.fingerprint.to_string());
    let message = "MailDomain example-com: waits until 14:00 for the TTL of _25._tcp.mail.example.com";
    assert_eq!((status.gates[0].type_.as_str(), status.gates[0].message.as_str()), ("TLSAPublished", message));
    // It is not forgotten, nor used, by time.
    bench.settle_after(days(30));
    assert_eq!(bench.active().revision, 1);
    let staged = bench.status().staged[0].clone();
    bench.dependents[0].tlsa_ready.insert(staged.spki_sha256);
    bench.settle();
    assert_eq!(bench.active().fingerprint_sha256, other.leaf.fingerprint.to_string());
}

#[test]
fn what_does_not_work_is_taken_back_only_to_a_key_with_a_record() {
    for has_record in [true, false] {
        let mut bench = renewed();
        let (new, old) = (bench.active().spki_sha256, bench.status().previous[0].spki_sha256.clone());
        assert_ne!(new, old);
        let dependent = &mut bench.dependents[0];
        dependent.wants_tlsa = true;
        dependent.tlsa_ready = [new].into_iter().chain(has_record.then(|| old.clone())).collect();
        dependent.tlsa_published = dependent.tlsa_ready.clone();
        dependent.rollout_failed = Some("Deployment/postfix: its pods do not become available".to_owned());
        bench.settle();
        if has_record {
            // As it is as a rule: an old record goes two TTLs after the new key was proven, and that is not yet.
            assert_eq!(bench.active().spki_sha256, old);
            continue;
        }
        assert_eq!((bench.active().revision, bench.status().staged[0].revision), (2, 1));
        assert_eq!(bench.status().gates[0].type_, "TLSAPublished");
        bench.dependents[0].tlsa_ready.insert(old.clone());
        bench.settle();
        assert_eq!(bench.active().spki_sha256, old);
        assert_eq!(bench.active().reason.as_deref(), Some("RolloutFailed"));
    }
}
