//! Order, windows, how many at once, disruption budgets; and MailDomains that share a workload.

use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::fixtures::*;
use crate::api::domain::{MailDomainStatus, RolloutState, WorkloadStatus};
use crate::decide::domain::decide;
use crate::decide::domain::world::{Action, BudgetView, Budgets, Pods, Progress, World};

pub fn rolls(world: &World) -> Vec<String> {
    let roll = |action| if let Action::Roll { name, .. } = action { Some(name) } else { None };
    decide(world).actions.into_iter().filter_map(roll).collect()
}

pub fn told(status: &MailDomainStatus) -> Vec<String> {
    let one =
        |w: &WorkloadStatus| format!("{} {:?}: {}", w.workload, w.state, w.message.as_deref().unwrap_or_default());
    status.workloads.iter().map(one).collect()
}

/// Three workloads that serve the certificate before.
pub fn three(rollout: Value) -> World {
    let mut world = world(domain(json!({"rollout": rollout})));
    let old = Some(print(&FIRST));
    world.workloads = ["a", "b", "c"].map(|n| workload(n, old.as_deref(), Progress::RolledOut)).into();
    // What is replaced has most of its life before it.
    let status = |c: &mut crate::api::MailCertificate| {
        let previous = &mut c.status.as_mut().unwrap().previous[0];
        previous.not_after.0 = NOW + hours(1000);
    };
    change(&mut world, status);
    world
}

#[test]
fn the_order_is_kept_and_those_without_a_place_come_last() {
    let mut world = three(json!({"order": ["c", "Deployment/a"]}));
    assert_eq!(rolls(&world), ["c"]);
    let shown = told(&decide(&world).status);
    assert_eq!(shown[0], "Deployment/a Waiting: waits for Deployment/c, which is before it in spec.rollout.order");
    assert_eq!(shown[1], "Deployment/b Waiting: waits for Deployment/c, which is before it in spec.rollout.order");
    let new = print(&SECOND);
    world.workloads[2] = workload("c", Some(&new), Progress::RollingOut("0 of 1 pods are updated".to_owned()));
    assert_eq!(rolls(&world), Vec::<String>::new());
    world.workloads[2] = workload("c", Some(&new), Progress::Failed("it is paused".to_owned()));
    assert_eq!(rolls(&world), Vec::<String>::new(), "what failed is not gone past");
    world.workloads[2] = workload("c", Some(&new), Progress::RolledOut);
    assert_eq!(rolls(&world), ["a"]);
    world.workloads[0] = workload("a", Some(&new), Progress::RolledOut);
    assert_eq!(rolls(&world), ["b"]);
    let waiting = three(json!({"order": ["d"]}));
    let finding = &decide(&waiting).status.findings[0];
    let words = "spec.rollout.order names d, which is none of spec.workloads; correct it";
    assert_eq!((finding.reason.as_str(), finding.message.as_str()), ("OrderUnknown", words));
}

#[test]
fn as_many_as_may_be_are_restarted_at_once() {
    let mut world = three(json!({"maxConcurrent": 2}));
    assert_eq!(rolls(&world), ["a", "b"]);
    let words = "Deployment/c Waiting: waits for its turn: spec.rollout.maxConcurrent is 2";
    assert_eq!(told(&decide(&world).status)[2], words);
    let new = print(&SECOND);
    world.workloads[0] = workload("a", Some(&new), Progress::RollingOut("0 of 1 pods are updated".to_owned()));
    assert_eq!(rolls(&world), ["b"]);
    // One that failed does not keep the others from their turn.
    world.workloads[0] = workload("a", Some(&new), Progress::Failed("it is paused".to_owned()));
    assert_eq!(rolls(&world), ["b", "c"]);
}

