use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use serde_json::{Value, json};

use super::fixtures::*;
use crate::api::domain::{RolloutState, WorkloadKind};
use crate::decide::domain::decide;
use crate::decide::domain::world::{Action, Progress, WorkloadFound, WorkloadView, World};

fn progress(view: WorkloadView) -> Progress {
    match view.found {
        WorkloadFound::Found(found) => found.progress,
        WorkloadFound::NotFound => panic!("not found"),
    }
}

fn object(spec: Value, status: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({});
    spec["serviceName"] = json!("x");
    spec["template"] = json!({"metadata": {"annotations": {"mailcert.dev/certificate": "abc"}}});
    let metadata = json!({"name": "x", "generation": 4, "annotations": {"deployment.kubernetes.io/revision": "9"}});
    json!({"metadata": metadata, "spec": spec, "status": status})
}

fn rolling(text: &str) -> Progress {
    Progress::RollingOut(text.to_owned())
}

fn failed(text: &str) -> Progress {
    Progress::Failed(text.to_owned())
}

fn blocked(text: &str) -> Progress {
    Progress::Blocked(text.to_owned())
}

#[test]
fn deployments() {
    let deadline = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
        "message": "ReplicaSet \"x-1\" has timed out progressing."}]);
    for (spec, status, wanted) in [
        (
            json!({"replicas": 2}),
            json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
            rolling("its change has not been taken up yet"),
        ),
        (
            json!({"replicas": 2}),
            json!({"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
            Progress::RolledOut,
        ),
        (json!({"replicas": 0}), json!({"observedGeneration": 4}), Progress::RolledOut),
        (
            json!({"replicas": 2}),
            json!({"observedGeneration": 4, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}),
            rolling("1 of 2 pods are updated"),
        ),
        (
            json!({"replicas": 2}),
            json!({"observedGeneration": 4, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}),
            rolling("1 old pods are still to be stopped"),
        ),
        (
            json!({"replicas": 2}),
            json!({"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}),
            rolling("1 of 2 updated pods are available"),
        ),
        (
            json!({}),
            json!({"observedGeneration": 4, "replicas": 2, "updatedReplicas": 1, "conditions": deadline}),
            failed(
                "its pods do not become available: ReplicaSet \"x-1\" has timed out progressing.; \
                    see its pods' events and logs",
            ),
        ),
        (
            json!({"paused": true}),
            json!({"observedGeneration": 4, "replicas": 1, "availableReplicas": 1}),
            blocked("it is paused; resume it (kubectl rollout resume)"),
        ),
    ] {
        let object: Deployment = serde_json::from_value(object(spec, status.clone())).unwrap();
        assert_eq!(progress(WorkloadView::of_deployment(&object)), wanted, "{status}");
    }
}

#[test]
fn stateful_sets() {
    let on_delete = "its update strategy is OnDelete: delete its pods yourself, or set the strategy to RollingUpdate";
    let partition = "its partition 2 keeps 2 of 3 pods on the old template; \
                     set spec.updateStrategy.rollingUpdate.partition to 0";
    let at = |updated: i32, ready: i32, update: &str| {
        json!({"observedGeneration": 4, "replicas": 3, "updatedReplicas": updated, "readyReplicas": ready,
            "currentRevision": "a", "updateRevision": update})
    };
    let partitioned = json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}});
    let by_hand = json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}});
    for (spec, status, wanted) in [
        (json!({"replicas": 3}), at(3, 3, "a"), Progress::RolledOut),
        (json!({"replicas": 3}), at(1, 3, "b"), rolling("1 of 3 pods are updated")),
        (json!({"replicas": 3}), at(1, 2, "b"), rolling("2 of 3 pods are ready")),
        (json!({"replicas": 0}), json!({"observedGeneration": 4, "replicas": 0}), Progress::RolledOut),
        (partitioned.clone(), at(0, 3, "b"), rolling("0 of 3 pods are updated")),
        (partitioned.clone(), at(1, 3, "b"), blocked(partition)),
        (partitioned, at(3, 3, "a"), Progress::RolledOut),
        (by_hand.clone(), at(2, 3, "b"), blocked(on_delete)),
        (by_hand, at(3, 3, "b"), Progress::RolledOut),
    ] {
        let object: StatefulSet = serde_json::from_value(object(spec, status.clone())).unwrap();
        assert_eq!(progress(WorkloadView::of_stateful_set(&object)), wanted, "{status}");
    }
}

#[test]
fn daemon_sets() {
    let at = |updated: i32, available: i32| {
        json!({"observedGeneration": 4, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0,
            "numberReady": 3, "updatedNumberScheduled": updated, "numberAvailable": available})
    };
    let on_delete = "its update strategy is OnDelete: delete its pods yourself, or set the strategy to RollingUpdate";
    for (spec, status, wanted) in [
        (json!({}), at(3, 3), Progress::RolledOut),
        (json!({}), at(1, 3), rolling("1 of 3 pods are updated")),
        (json!({}), at(3, 1), rolling("1 of 3 pods are available")),
        (json!({"updateStrategy": {"type": "OnDelete"}}), at(1, 3), blocked(on_delete)),
    ] {
        let object: DaemonSet = serde_json::from_value(object(spec, status.clone())).unwrap();
        assert_eq!(progress(WorkloadView::of_daemon_set(&object)), wanted, "{status}");
    }
}

