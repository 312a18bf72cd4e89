//! Restarts of workloads. No pod runs here: a rollout of no pods is over at once, and one of some never ends.

use serde_json::{Value, json};

use crate::common::{
    Operator, Path, cluster, condition, version, wait_condition, wait_for, wait_for_object, wait_ready,
};
use crate::scene::{Scene, fingerprint, message};

fn annotation(workload: &Value) -> Option<&str> {
    workload["spec"]["template"]["metadata"]["annotations"]["mailcert.dev/certificate"].as_str()
}

/// The entry of `status.workloads`: state and message.
fn state(domain: &Value, workload: &str) -> (String, String) {
    let entries = domain["status"]["workloads"].as_array().unwrap();
    let entry = entries.iter().find(|e| e["workload"] == workload).unwrap_or_else(|| panic!("{domain:#}"));
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("message"))
}

/// Waits until the controllers have taken up the workload as it is now.
fn observed(scene: &Scene, at: &Path) -> Value {
    wait_for_object(&scene.kube, at, "to be observed", |object| {
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
    })
}

#[test]
fn every_workload_is_restarted_once_for_each_certificate_and_not_by_a_restarted_operator() {
    let scene = Scene::new("once");
    let mut operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let kinds = ["Deployment", "StatefulSet", "DaemonSet"];
    let mut workloads = Vec::new();
    let mut named = Vec::new();
    for kind in kinds {
        workloads.push(scene.workload(kind, "named", json!({}), json!({})));
        workloads.push(scene.workload(kind, "selected", json!({"part-of": "mail"}), json!({})));
        named.push(json!({"kind": kind, "name": "named"}));
        named.push(json!({"kind": kind, "selector": {"matchLabels": {"part-of": "mail"}}}));
    }
    // Selected twice is restarted once; what is not named is not touched.
    named.push(json!({"kind": "Deployment", "name": "selected"}));
    let bystander = scene.workload("Deployment", "bystander", json!({"part-of": "web"}), json!({}));
    let at = scene.domain("mail", json!({"workloads": named}));
    let domain = wait_ready(&scene.kube, &at);
    assert_eq!(message(&domain, "RolledOut"), "6 workloads run with revision 1");
    let first = fingerprint(&scene.kube.get(&scene.at_certificate("mail")).unwrap());
    for workload in &workloads {
        let object = observed(&scene, workload);
        assert_eq!((annotation(&object), &object["metadata"]["generation"]), (Some(&*first), &json!(2)), "{workload}");
    }

    let second = scene.renew("mail");
    let speaks = |object: &Value| {
        condition(object, "RolledOut").is_some_and(|(_, _, text)| text == "6 workloads run with revision 2")
    };
    wait_for_object(&scene.kube, &at, "to say that all run with revision 2", speaks);
    let mut before = Vec::new();
    for workload in &workloads {
        let object = observed(&scene, workload);
        assert_eq!((annotation(&object), &object["metadata"]["generation"]), (Some(&*second), &json!(3)), "{workload}");
        before.push(object);
    }
    operator.restart();
    wait_for("a pass over the domain", || {
        let passes = operator.metric("mailcert_reconcile_duration_seconds_count", &["kind=\"MailDomain\""]);
        (passes >= 1.0).then_some(())
    });
    for (workload, before) in workloads.iter().zip(&before) {
        let now = scene.kube.get(workload).unwrap();
        assert_eq!(
            (&now["metadata"]["generation"], version(&now)),
            (&before["metadata"]["generation"], version(before))
        );
    }
    assert_eq!(operator.writes(), 0.0, "{}", operator.log());
    assert_eq!(annotation(&scene.kube.get(&bystander).unwrap()), None);
}

#[test]
fn a_workload_that_is_missing_is_said_and_taken_up_when_it_comes() {
    let scene = Scene::new("missing");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let selector = json!({"matchLabels": {"part-of": "mail"}});
    let named = json!([{"kind": "Deployment", "name": "postfix"}, {"kind": "StatefulSet", "selector": selector}]);
    let at = scene.domain("mail", json!({"workloads": named}));
    let domain = wait_condition(&scene.kube, &at, "RolledOut", "False", "WorkloadNotFound");
    let words = "there is no Deployment \"postfix\" in this namespace; make it, or correct spec.workloads";
    assert_eq!(state(&domain, "Deployment/postfix"), ("NotFound".to_owned(), words.to_owned()));
    assert_eq!(state(&domain, "StatefulSet/part-of=mail").0, "NotFound");
    assert_eq!(condition(&domain, "Ready").unwrap().1, "WorkloadNotFound");
    scene.workload("Deployment", "postfix", json!({}), json!({}));
    scene.workload("StatefulSet", "dovecot", json!({"part-of": "mail"}), json!({}));
    let domain = wait_ready(&scene.kube, &at);
    assert_eq!(state(&domain, "StatefulSet/dovecot"), ("RolledOut".to_owned(), String::new()));
}