#[test]
fn windows_are_waited_for_unless_the_old_certificate_cannot_wait() {
    // NOW is midnight, UTC.
    let windows = json!({"windows": [{"cron": "0 2 * * *", "duration": "1h"}]});
    let mut world = three(windows);
    let decision = decide(&world);
    assert_eq!(rolls(&world), Vec::<String>::new());
    let line = "Deployment/a Waiting: waits for the next of spec.rollout.windows, at 2026-06-01T02:00:00Z";
    assert_eq!(told(&decision.status)[0], line);
    assert!(said(&decision.status, "RolledOut").starts_with("False RolloutWaiting: Deployment/a: waits"));
    world.looks.clear();
    assert!(decision.wake.is_some_and(|at| at <= NOW + hours(2)));
    let mut open = world.clone();
    open.now = NOW + hours(2);
    assert_eq!(rolls(&open), ["a", "b", "c"]);
    // A tenth of its life is left.
    let mut late = world.clone();
    change(&mut late, |c| {
        let previous = &mut c.status.as_mut().unwrap().previous[0];
        (previous.not_before.0, previous.not_after.0) = (NOW - hours(91), NOW + hours(9));
    });
    let mut none = world.clone();
    change(&mut none, |c| c.status.as_mut().unwrap().previous.clear());
    std::sync::Arc::make_mut(&mut none.object).spec.endpoints.clear();
    let mut back = world.clone();
    change(&mut back, |c| c.status.as_mut().unwrap().previous[0].revision = 3);
    for (what, world) in [("almost expired", late), ("not known", none), ("rolled back", back)] {
        assert_eq!(rolls(&world), ["a", "b", "c"], "{what}");
    }
    let wrong = three(json!({"windows": [{"cron": "0 25 * * *", "duration": "1h"}]}));
    assert_eq!(rolls(&wrong), Vec::<String>::new());
    assert!(told(&decide(&wrong).status)[0].starts_with("Deployment/a Waiting: spec.rollout.windows[0]: "));
}

#[test]
fn what_is_held_back_serves_the_certificate_before_and_that_is_no_problem() {
    let mut world = three(json!({"windows": [{"cron": "0 2 * * *", "duration": "1h"}]}));
    world.now = NOW + SignedDuration::from_secs(1);
    let (_, decision) = Outside::serving(&FIRST).pass(&mut world);
    let words = "Unknown NotProbed: 2 endpoints still serve the certificate before: its rollout is held back";
    assert_eq!(said(&decision.status, "Served"), words);
    assert!(said(&decision.status, "Ready").starts_with("False RolloutWaiting"));
}

#[test]
fn a_disruption_budget_is_waited_for_where_pods_would_be_taken_away() {
    let mut world = three(json!({"disruptionBudgets": "Respect"}));
    let budget = |allowed| BudgetView {
        name: "mail".to_owned(),
        selector: Some(serde_json::from_value(json!({"matchLabels": {"app": "mail"}})).unwrap()),
        allowed,
    };
    found(&mut world.workloads[1]).labels = [("app".to_owned(), "web".to_owned())].into();
    found(&mut world.workloads[2]).takes_away = false;
    world.budgets = Budgets::Listed(vec![budget(0)]);
    let decision = decide(&world);
    assert_eq!(rolls(&world), ["b", "c"]);
    let words = "Deployment/a Waiting: waits until PodDisruptionBudget mail allows a disruption";
    assert_eq!(told(&decision.status)[0], words);
    assert_eq!(decision.wake, Some(NOW + SignedDuration::from_secs(15)));
    world.budgets = Budgets::Listed(vec![budget(1)]);
    assert_eq!(rolls(&world), ["a", "b", "c"]);
    world.budgets = Budgets::Forbidden("set the chart value rollout.disruptionBudgets.enabled".to_owned());
    assert_eq!(rolls(&world), ["c"]);
}

/// `a` is shared with an older MailDomain `older`.
pub fn shared(own: Value, theirs: Value) -> World {
    let mut world = world(domain(json!({})));
    let mut view = workload("a", None, Progress::RolledOut);
    view.reloads = serde_json::from_value(own).unwrap();
    view.pods = Pods::Listed(vec![pod("a-1")]);
    let mut older = sharer("older", &print(&FIRST));
    older.reloads = serde_json::from_value(theirs).unwrap();
    view.shared = vec![older];
    world.workloads = vec![view];
    let mut object = world.object.as_ref().clone();
    object.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(NOW - hours(5)));
    world.object = std::sync::Arc::new(object);
    world
}