#[test]
fn the_pod_template_is_read() {
    let object: Deployment = serde_json::from_value(object(json!({}), json!({"observedGeneration": 4}))).unwrap();
    let view = WorkloadView::of_deployment(&object);
    let WorkloadFound::Found(found) = view.found else { panic!("not found") };
    assert_eq!((found.annotation.as_deref(), found.template.as_str()), (Some("abc"), "9"));
}

fn rolls(world: &World) -> Vec<(String, String)> {
    let roll = |action| match action {
        Action::Roll { name, value, .. } => Some((name, value)),
        _ => None,
    };
    decide(world).actions.into_iter().filter_map(roll).collect()
}

#[test]
fn only_what_does_not_name_the_active_certificate_is_restarted() {
    let mut world = world(domain(json!({})));
    let active = print(&SECOND);
    world.workloads = vec![
        workload("current", Some(&active), Progress::RolledOut),
        workload("old", Some(&print(&FIRST)), Progress::RolledOut),
        workload("new", None, Progress::RolledOut),
        WorkloadView::not_found(WorkloadKind::StatefulSet, "gone"),
    ];
    assert_eq!(rolls(&world), [("old".to_owned(), active.clone()), ("new".to_owned(), active)]);
    let mut forbidden = world.clone();
    forbidden.forbidden = Some("make RoleBinding x".to_owned());
    assert_eq!(rolls(&forbidden), []);
}

#[test]
fn mail_domains_that_share_a_workload_want_the_same() {
    let mut world = world(domain(json!({})));
    let mut shared = workload("shared", None, Progress::RolledOut);
    shared.shared = [print(&FIRST), print(&SECOND), "00".to_owned()].map(|p| sharer("z", &p)).into();
    shared.shared.iter_mut().for_each(|s| s.created = Some(NOW));
    world.workloads = vec![shared];
    let mut all = ["00".to_owned(), print(&FIRST), print(&SECOND)];
    all.sort();
    assert_eq!(rolls(&world), [("shared".to_owned(), all.join(","))]);
}

#[test]
fn nothing_is_restarted_for_an_expired_certificate() {
    let mut world = world(domain(json!({})));
    world.workloads = vec![workload("postfix", None, Progress::RolledOut)];
    assert_eq!(rolls(&world).len(), 1);
    world.now = NOW + hours(2160);
    assert_eq!(rolls(&world), []);
    let status = decide(&world).status;
    let why = "False RolloutFailed: Deployment/postfix: it is not restarted for a certificate that is not valid now";
    assert_eq!(said(&status, "RolledOut"), why);
}

#[test]
fn one_restart_in_a_pass_even_when_somebody_undoes_it() {
    let mut world = world(domain(json!({})));
    world.workloads = vec![workload("postfix", None, Progress::RolledOut)];
    world.learn(crate::decide::domain::Fact::Rolled(workload("postfix", None, Progress::RolledOut)));
    assert_eq!(rolls(&world), []);
}

#[test]
fn what_a_workload_had_to_wait_for_does_not_count_as_its_time() {
    let mut world = world(domain(json!({"rollout": {"windows": [{"cron": "0 2 * * *", "duration": "1h"}]}})));
    change(&mut world, |c| c.status.as_mut().unwrap().previous[0].not_after.0 = NOW + hours(1000));
    world.workloads = vec![workload("postfix", Some(&print(&FIRST)), Progress::RolledOut)];
    let mut since = |progress: Progress, annotation: &str, at: i64| {
        world.now = NOW + hours(at);
        world.workloads = vec![workload("postfix", Some(annotation), progress)];
        let status = decide(&world).status;
        std::sync::Arc::make_mut(&mut world.object).status = Some(status.clone());
        let one = &status.workloads[0];
        (one.state, one.since.as_ref().map(|t| t.0))
    };
    let (old, new) = (print(&FIRST), print(&SECOND));
    assert_eq!(since(Progress::RolledOut, &old, 0), (RolloutState::Waiting, Some(NOW)));
    assert_eq!(since(Progress::RolledOut, &old, 1), (RolloutState::Waiting, Some(NOW)), "nothing is written meanwhile");
    assert_eq!(since(Progress::RolledOut, &old, 2), (RolloutState::RollingOut, Some(NOW + hours(2))));
    assert_eq!(since(rolling("0 of 1"), &new, 3), (RolloutState::RollingOut, Some(NOW + hours(2))));
    assert_eq!(since(blocked("it is paused"), &new, 4), (RolloutState::Blocked, Some(NOW + hours(2))));
    assert_eq!(since(rolling("0 of 1"), &new, 5), (RolloutState::RollingOut, Some(NOW + hours(5))));
    assert_eq!(since(Progress::RolledOut, &new, 6), (RolloutState::RolledOut, Some(NOW + hours(5))));
}
