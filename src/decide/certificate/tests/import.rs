//! Certificates that come from a Secret.

use std::collections::BTreeSet;

use super::bench::*;
use super::fake_source::*;
use crate::api::certificate::{LegacyName, OnUnreachable, WatchedKind};
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::Demand;

/// With its first certificate in place.
fn imported() -> (Bench, std::sync::Arc<crate::pki::CaKeyPair>, Files) {
    let (mut bench, authority) = importing();
    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.settle();
    bench.assert_ready();
    bench.take_log();
    bench.take_notes();
    (bench, authority, files)
}

fn demand(domain: &str, host: &str, others: &[&str], legacy: &[(&str, OnUnreachable)]) -> Demand {
    let names: BTreeSet<String> = others.iter().chain([&host]).map(|n| (*n).to_owned()).collect();
    let legacy = legacy.iter().map(|(name, on)| LegacyName { name: (*name).to_owned(), on_unreachable: *on });
    Demand { domain: domain.to_owned(), external_host: Some(host.to_owned()), names, legacy: legacy.collect() }
}

#[test]
fn what_is_there_becomes_revision_1_as_it_is() {
    let (mut bench, authority) = importing();
    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.settle();
    let steps =
        ["read the source", "take what the source holds as revision 1", "write revision 1 to the active Secret"];
    assert_eq!(bench.take_log(), steps);
    let active = bench.active();
    assert_eq!(active.fingerprint_sha256, files.leaf.fingerprint.to_string());
    assert_eq!((active.issuer_ref, bench.status().renewal_time), (None, None));
    let watched: Vec<_> = active.authorities.iter().map(|a| (a.kind, a.subject.as_str())).collect();
    assert_eq!(watched, [(WatchedKind::Anchor, "CN=Root")]);
    bench.assert_condition("Ready", "True", "Active", "revision 1 is valid until 2031-06-12T12:00:00Z");
    let notes = bench.take_notes();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(!notes[0].0 && notes[0].1 == "Issued", "{notes:?}");
    assert!(bench.found().is_empty(), "{:?}", bench.status().findings);
}

#[test]
fn a_new_certificate_is_a_new_revision_and_the_same_is_none() {
    let (mut bench, authority, files) = imported();
    bench.put(&files, &authority);
    bench.settle();
    assert_eq!((bench.take_log(), bench.active().revision), (vec!["read the source".to_owned()], 1));

    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    assert_eq!(bench.active().fingerprint_sha256, newer.leaf.fingerprint.to_string());
    assert_eq!((bench.active().revision, bench.status().previous.len()), (2, 1));
    bench.assert_ready();

    // An older one that is put back is what the source holds now.
    bench.put(&files, &authority);
    bench.settle();
    assert_eq!(bench.active().fingerprint_sha256, files.leaf.fingerprint.to_string());
    assert_eq!((bench.active().revision, bench.status().previous.len()), (3, 2));
}

#[test]
fn another_chain_with_the_same_leaf_is_a_new_revision() {
    let (mut bench, authority, files) = imported();
    bench.put_files(&[("tls.crt", &files.chain), ("tls.key", &files.key)]);
    bench.import(|i| i.allow.extend(["ChainIncomplete".to_owned(), "NotTrusted".to_owned()]));
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    assert!(bench.active().authorities.is_empty());
    bench.put(&files, &authority);
    bench.settle();
    assert_eq!((bench.active().revision, bench.active().authorities.len()), (3, 1));
}

#[test]
fn a_source_that_turns_bad_leaves_the_active_one_in_place() {
    let (mut bench, authority, files) = imported();
    let other = usual(&bench, &authority);
    bench.put(&Files { key: files.key, ..other.clone() }, &authority);
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.active().revision, 1);
    let message = bench.finding("KeyMismatch");
    bench.assert_condition("Stalled", "True", "ImportInvalid", &message);
    assert!(message.contains("key"), "{message}");
    let told: Vec<_> = bench.take_notes().into_iter().map(|n| (n.0, n.1)).collect();
    assert_eq!(told, [(true, "ImportInvalid".to_owned()), (true, "KeyMismatch".to_owned())]);

    bench.put(&other, &authority);
    bench.settle();
    bench.assert_ready();
    assert_eq!((bench.active().revision, bench.found()), (2, Vec::new()));
    assert_eq!(bench.condition("Stalled").0, "");
}