#[test]
fn the_oldest_of_those_that_share_a_workload_sees_to_it() {
    let restart = json!([{"restart": {}}]);
    let mut world = shared(restart.clone(), restart.clone());
    assert_eq!(rolls(&world), Vec::<String>::new());
    let words = "Deployment/a RollingOut: MailDomain older, the oldest of those that name it, sees to it";
    assert_eq!(told(&decide(&world).status), [words]);
    assert_eq!(decide(&world).status.findings, []);
    // What it says of the same certificates is said here as well.
    let mut value = [print(&FIRST), print(&SECOND)];
    value.sort();
    world.workloads[0].shared[0].status = Some(WorkloadStatus {
        workload: "Deployment/a".to_owned(),
        state: RolloutState::Waiting,
        message: Some("waits".to_owned()),
        certificate: Some(value.join(",")),
        since: None,
        pods: vec![],
    });
    assert_eq!(told(&decide(&world).status), ["Deployment/a Waiting: waits"]);
    found(&mut world.workloads[0]).annotation = Some(value.join(","));
    assert_eq!(told(&decide(&world).status), ["Deployment/a RolledOut: "]);
    // The other way round, this one sees to it, for both certificates, and even when its own is not valid.
    world.workloads[0].shared[0].created = Some(NOW);
    found(&mut world.workloads[0]).annotation = None;
    assert_eq!(rolls(&world), ["a"]);
    change(&mut world, |c| c.status.as_mut().unwrap().active.as_mut().unwrap().not_after.0 = NOW - hours(1));
    assert_eq!(rolls(&world), ["a"]);
    world.workloads[0].shared[0].valid.1 = NOW - hours(1);
    assert_eq!(rolls(&world), Vec::<String>::new());
}

#[test]
fn different_wishes_for_one_workload_are_said_on_both() {
    let (restart, exec) = (json!([{"restart": {}}]), json!([{"preset": "postfix"}]));
    let words = |status: &MailDomainStatus| {
        let one = |f: &crate::api::certificate::Finding| format!("{} {}: {}", f.reason, f.about, f.message);
        status.findings.iter().map(one).collect::<Vec<_>>()
    };
    let world = shared(exec.clone(), restart.clone());
    let younger = "ReloadConflict Deployment/a: MailDomain older wants another reload for it: that of MailDomain older, \
                   the oldest of those that name it, is followed; make them the same";
    assert_eq!(words(&decide(&world).status), [younger]);
    let mut world = shared(exec, restart);
    world.workloads[0].shared[0].created = Some(NOW);
    world.workloads[0].shared[0].rollout.order = vec!["b".to_owned()];
    let older = |what: &str, word: &str| {
        format!(
            "{word} Deployment/a: MailDomain older wants another {what} for it: that of MailDomain example-com, the \
             oldest of those that name it, is followed; make them the same"
        )
    };
    let both = [older("reload", "ReloadConflict"), older("rollout", "RolloutConflict")];
    assert_eq!(words(&decide(&world).status), both);
}

#[test]
fn pods_that_serve_two_certificates_wait_for_both() {
    let exec = json!([{"preset": "postfix"}]);
    let mut world = shared(exec.clone(), exec);
    world.workloads[0].shared[0].created = Some(NOW);
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    let mut second = pods[0].uses[0].clone();
    second.secret = "older-tls".to_owned();
    pods[0].uses.push(second);
    let (actions, decision) = Outside::serving(&SECOND).pass(&mut world);
    let reads = actions.iter().filter(|a| matches!(a, Action::Read { .. })).count();
    assert_eq!(reads, 2);
    let words = "Deployment/a RollingOut: the kubelet has not brought Secret older-tls into pod a-1 yet";
    assert_eq!(told(&decision.status), [words]);
}
