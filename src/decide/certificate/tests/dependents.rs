//! What the status of a MailDomain tells about a certificate.

use serde_json::{Value, json};

use super::super::world::Dependent;
use crate::api::MailDomain;

/// A MailDomain whose status says this of its workloads.
fn dependent(workloads: &Value) -> Dependent {
    let domain: MailDomain = serde_json::from_value(json!({
        "apiVersion": "mailcert.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": "mail"},
        "spec": {"domain": "example.com", "externalURL": "https://mail.example.com",
            "workloads": [{"kind": "Deployment", "name": "a"}, {"kind": "Deployment", "name": "b"}],
            "certificate": {"ref": {"name": "mail"}}},
        "status": {"workloads": workloads},
    }))
    .unwrap();
    Dependent::of(&domain)
}

fn workload(name: &str, state: &str, since: &str) -> Value {
    json!({"workload": format!("Deployment/{name}"), "state": state, "since": format!("2026-01-01T{since}:00Z"),
        "message": "no"})
}

#[test]
fn they_wait_where_nothing_else_is_under_way() {
    let waits = |a: &str, b: &str| dependent(&json!([workload("a", a, "01:00"), workload("b", b, "02:00")])).waits;
    assert!(waits("Waiting", "Waiting") && waits("RolledOut", "Waiting") && waits("RolledOut", "Blocked"));
    assert!(!waits("RolledOut", "RolledOut"));
    assert!(!waits("RollingOut", "Waiting"), "the first one is late, and the second one waits for it");
    assert!(!waits("Failed", "Waiting"));
}

#[test]
fn what_waits_has_not_begun() {
    let begun = |a: &str, b: &str| {
        let begun = dependent(&json!([workload("a", a, "01:00"), workload("b", b, "02:00")])).begun;
        begun.map(|at| at.to_string())
    };
    assert_eq!(begun("RolledOut", "Waiting").as_deref(), Some("2026-01-01T01:00:00Z"));
    assert_eq!(begun("RolledOut", "RollingOut").as_deref(), Some("2026-01-01T02:00:00Z"));
    assert_eq!(begun("Waiting", "Blocked"), None);
}

#[test]
fn a_reload_has_failed_when_it_was_tried_several_times() {
    let failed = |failures: i32| {
        let mut workload = workload("a", "Failed", "01:00");
        workload["pods"] = json!([
            {"name": "a-0", "uid": "0", "state": "Reloaded", "at": "2026-01-01T01:00:00Z"},
            {"name": "a-1", "uid": "1", "state": "Failed", "failures": failures, "at": "2026-01-01T01:00:00Z"},
        ]);
        dependent(&json!([workload])).rollout_failed
    };
    assert_eq!((failed(1), failed(2)), (None, None));
    assert_eq!(failed(3).as_deref(), Some("Deployment/a: no"));
    let no_pods = dependent(&json!([workload("a", "Failed", "01:00")]));
    assert_eq!(no_pods.rollout_failed.as_deref(), Some("Deployment/a: no"));
    assert_eq!(dependent(&json!([workload("a", "Blocked", "01:00")])).rollout_failed, None);
}
