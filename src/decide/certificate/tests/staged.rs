//! Revisions that wait for their gates.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::super::world::{Dependent, Purpose};
use super::bench::*;
use crate::api::certificate::activation::{Drained, HttpCall, JobCall};
use crate::api::certificate::{ActivationMode, RevisionState, RotationPolicy, Usage};
use crate::api::keys;
use crate::api::window::Window;

/// A certificate that is active, and whose later revisions wait to be approved.
pub fn manual() -> Bench {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.edit(|s| s.options.activation.mode = ActivationMode::Manual);
    bench.settle();
    bench.take_log();
    bench.take_notes();
    bench
}

pub fn staged(bench: &Bench) -> i64 {
    bench.status().staged.first().expect("a revision is staged").revision
}

fn gates(bench: &Bench) -> Vec<(String, String)> {
    bench.status().gates.into_iter().map(|g| (g.type_, g.message)).collect()
}

const APPROVAL: &str =
    "waits for approval: kubectl mailcert approve mail --namespace post, or the annotation mailcert.dev/approve: \"2\"";

#[test]
fn a_new_revision_waits_for_approval_and_says_so() {
    let mut bench = manual();
    let first = bench.active().fingerprint_sha256;
    bench.ask_to_renew("a");
    bench.settle();
    let log = bench.take_log();
    assert_eq!(log[0], "sign revision 2 for mail.example.com");
    assert!(log[1].starts_with("store revision 2 in Secret mail-tls-r2-"), "{log:#?}");
    assert_eq!(log.len(), 2);
    assert_eq!(gates(&bench), [("Approved".to_owned(), APPROVAL.to_owned())]);
    bench.assert_ready();
    bench.assert_condition("Staged", "True", "GateUnmet", &format!("revision 2 waits for Approved: {APPROVAL}"));
    let told = format!("revision 2 is staged (RenewalRequested); has another key; waits for Approved: {APPROVAL}");
    assert_eq!(bench.take_notes(), [(false, "Staged".to_owned(), told)]);
    assert_eq!(bench.active().fingerprint_sha256, first);

    bench.annotate(keys::APPROVE, "1");
    bench.settle();
    assert_eq!(bench.active().revision, 1, "another revision was approved");
    bench.annotate(keys::APPROVE, "2");
    bench.annotate(keys::APPROVED_BY, "jane@example.com");
    bench.take_log();
    bench.settle();
    let log = bench.take_log();
    assert!(log[0].starts_with("read the revision Secret mail-tls-r2-"), "{log:#?}");
    assert_eq!(log.last().unwrap(), "write revision 2 to the active Secret");
    let active = bench.active();
    assert_eq!((active.revision, active.reason.as_deref()), (2, Some("RenewalRequested")));
    assert_eq!(active.state, Some(RevisionState::Active));
    assert_eq!(active.approved_by.as_deref(), Some("jane@example.com"));
    assert_eq!(bench.status().previous[0].state, Some(RevisionState::Previous));
    assert!(bench.status().staged.is_empty() && bench.status().gates.is_empty());
    assert_eq!(bench.condition("Staged").0, "");
    let told = bench.take_notes();
    assert!(told[0].2.ends_with(", approved by jane@example.com"), "{told:?}");
    bench.assert_ready();
}

#[test]
fn the_first_one_waits_too() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| s.options.activation.mode = ActivationMode::Manual);
    bench.settle();
    assert!(bench.secret.is_none());
    let message = format!("Approved: {}", APPROVAL.replace('2', "1"));
    bench.assert_condition("Ready", "False", "GateUnmet", &message);
    bench.annotate(keys::APPROVE, "1");
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.active().reason.as_deref(), Some("FirstIssuance"));
}

#[test]
fn what_is_no_longer_wanted_is_not_activated() {
    let mut bench = manual();
    bench.ask_to_renew("a");
    bench.settle();
    bench.edit(|s| s.dns_names.push("imap.example.com".to_owned()));
    bench.settle();
    assert_eq!(staged(&bench), 3);
    let told = bench.take_notes();
    let last = &told.iter().rfind(|n| n.1 == "Staged").unwrap().2;
    assert!(
        last.starts_with("revision 3 is staged (NamesChanged); adds imap.example.com; has another key; waits for"),
        "{last}"
    );
    bench.annotate(keys::APPROVE, "2");
    bench.settle();
    assert_eq!(bench.active().revision, 1, "revision 2 lacks a name");
    let (ready, reason, message) = bench.condition("Ready");
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "NamesChanged"));
    assert!(
        message.starts_with("the certificate lacks imap.example.com; revision 3 waits for Approved: "),
        "{message}"
    );
    bench.annotate(keys::APPROVE, "3");
    bench.settle();
    assert_eq!(bench.active().dns_names.len(), 2);
    bench.assert_ready();
}

