//! Workloads that wait: for those before them, for a window, and for a disruption budget.

use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::common::{Operator, Path, cluster, condition, wait_for_object};
use crate::scene::{Scene, fingerprint};

/// State and message of a workload.
fn state<'a>(domain: &'a Value, workload: &str) -> (&'a str, &'a str) {
    let all = domain["status"]["workloads"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = all.iter().find(|w| w["workload"] == workload);
    found.map_or(("", ""), |w| (w["state"].as_str().unwrap(), w["message"].as_str().unwrap_or_default()))
}

#[test]
fn workloads_wait_for_their_order_a_window_and_a_budget() {
    let scene = Scene::new("held");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let kube = &scene.kube;
    // Its one pod is taken away before another one is made.
    scene.workload("Deployment", "imap", json!({}), json!({"replicas": 1, "strategy": {"type": "Recreate"}}));
    scene.workload("Deployment", "smtp", json!({}), json!({}));
    let workloads = json!([{"kind": "Deployment", "name": "smtp"}, {"kind": "Deployment", "name": "imap"}]);
    let spec = json!({"workloads": workloads, "rollout": {"order": ["imap", "smtp"]}});
    let at = scene.domain("mail", spec);
    let rollout = |rollout: Value| kube.patch(&at, &json!({"spec": {"rollout": rollout}})).unwrap();
    let rolled_out = |what: &str| {
        let active = fingerprint(&kube.get(&scene.at_certificate("mail")).unwrap());
        wait_for_object(kube, &at, &format!("to be rolled out {what}"), |domain| {
            scene.pods_get_ready();
            let current = domain["status"]["observedGeneration"] == domain["metadata"]["generation"];
            current
                && domain["status"]["certificate"]["fingerprintSHA256"] == active
                && condition(domain, "RolledOut").is_some_and(|c| c.0 == "True")
        });
    };
    wait_for_object(kube, &scene.at_certificate("mail"), "to be issued", |o| o["status"]["active"].is_object());
    rolled_out("first");

    scene.renew("mail");
    let words = "waits for Deployment/imap, which is before it in spec.rollout.order";
    let domain = wait_for_object(kube, &at, "to wait for its turn", |o| {
        state(o, "Deployment/smtp") == ("Waiting", words) && state(o, "Deployment/imap").0 == "RollingOut"
    });
    assert_eq!(condition(&domain, "RolledOut").unwrap().1, "RollingOut");
    rolled_out("in order");

    let hour = (Timestamp::now().to_zoned(TimeZone::UTC).hour() + 12) % 24;
    rollout(json!({"order": null, "windows": [{"cron": format!("0 {hour} * * *"), "duration": "1h"}]}));
    scene.renew("mail");
    let domain = wait_for_object(kube, &at, "to wait for its window", |o| {
        ["Deployment/smtp", "Deployment/imap"].iter().all(|w| state(o, w).0 == "Waiting")
    });
    let message = state(&domain, "Deployment/smtp").1;
    assert!(message.starts_with("waits for the next of spec.rollout.windows, at "), "{message}");
    assert_eq!(condition(&domain, "RolledOut").unwrap().1, "RolloutWaiting");
    rollout(json!({"windows": [{"cron": "* * * * *", "duration": "10m"}]}));
    rolled_out("in its window");

    let budget = |least: i64| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "imap", "namespace": scene.ns},
            "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "imap"}}}})
    };
    kube.create(&budget(1)).unwrap();
    rollout(json!({"windows": null, "disruptionBudgets": "Respect"}));
    scene.renew("mail");
    let words = "waits until PodDisruptionBudget imap allows a disruption";
    wait_for_object(kube, &at, "to wait for the budget, which has none of the other's pods", |o| {
        state(o, "Deployment/imap") == ("Waiting", words) && state(o, "Deployment/smtp").0 == "RolledOut"
    });
    let at_budget = Path::new("poddisruptionbudgets.policy", &scene.ns, "imap");
    kube.patch(&at_budget, &json!({"spec": {"minAvailable": 0}})).unwrap();
    rolled_out("as the budget allows");
}