#[test]
fn with_nothing_valid_yet_ready_says_everything_that_is_wrong() {
    let (mut bench, authority) = importing();
    bench.edit(|spec| spec.dns_names = vec!["imap.example.com".to_owned()]);
    let old = issued(&authority, &["mail.example.com"], bench.now - days(100), days(90));
    bench.put(&old, &authority);
    bench.settle();
    assert!(bench.status().active.is_none() && bench.secret.is_none());
    let (status, reason, message) = bench.condition("Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ImportInvalid"));
    let errors = [bench.finding("Expired"), bench.finding("NameNotCovered")];
    assert_eq!(
        errors[1],
        "the certificate does not cover imap.example.com, one of spec.dnsNames; it names mail.example.com. Have it issued \
         again with that name, or remove the name"
    );
    assert!(errors.iter().all(|e| message.contains(e.as_str())), "{message}\n{errors:#?}");
}

#[test]
fn a_source_that_is_not_there_is_waited_for() {
    let (mut bench, authority) = importing();
    bench.settle();
    let missing = "there is no Secret from-the-ca in this namespace to import from: create it with certificate and key, or \
                   correct spec.import.secretRef";
    bench.assert_condition("Ready", "False", "ImportInvalid", missing);
    assert_eq!(bench.finding("SourceNotFound"), missing);
    assert!(bench.take_log().is_empty(), "nothing is read");

    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.settle();
    bench.assert_ready();
    assert!(bench.found().is_empty());

    bench.source.files = None;
    bench.settle();
    bench.assert_ready();
    bench.assert_condition("Stalled", "True", "ImportInvalid", missing);
}

#[test]
fn a_password_that_is_not_there_is_asked_for() {
    let (mut bench, authority) = importing();
    bench.with_password();
    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.settle();
    let missing = "there is no Secret pin in this namespace with the password: create it with the password in its key \
                   password, or correct spec.import.passwordSecretRef";
    bench.assert_condition("Ready", "False", "ImportInvalid", missing);
    bench.source.password = Some(7);
    bench.settle();
    bench.assert_ready();
    bench.take_log();
    bench.source.password = Some(8);
    bench.settle();
    assert_eq!(bench.take_log(), ["read the source"], "another password may open it or not");
}

#[test]
fn the_renew_annotation_is_answered() {
    let (mut bench, authority, _) = imported();
    bench.ask_to_renew("now");
    bench.settle();
    bench.assert_ready();
    assert_eq!(
        bench.finding("NotRenewable"),
        "an imported certificate cannot be renewed here, so the annotation mailcert.dev/renew does nothing: put a new \
         certificate into Secret from-the-ca, and it becomes a new revision"
    );
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    assert!(bench.found().is_empty(), "that is what was asked for");
    assert_eq!(bench.status().last_renew_request.as_deref(), Some("now"));
}

#[test]
fn the_revoke_annotation_is_answered() {
    let (mut bench, ..) = imported();
    let annotations = bench.object.metadata.annotations.get_or_insert_default();
    annotations.insert("mailcert.dev/revoke".to_owned(), "keyCompromise".to_owned());
    bench.settle();
    bench.assert_ready();
    assert_eq!(
        bench.finding("NotRevoked"),
        "an imported certificate cannot be revoked here, so the annotation mailcert.dev/revoke does nothing: ask the CA that \
         issued it, and put another certificate into Secret from-the-ca"
    );
    assert!(bench.take_log().is_empty());
}

#[test]
fn mail_domains_need_their_names() {
    let (mut bench, authority) = importing();
    let old = [("old.example.com", OnUnreachable::Report), ("older.example.com", OnUnreachable::Drop)];
    bench.source.demands = vec![demand("example-com", "www.example.com", &["imap.example.com"], &old)];
    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.settle();
    let wanted = [("ExternalURLNotCovered", true), ("LegacyNameNotCovered", false), ("NameNotCovered", true)];
    let wanted = wanted.map(|(word, stops)| (word.to_owned(), stops));
    assert_eq!(bench.found(), wanted);
    assert_eq!(
        bench.finding("ExternalURLNotCovered"),
        "the certificate does not cover www.example.com, the host of the external URL of MailDomain example-com; it names \
         mail.example.com. Have it issued again with that name, or correct the URL"
    );
    assert_eq!(bench.condition("Ready").0, "False");

    bench.import(|i| i.allow = vec!["ExternalURLNotCovered".to_owned(), "NameNotCovered".to_owned()]);
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.found()[0], ("ExternalURLNotCovered".to_owned(), false));
}