#[test]
fn before_expiry_it_warns_and_then_goes_on_without_approval() {
    let mut bench = manual();
    bench.now = bench.status().renewal_time.unwrap().0;
    bench.settle();
    bench.take_notes();
    let end = bench.active().not_after.0;
    // An eighth of 90 days.
    bench.now = end - days(12);
    bench.settle();
    assert_eq!(bench.condition("Staged").1, "GateUnmet");
    bench.now = end - days(11);
    bench.settle();
    bench.assert_condition(
        "Staged",
        "True",
        "GateOverdue",
        &format!(
            "revision {} waits for Approved: {}",
            staged(&bench),
            APPROVAL.replace('2', &staged(&bench).to_string())
        ),
    );
    assert!(bench.take_notes().iter().any(|(warning, reason, _)| *warning && reason == "GateOverdue"));
    bench.now = end - secs(3601);
    bench.settle_within(secs(0));
    assert_eq!(bench.active().revision, 1);
    let waits = staged(&bench);
    bench.settle_after(secs(1));
    assert_eq!(bench.active().revision, waits);
    let findings = bench.status().findings;
    let message = format!("the active revision was about to end, so revision {waits} became active without Approved");
    assert!(findings.iter().any(|f| f.reason == "GateOverridden" && f.message == message), "{findings:?}");
}

#[test]
fn how_long_before_expiry_that_is_the_spec_can_say() {
    let mut bench = manual();
    let day = std::time::Duration::from_secs(86_400).into();
    bench.edit(|s| s.options.activation.override_before_expiry = Some(day));
    bench.ask_to_renew("a");
    bench.settle();
    let (since, end) = (bench.status().gates[0].since.0, bench.active().not_after.0);
    bench.now = end - secs(86_401);
    bench.settle_within(secs(0));
    assert_eq!((bench.active().revision, bench.condition("Staged").1.as_str()), (1, "GateOverdue"));
    assert_eq!(bench.status().gates[0].since.0, since, "it says since when");
    bench.settle_after(secs(1));
    assert_ne!(bench.active().revision, 1);
}

#[test]
fn where_no_gate_may_be_overridden_none_is() {
    let mut bench = manual();
    bench.edit(|s| s.options.activation.override_gates = Some(Vec::new()));
    bench.ask_to_renew("a");
    bench.settle();
    bench.now = bench.active().not_after.0 + secs(1);
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    let (ready, reason, message) = bench.condition("Ready");
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "Expired"));
    assert!(message.contains("waits for Approved"), "{message}");
}

#[test]
fn a_window_opens_in_its_time() {
    let mut bench = Bench::with_ca();
    bench.settle();
    let hour = std::time::Duration::from_secs(3600).into();
    let window = Window { cron: "0 2 * * *".to_owned(), duration: hour, time_zone: Some("Europe/Berlin".to_owned()) };
    bench.edit(|s| s.options.activation.windows = vec![window]);
    bench.ask_to_renew("a");
    bench.settle();
    let message = "no maintenance window is open; the next one opens at 2030-06-16T00:00:00Z";
    assert_eq!(gates(&bench), [("MaintenanceWindow".to_owned(), message.to_owned())]);
    assert_eq!(bench.wake, Some(at("2030-06-16T00:00:00Z")));
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    bench.edit(|s| s.options.activation.windows[0].cron = "x y z a b".to_owned());
    bench.ask_to_renew("b");
    bench.settle();
    let message = "no window can open: spec.activation.windows[0]: cron \"x y z a b\" cannot be read: write minute, hour, \
                   day, month, weekday";
    assert_eq!(gates(&bench), [("MaintenanceWindow".to_owned(), message.to_owned())]);
}

/// Sets a condition as another controller does.
pub fn set_condition(bench: &mut Bench, type_: &str, status: &str) {
    let mut object = bench.status();
    object.conditions.retain(|c| c.type_ != type_);
    object.conditions.push(Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: "Checked".to_owned(),
        message: "the change board meets on Monday".to_owned(),
        last_transition_time: Time(bench.now),
        observed_generation: None,
    });
    bench.object.status = Some(object);
}

