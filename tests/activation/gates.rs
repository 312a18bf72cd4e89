//! New revisions wait, and go ahead when what they wait for is there.

use serde_json::{Value, json};

use super::commands::mailcert;
use crate::common::{Path, Stage, condition, data, events, wait_for, wait_for_object, wait_ready};

pub fn wait_staged(stage: &Stage, at: &Path, revision: i64) -> Value {
    wait_for_object(&stage.kube, at, "to be staged", |o| o["status"]["staged"][0]["revision"] == revision)
}

pub fn wait_active(stage: &Stage, at: &Path, revision: i64) -> Value {
    wait_for_object(&stage.kube, at, "to be active", |o| {
        o["status"]["active"]["revision"] == revision && o["status"]["staged"].is_null()
    })
}

#[test]
fn a_person_looks_approves_and_goes_back() {
    let mut stage = Stage::self_signed("approve");
    let (at, before) = stage.issued("mail", "self", json!({}));
    let manual = json!({"activation": {"mode": "Manual"}, "dnsNames": ["mail.example.com", "imap.example.com"]});
    stage.kube.patch(&at, &json!({"spec": manual})).unwrap();
    let staged = wait_staged(&stage, &at, 2);
    assert_eq!(staged["status"]["gates"][0]["type"], "Approved");
    assert_eq!(condition(&staged, "Staged").unwrap().1, "GateUnmet");
    assert_eq!(data(&stage.secret("mail-tls")), data(&before), "nothing has changed for the pods");
    assert_eq!(stage.revisions("mail").len(), 1);

    let plan = mailcert(&stage, &["plan", "mail"]).unwrap();
    for line in [
        "active: revision 1: mail.example.com; ECDSA P-256; valid until ",
        "staged: revision 2: imap.example.com, mail.example.com; ECDSA P-256; valid until ",
        "  it adds imap.example.com",
        "wanted: NamesChanged: the certificate lacks imap.example.com",
        "gate: Approved: waits for approval: kubectl mailcert approve mail",
        "next: nothing",
    ] {
        assert!(plan.lines().any(|l| l.starts_with(line)), "{line}\n{plan}");
    }
    // A killed operator goes on waiting.
    stage.operator.restart();
    let complaint = mailcert(&stage, &["approve", "mail", "--revision", "7"]).unwrap_err();
    assert_eq!(complaint, "mailcert: MailCertificate mail has revision 2 staged, not 7\n");
    mailcert(&stage, &["approve", "mail"]).unwrap();
    wait_active(&stage, &at, 2);
    wait_ready(&stage.kube, &at);
    let approved = wait_for("the Event", || {
        events(&stage.kube, &stage.ns, "mail")
            .into_iter()
            .find(|(_, reason, note)| reason == "Issued" && note.contains("approved by"))
    });
    assert!(!approved.2.ends_with("approved by "), "{}", approved.2);
    let after = mailcert(&stage, &["plan", "mail"]).unwrap();
    assert!(after.contains("wanted: what is active\n") && after.contains("next: nothing\n"), "{after}");

    // And back, with the old certificate as it was.
    stage.kube.patch(&at, &json!({"spec": {"dnsNames": ["mail.example.com"]}})).unwrap();
    wait_staged(&stage, &at, 3);
    mailcert(&stage, &["rollback", "mail", "--to", "1"]).unwrap();
    wait_active(&stage, &at, 1);
    assert_eq!(data(&stage.secret("mail-tls")), data(&before));
    let history = mailcert(&stage, &["history", "mail"]).unwrap();
    let states: Vec<Vec<&str>> = history.lines().map(|l| l.split_whitespace().take(3).collect()).collect();
    assert!(states.contains(&vec!["2", "Failed", "NamesChanged"]), "{history}");
    assert!(states.contains(&vec!["1", "Active", "RollbackRequested"]), "{history}");
}

/// Whether a field manager owns the condition, by server-side apply or otherwise.
fn owns(object: &Value, manager: &str, type_: &str) -> bool {
    let entry = format!("k:{{\"type\":\"{type_}\"}}");
    let all = object["metadata"]["managedFields"].as_array().unwrap();
    let mut own = all.iter().filter(|m| m["manager"] == manager);
    own.any(|m| m["fieldsV1"]["f:status"]["f:conditions"].get(&entry).is_some())
}