#[test]
fn a_name_that_the_active_one_lacks_too_holds_nothing_back() {
    let (mut bench, authority, _) = imported();
    bench.source.demands = vec![demand("new", "new.example.com", &["mail.example.com"], &[])];
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.take_log(), ["read the source"], "it is judged again");
    assert_eq!(bench.found(), [("ExternalURLNotCovered".to_owned(), false)]);
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    assert_eq!(bench.active().revision, 2);

    // A step backwards is one.
    let worse = issued(&authority, &["new.example.com"], bench.now - days(1), days(365));
    bench.put(&worse, &authority);
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    assert_eq!(bench.found(), [("NameNotCovered".to_owned(), true)]);
}

#[test]
fn names_of_the_spec_that_are_not_covered_spoil_ready() {
    let (mut bench, ..) = imported();
    bench.edit(|spec| spec.dns_names = vec!["imap.example.com".to_owned()]);
    bench.settle();
    let message = "the imported certificate does not cover imap.example.com";
    bench.assert_condition("Ready", "False", "NamesChanged", message);
    assert_eq!(bench.found(), [("NameNotCovered".to_owned(), false)]);
    bench.import(|i| i.allow = vec!["NameNotCovered".to_owned()]);
    bench.settle();
    bench.assert_ready();
}

#[test]
fn untrusted_ones_are_used_only_where_that_is_allowed() {
    let (mut bench, authority) = importing();
    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.import(|i| i.trust_anchors = None);
    bench.settle();
    assert_eq!(bench.found(), [("NotTrusted".to_owned(), true)]);
    bench.import(|i| i.allow_untrusted = true);
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.found(), [("NotTrusted".to_owned(), false)]);
}

#[test]
fn a_spec_that_cannot_be_followed_is_explained() {
    let (mut bench, authority) = importing();
    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.import(|i| i.secret_ref.name = "mail-tls".to_owned());
    bench.settle();
    bench.assert_condition(
        "Ready",
        "False",
        "InvalidSpec",
        "spec.import.secretRef names the Secret mail-tls, which is the one that spec.secretName names: the operator writes that \
         one, and never the source. Let one of them name another Secret",
    );
    bench.import(|i| {
        i.secret_ref.name = "from-the-ca".to_owned();
        i.allow = vec!["Everything".to_owned()];
    });
    bench.settle();
    let (_, reason, message) = bench.condition("Ready");
    assert_eq!(reason, "InvalidSpec");
    assert!(
        message.starts_with(
            "spec.import.allow: Everything is no finding that can be allowed; it can be any of LeafIsCA, ChainIncomplete, "
        ),
        "{message}"
    );
    // A known word that would do nothing.
    bench.import(|i| i.allow = vec!["NotTrusted".to_owned(), "KeyMismatch".to_owned()]);
    bench.settle();
    let (_, _, message) = bench.condition("Ready");
    assert!(message.starts_with("spec.import.allow: KeyMismatch is no finding that can be allowed; "), "{message}");
    bench.import(|i| {
        i.allow.clear();
        i.trust_anchors = Some("nothing".to_owned());
    });
    bench.settle();
    let (_, reason, message) = bench.condition("Ready");
    assert_eq!(reason, "InvalidSpec");
    assert!(message.starts_with("spec.import.trustAnchors: "), "{message}");
}