#[test]
fn any_condition_can_be_a_gate_and_is_kept() {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.edit(|s| s.options.activation.gates = vec!["example.com/Reviewed".to_owned()]);
    bench.ask_to_renew("a");
    bench.settle();
    let message = "no controller has set the condition example.com/Reviewed in status.conditions";
    assert_eq!(gates(&bench), [("example.com/Reviewed".to_owned(), message.to_owned())]);
    let since = bench.status().gates[0].since.clone();
    bench.now += secs(600);
    set_condition(&mut bench, "example.com/Reviewed", "False");
    bench.settle();
    let message = "the condition example.com/Reviewed is False (Checked): the change board meets on Monday";
    assert_eq!(gates(&bench), [("example.com/Reviewed".to_owned(), message.to_owned())]);
    assert_eq!(bench.status().gates[0].since, since);
    set_condition(&mut bench, "example.com/Reviewed", "True");
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    assert_eq!(bench.condition("example.com/Reviewed").0, "True", "it is not ours to remove");
}

#[test]
fn drained_is_asked_last_and_again() {
    let mut bench = Bench::with_ca();
    bench.settle();
    let http = HttpCall {
        url: "http://queue.post.svc/empty".to_owned(),
        method: None,
        expect_body: Some("0".to_owned()),
        authorization_secret_ref: None,
        ca_bundle: None,
    };
    let interval = std::time::Duration::from_secs(300).into();
    bench.edit(|s| {
        s.options.activation.mode = ActivationMode::Manual;
        s.options.activation.drained = Some(Drained { http: Some(http), exec: None, job: None, interval });
    });
    bench.calls.insert(Purpose::Drained, Err("the call to queue.post.svc failed: status 503".to_owned()));
    bench.ask_to_renew("a");
    bench.settle();
    assert!(!bench.take_log().contains(&"ask whether anything is queued".to_owned()));
    let message = "is asked about when nothing else is waited for";
    assert_eq!(gates(&bench)[1], ("Drained".to_owned(), message.to_owned()));
    bench.annotate(keys::APPROVE, "2");
    bench.settle();
    assert_eq!(bench.take_log().last().unwrap(), "ask whether anything is queued");
    let message = "the call to queue.post.svc failed: status 503";
    assert_eq!(gates(&bench), [("Drained".to_owned(), message.to_owned())]);
    assert_eq!(bench.wake, Some(bench.now + secs(300)));
    bench.calls.clear();
    bench.now += secs(299);
    bench.pass();
    assert_eq!(bench.active().revision, 1, "it is not asked more often than that");
    bench.settle_after(secs(1));
    assert_eq!(bench.active().revision, 2);
    assert_eq!(bench.status().drained, None);
}

#[test]
fn a_job_that_looks_is_looked_at_often_whatever_the_interval() {
    let mut bench = Bench::with_ca();
    bench.settle();
    let job = Some(JobCall { template: serde_json::json!({"spec": {}}) });
    let interval = std::time::Duration::from_secs(3600).into();
    bench.edit(|s| s.options.activation.drained = Some(Drained { http: None, exec: None, job, interval }));
    bench.calls.insert(Purpose::Drained, Ok(false));
    bench.ask_to_renew("a");
    for _ in 0..4 {
        assert!(bench.pass());
    }
    let message = "the Job that looks is still running";
    assert_eq!(gates(&bench), [("Drained".to_owned(), message.to_owned())]);
    assert_eq!(bench.wake, Some(bench.now + secs(10)));
    let status = bench.status();
    for _ in 0..5 {
        bench.now += secs(10);
        bench.pass();
        assert_eq!((bench.status(), bench.wake), (status.clone(), Some(bench.now + secs(10))), "nothing is written");
    }
    // The interval is the pause before another Job.
    bench.calls.insert(Purpose::Drained, Err("the Job mail-drained failed: 3 in the queue".to_owned()));
    bench.now += secs(10);
    bench.pass();
    assert_eq!(bench.status().drained.unwrap().retry_time.unwrap().0, bench.now + secs(3600));
    bench.calls.clear();
    bench.now += secs(3600);
    bench.settle();
    assert_eq!((bench.active().revision, bench.status().drained), (2, None));
}