#[test]
fn a_condition_of_another_controller_is_a_gate_and_stays_its_own() {
    const REVIEWED: &str = "example.com/Reviewed";
    let stage = Stage::self_signed("reviewed");
    let (at, _) = stage.issued("mail", "self", json!({}));
    stage.kube.patch(&at, &json!({"spec": {"activation": {"gates": [REVIEWED]}}})).unwrap();
    // As a controller does that forces nothing: where somebody else owned what it sets, it would be refused.
    let apply = |conditions: Value| {
        let status = json!({"conditions": conditions});
        let object = json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate",
            "metadata": {"name": "mail", "namespace": stage.ns}, "status": status});
        stage.kube.apply_status(&at, "review-board", &object).unwrap()
    };
    let reviewed = |status: &str, message: &str| {
        apply(json!([{"type": REVIEWED, "status": status, "reason": "Board", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]))
    };
    let is_its_own = |object: &Value| {
        assert!(owns(object, "review-board", REVIEWED), "{:#}", object["metadata"]["managedFields"]);
        assert!(!owns(object, "mailcert", REVIEWED), "{:#}", object["metadata"]["managedFields"]);
        assert!(owns(object, "mailcert", "Ready"), "{:#}", object["metadata"]["managedFields"]);
    };
    stage.kube.annotate(&at, "mailcert.dev/renew", "1");
    wait_staged(&stage, &at, 2);
    reviewed("False", "");
    let waits = wait_for_object(&stage.kube, &at, "to say why", |o| {
        o["status"]["gates"][0]["message"] == "the condition example.com/Reviewed is False (Board)"
    });
    is_its_own(&waits);
    reviewed("True", "");
    is_its_own(&wait_active(&stage, &at, 2));
    // While the operator writes the status, too, nothing that the other one says is lost.
    for n in 2..6 {
        stage.kube.annotate(&at, "mailcert.dev/renew", &n.to_string());
        for word in 0..5 {
            reviewed("True", &format!("{n} {word}"));
        }
        let renewed = stage.wait_renewed(&at, &n.to_string());
        assert_eq!(condition(&renewed, REVIEWED).unwrap(), ("True", "Board", format!("{n} 4").as_str()));
        is_its_own(&renewed);
    }
    // What its owner no longer applies is gone, and not brought back.
    apply(json!([]));
    stage.kube.annotate(&at, "mailcert.dev/renew", "6");
    let waits = wait_for_object(&stage.kube, &at, "to wait for a condition that nobody sets", |o| {
        o["status"]["gates"][0]["message"]
            == "no controller has set the condition example.com/Reviewed in status.conditions"
    });
    assert_eq!(condition(&waits, REVIEWED), None);
}

#[test]
fn a_window_that_is_shut_holds_a_revision_back() {
    let stage = Stage::self_signed("window");
    let (at, _) = stage.issued("mail", "self", json!({}));
    // The 29th of February comes once in four years.
    let shut = json!({"windows": [{"cron": "0 2 29 2 *", "duration": "1h", "timeZone": "Europe/Berlin"}]});
    stage.kube.patch(&at, &json!({"spec": {"activation": shut}})).unwrap();
    stage.kube.annotate(&at, "mailcert.dev/renew", "1");
    let staged = wait_staged(&stage, &at, 2);
    let gate = &staged["status"]["gates"][0];
    assert_eq!(gate["type"], "MaintenanceWindow");
    assert!(
        gate["message"].as_str().unwrap().starts_with("no maintenance window is open; the next one opens at "),
        "{gate}"
    );
    let open = json!({"windows": [{"cron": "* * * * *", "duration": "1h"}]});
    stage.kube.patch(&at, &json!({"spec": {"activation": open}})).unwrap();
    wait_active(&stage, &at, 2);

    let wrong = |spec: Value| stage.kube.patch(&at, &json!({"spec": {"activation": spec}})).unwrap_err();
    for (spec, complaint) in [
        (json!({"windows": null, "gates": ["MaintenanceWindow"]}), "the gate MaintenanceWindow needs windows"),
        (json!({"gates": ["Drained"]}), "the gate Drained needs drained"),
        (json!({"confirm": {"http": {"url": "http://a.example/"}}}), "confirm needs publish"),
        (json!({"publish": {}}), "exactly one of http and job must be set"),
        (json!({"windows": [{"cron": "every night", "duration": "1h"}]}), "should match"),
        (json!({"windows": [{"cron": "0 2 * * *", "duration": "1s"}]}), "duration must be between 1m and 168h"),
        (json!({"deadline": "1s"}), "deadline must be between 10s and 720h"),
    ] {
        let said = wrong(spec.clone());
        assert!(said.contains(complaint), "{spec}: {said}");
    }
}