#[test]
fn a_secret_that_is_gone_is_written_again_from_the_source() {
    let (mut bench, _, files) = imported();
    bench.secret = None;
    bench.settle();
    assert_eq!(bench.take_log(), ["read the source", "write revision 1 to the active Secret"]);
    assert_eq!(bench.pair().chain.leaf().fingerprint, files.leaf.fingerprint);
    assert_eq!((bench.active().revision, bench.status().repairs.map(|r| r.count)), (1, Some(1)));
    bench.assert_ready();

    bench.source.files = None;
    bench.secret = None;
    bench.settle_after(days(1));
    let (status, reason, _) = bench.condition("Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "SecretMissing"));
}

#[test]
fn a_secret_that_was_changed_is_put_right() {
    let (mut bench, authority, files) = imported();
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    bench.take_log();
    bench.tamper(|secret| secret.content = Err("tls.key is no key".to_owned()));
    bench.settle();
    let name = bench.revisions[&2].0.clone();
    let read = format!("read the revision Secret {name}");
    let wanted = ["read the active Secret", read.as_str(), "write revision 2 to the active Secret"];
    assert_eq!(bench.take_log(), wanted);
    assert_ne!(bench.pair().chain.leaf().fingerprint, files.leaf.fingerprint);
    bench.assert_ready();
}

#[test]
fn one_that_is_not_valid_yet_waits_for_its_time() {
    let (mut bench, authority, _) = imported();
    let early = issued(&authority, &["mail.example.com"], bench.now + days(2), days(365));
    let start = early.leaf.not_before;
    bench.put(&early, &authority);
    bench.settle();
    assert_eq!(bench.found(), [("NotYetValid".to_owned(), true)]);
    assert_eq!((bench.active().revision, bench.wake), (1, Some(start)));
    bench.now = start;
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    bench.assert_ready();
}

#[test]
fn interrupted_anywhere_it_comes_to_the_same_end() {
    for step in 0..8 {
        let (mut bench, authority, _) = imported();
        let newer = usual(&bench, &authority);
        bench.put(&newer, &authority);
        bench.crash_after = Some(step);
        bench.settle();
        let active = bench.active();
        assert_eq!((active.revision, active.fingerprint_sha256), (2, newer.leaf.fingerprint.to_string()), "{step}");
        assert_eq!(bench.status().previous.len(), 1, "{step}");
        bench.assert_ready();
    }
}

#[test]
fn a_lost_status_is_built_anew() {
    let (mut bench, authority, _) = imported();
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    bench.object.status = None;
    bench.take_log();
    bench.settle();
    assert_eq!(bench.take_log(), ["read the active Secret", "read the source"]);
    assert_eq!(bench.active().revision, 2);
    bench.assert_ready();
}

#[test]
fn what_cannot_be_read_is_tried_again() {
    let (mut bench, authority) = importing();
    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.faults = vec![("read the source", failure(Pace::Person, "Forbidden", "reading Secret: forbidden"))];
    bench.settle();
    let (status, reason, message) = bench.condition("Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Forbidden"));
    assert!(message.starts_with("reading Secret: forbidden (next try at "), "{message}");
    bench.faults.clear();
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
    assert!(bench.status().attempt.is_none());
}

#[test]
fn an_issued_one_can_become_an_imported_one_and_back() {
    let (mut bench, authority) = importing();
    let import = bench.object.spec.import.take();
    bench.object.spec.issuer_ref = named("issuer");
    bench.object.spec.dns_names = vec!["mail.example.com".to_owned()];
    bench.settle();
    assert_eq!(bench.active().issuer_ref.unwrap().name, "issuer");
    bench.edit(|spec| (spec.issuer_ref, spec.import) = (None, import));
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.active().revision, 1, "it stays until there is another one");
    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.settle();
    assert_eq!((bench.active().revision, bench.active().issuer_ref), (2, None));
    bench.edit(|spec| (spec.issuer_ref, spec.import) = (named("issuer"), None));
    bench.settle();
    assert_eq!(bench.active().revision, 3);
    assert!(bench.status().import.is_none() && bench.active().issuer_ref.is_some());
    bench.assert_ready();
}

#[test]
fn missing_issuers_are_fetched_only_where_both_allow_it() {
    let (mut bench, _) = importing();
    let url = "http://ca.example/root.crt";
    let (root, middle, files) = below_intermediate(bench.now, url);
    bench.import(|i| {
        i.trust_anchors = Some(root.to_pem());
        i.fetch_missing_issuers = true;
    });
    bench.put_files(&[("tls.crt", &files.chain), ("tls.key", &files.key)]);
    bench.source.addresses.insert(url.to_owned(), files.leaf.clone());
    bench.settle();
    assert_eq!(
        bench.finding("FetchFailed"),
        "spec.import.fetchMissingIssuers is set, but this operator fetches none: have the chart's value \
         import.fetchIssuers.enabled set to true, or add the issuer's certificate to the source"
    );
    assert_eq!(bench.take_log(), ["read the source"]);

    bench.source.may_fetch = true;
    bench.settle();
    assert_eq!(
        bench.finding("FetchFailed"),
        "the missing issuer could not be fetched (what was fetched does not fit): add its certificate to the source"
    );
    bench.source.addresses.clear();
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!(
        bench.finding("FetchFailed"),
        "the missing issuer could not be fetched (no answer): add its certificate to the source"
    );
    bench.source.addresses.insert(url.to_owned(), middle);
    bench.take_log();
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
    let fetched = format!("fetch the missing issuer from {url}");
    assert_eq!(bench.take_log()[..3], ["read the source", fetched.as_str(), "read the source"]);
    assert_eq!(bench.pair().chain.rest().len(), 1);
}