/// A MailDomain that wants TLSA records.
pub fn wants_tlsa(bench: &mut Bench) {
    let active = bench.active();
    bench.dependents = vec![Dependent {
        name: "example-com".to_owned(),
        wants_tlsa: true,
        tlsa_ready: [active.spki_sha256.clone()].into(),
        tlsa_published: [active.spki_sha256].into(),
        tlsa_message: Some("waits until 14:00 for the TTL of _25._tcp.mail.example.com".to_owned()),
        endpoints: 1,
        ..Dependent::default()
    }];
}

#[test]
fn another_key_waits_for_its_record_and_a_renewal_with_the_same_one_does_not() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| s.options.private_key.rotation.policy = RotationPolicy::Never);
    bench.settle();
    wants_tlsa(&mut bench);
    bench.ask_to_renew("a");
    bench.settle();
    assert_eq!(bench.active().revision, 2, "the key is the same");
    let next = bench.status().next_key.expect("a key is made ahead");
    bench.annotate(keys::ROTATE_KEY, "now");
    bench.settle();
    assert_eq!(bench.status().staged[0].spki_sha256, next.spki_sha256);
    let message = "MailDomain example-com: waits until 14:00 for the TTL of _25._tcp.mail.example.com";
    assert_eq!(gates(&bench), [("TLSAPublished".to_owned(), message.to_owned())]);
    // Not even expiry breaks a published record.
    bench.now = bench.active().not_after.0 + secs(1);
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    let waiting = bench.status().staged[0].spki_sha256.clone();
    bench.dependents[0].tlsa_ready.insert(waiting);
    bench.settle();
    assert!(bench.active().revision > 2);
    assert_ne!(bench.status().next_key.unwrap().spki_sha256, next.spki_sha256, "and the one after it is made");
    bench.assert_ready();
}

#[test]
fn revisions_that_are_in_use_somewhere_are_not_deleted() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| s.options.history.revisions = 0);
    bench.settle();
    let first = bench.active();
    bench.dependents = vec![Dependent {
        name: "example-com".to_owned(),
        endpoints: 1,
        served: [first.fingerprint_sha256.clone()].into(),
        ..Dependent::default()
    }];
    for value in ["a", "b"] {
        bench.ask_to_renew(value);
        bench.settle();
    }
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [1, 3], "revision 1 is still served");
    bench.dependents[0].served = [bench.active().fingerprint_sha256].into();
    bench.dependents[0].tlsa_published = [first.spki_sha256].into();
    bench.settle();
    assert!(bench.revisions.contains_key(&1), "DNS still names its key");
    bench.dependents[0].tlsa_published.clear();
    bench.settle();
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [3]);
}

#[test]
fn former_keys_of_mail_encryption_are_all_kept() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| {
        s.options.history.revisions = 1;
        s.options.usages = vec![Usage::EmailProtection];
    });
    bench.settle();
    for value in ["a", "b", "c"] {
        bench.ask_to_renew(value);
        bench.settle();
    }
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn a_staged_revision_that_was_deleted_is_made_again() {
    let mut bench = manual();
    bench.ask_to_renew("a");
    bench.settle();
    let (name, _) = bench.revisions.remove(&2).unwrap();
    bench.settle();
    let finding = bench.status().findings.into_iter().find(|f| f.reason == "RevisionLost").unwrap();
    assert_eq!(
        finding.message,
        format!(
            "the Secret {name} of revision 2 was deleted or changed by somebody else: it was staged, and cannot become \
             active; another one is made when one is due or asked for. See who does that (the API server's audit log names them)"
        )
    );
    assert_eq!(bench.active().revision, 1);
    bench.now = bench.status().renewal_time.unwrap().0;
    bench.settle();
    assert_eq!(bench.status().staged.len(), 1, "a new one is made when it is due");
}

#[test]
fn a_kept_revision_that_was_deleted_is_told_and_the_active_one_kept_again() {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.ask_to_renew("a");
    bench.settle();
    let (name, _) = bench.revisions.remove(&1).unwrap();
    bench.take_notes();
    bench.settle();
    assert!(bench.status().previous.is_empty());
    let told = format!(
        "the Secret {name} of revision 1 was deleted or changed by somebody else: its key is lost, so there is no way back \
         to it, and what was encrypted to it cannot be read. See who does that (the API server's audit log names them)"
    );
    assert_eq!(bench.take_notes(), [(true, "RevisionLost".to_owned(), told)]);
    let key = bench.pair().key.spki_sha256();
    bench.revisions.remove(&2).unwrap();
    bench.settle();
    assert_eq!(bench.revisions[&2].1.key.as_ref().unwrap().spki_sha256(), key, "what exists is kept again");
    bench.assert_ready();
}