#[test]
fn rollouts_that_need_a_person_say_what_to_do() {
    let scene = Scene::new("stuck");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let cases = [
        ("Deployment", "crashes", json!({"replicas": 1, "progressDeadlineSeconds": 1})),
        ("Deployment", "paused", json!({"replicas": 1, "paused": true})),
        ("StatefulSet", "by-hand", json!({"replicas": 1, "updateStrategy": {"type": "OnDelete"}})),
        ("StatefulSet", "slow", json!({"replicas": 1})),
    ];
    let mut named = Vec::new();
    for (kind, name, more) in cases {
        let at = scene.workload(kind, name, json!({}), more);
        observed(&scene, &at);
        named.push(json!({"kind": kind, "name": name}));
    }
    let at = scene.domain("mail", json!({"workloads": named}));
    let domain = wait_for_object(&scene.kube, &at, "to say that three restarts failed", |object| {
        let is = |workload: &str, word: &str| state(object, workload).0 == word;
        object["status"]["workloads"].is_array()
            && is("Deployment/crashes", "Failed")
            && ["Deployment/paused", "StatefulSet/by-hand"].iter().all(|w| is(w, "Blocked"))
    });
    let crashes = state(&domain, "Deployment/crashes").1;
    assert!(crashes.starts_with("its pods do not become available: ReplicaSet"), "{crashes}");
    assert!(crashes.ends_with("has timed out progressing.; see its pods' events and logs"), "{crashes}");
    assert_eq!(state(&domain, "Deployment/paused").1, "it is paused; resume it (kubectl rollout resume)");
    let words = "its update strategy is OnDelete: delete its pods yourself, or set the strategy to RollingUpdate";
    assert_eq!(state(&domain, "StatefulSet/by-hand").1, words);
    assert_eq!(state(&domain, "StatefulSet/slow"), ("RollingOut".to_owned(), "0 of 1 pods are ready".to_owned()));
    let (status, reason, text) = condition(&domain, "RolledOut").unwrap();
    assert_eq!((status, reason), ("False", "RolloutFailed"));
    assert!(text.contains("Deployment/paused: it is paused"), "{text}");
    assert_eq!(condition(&domain, "Ready").unwrap().1, "RolloutFailed");

    scene
        .kube
        .patch(&Path::new("deployments.apps", &scene.ns, "paused"), &json!({"spec": {"paused": false, "replicas": 0}}))
        .unwrap();
    wait_for_object(&scene.kube, &at, "to see the rollout go on", |object| {
        state(object, "Deployment/paused").0 == "RolledOut"
    });
}

#[test]
fn domains_that_share_a_workload_agree_on_its_annotation() {
    let scene = Scene::new("shared");
    let operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let workload = scene.workload("Deployment", "postfix", json!({"part-of": "mail"}), json!({}));
    let by_name = json!([{"kind": "Deployment", "name": "postfix"}]);
    let by_label = json!([{"kind": "Deployment", "selector": {"matchLabels": {"part-of": "mail"}}}]);
    let one = scene.domain("one", json!({"workloads": by_name}));
    let two = scene.domain("two", json!({"workloads": by_label}));
    let agreed = |certificates: [&str; 2]| {
        let mut both = certificates.map(|name| fingerprint(&scene.kube.get(&scene.at_certificate(name)).unwrap()));
        both.sort();
        both.join(",")
    };
    wait_ready(&scene.kube, &one);
    wait_ready(&scene.kube, &two);
    let both = agreed(["one", "two"]);
    wait_for_object(&scene.kube, &workload, "to name both certificates", |object| annotation(object) == Some(&both));
    wait_ready(&scene.kube, &one);
    wait_ready(&scene.kube, &two);
    let renewed = scene.renew("two");
    let both = agreed(["one", "two"]);
    assert!(both.contains(&renewed));
    wait_for_object(&scene.kube, &workload, "to name the new one", |object| annotation(object) == Some(&both));
    wait_ready(&scene.kube, &one);
    wait_ready(&scene.kube, &two);

    // Made, marked by one domain, by both, and after the renewal: nobody takes back what the other has written.
    let settled = scene.kube.get(&workload).unwrap();
    assert!(settled["metadata"]["generation"].as_i64().unwrap() <= 4, "{settled:#}");
    assert!(scene.kube.list_in("replicasets.apps", &scene.ns).len() <= 4);
    let writes = operator.metric("mailcert_api_requests_total", &["verb=\"patch\"", "resource=\"deployments\""]);
    assert!(writes <= 5.0, "{writes}");
}
