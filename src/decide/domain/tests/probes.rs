use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::fixtures::*;
use crate::decide::Decision;
use crate::decide::domain::decide;
use crate::decide::domain::world::{Action, LookFailure, Progress, Sighting, World};

fn probed(actions: &[Action]) -> Vec<&str> {
    fn key(action: &Action) -> Option<&str> {
        match action {
            Action::Probe(target) => Some(target.key.as_str()),
            _ => None,
        }
    }
    actions.iter().filter_map(key).collect()
}

fn secs(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

const BOTH: [&str; 2] = ["IMAPS mail.example.com:993", "SMTP mail.example.com:25"];

#[test]
fn all_due_endpoints_are_looked_at_in_one_round() {
    let mut world = world(domain(json!({})));
    let (actions, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert_eq!(probed(&actions), BOTH);
    assert_eq!(said(&decision.status, "Served"), "True Served: 2 endpoints serve revision 2");
    let first = world.looks.values().next().unwrap();
    assert!(world.looks.values().all(|l| match (&l.found, &first.found) {
        (Sighting::Chain { chain: a, .. }, Sighting::Chain { chain: b, .. }) => std::sync::Arc::ptr_eq(a, b),
        _ => false,
    }));
}

#[test]
fn a_good_endpoint_is_looked_at_again_after_the_interval_give_or_take_a_tenth() {
    let mut world = world(domain(json!({})));
    let (_, decision) = Outside::serving(&SECOND).pass(&mut world);
    let pause = decision.wake.unwrap().duration_since(NOW);
    assert!(pause >= secs(3240) && pause <= secs(3960), "{pause:?}");
    let early = next_pass(&world, decision.status.clone(), pause - secs(1));
    assert_eq!(decide(&early).actions, []);
    let due = next_pass(&world, decision.status, secs(3961));
    assert_eq!(probed(&decide(&due).actions), BOTH);
}

#[test]
fn a_problem_is_looked_at_again_at_growing_intervals() {
    let mut world = world(domain(json!({"endpoints": [{"protocol": "IMAPS"}]})));
    let failure = LookFailure { word: "connection-failed".to_owned(), message: "refused".to_owned() };
    let outside = Outside { endpoints: Err(failure), ..Outside::serving(&SECOND) };
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let (actions, Decision { status, wake, .. }) = outside.pass(&mut world);
        assert_eq!(actions.len(), 1);
        let pause = wake.unwrap().duration_since(world.now);
        pauses.push(pause.as_secs());
        world = next_pass(&world, status, pause);
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600]);
    let (_, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert!(decision.wake.unwrap().duration_since(world.now) > secs(3000), "a success starts afresh");
}

#[test]
fn a_problem_is_never_looked_at_less_often_than_the_interval_says() {
    let mut world = world(domain(json!({"probe": {"interval": "30s"}})));
    let outside = Outside::serving(&FIRST);
    for _ in 0..4 {
        let (_, decision) = outside.pass(&mut world);
        assert!(decision.wake.unwrap().duration_since(world.now) <= secs(30));
        world = next_pass(&world, decision.status, secs(31));
    }
}

#[test]
fn nothing_is_looked_at_while_pods_are_replaced() {
    let mut world = world(domain(json!({})));
    world.workloads = vec![workload("postfix", None, Progress::RolledOut)];
    let outside = Outside::serving(&SECOND);
    let (actions, decision) = outside.pass(&mut world);
    assert!(matches!(actions.as_slice(), [Action::Roll { .. }]));
    assert_eq!(decision.wake, Some(NOW + secs(15)));
    let waiting = "Unknown NotProbed: 0 of 2 endpoints have been looked at since revision 2 became active; \
                   its pods are being replaced or reloaded";
    assert_eq!(said(&decision.status, "Served"), waiting);
    // The rollout ends: all are looked at, once nothing can lead to the pods before it any more.
    let mut done = next_pass(&world, decision.status.clone(), secs(15));
    done.workloads = vec![workload("postfix", Some(&print(&SECOND)), Progress::RolledOut)];
    let (actions, settling) = outside.pass(&mut done);
    assert_eq!((probed(&actions).len(), settling.wake), (0, Some(done.now + secs(3))));
    let mut settled = next_pass(&done, settling.status, secs(3));
    assert_eq!(probed(&outside.pass(&mut settled).0), BOTH);
    // It never ends: after ten minutes they are looked at all the same.
    let patient = next_pass(&world, decision.status.clone(), secs(600));
    assert_eq!(decide(&patient).actions, []);
    let late = next_pass(&world, decision.status, secs(601));
    assert_eq!(probed(&decide(&late).actions), BOTH);
}

#[test]
fn pods_with_another_template_are_looked_at_at_once() {
    let mut before = world(domain(json!({})));
    let (_, decision) = Outside::serving(&SECOND).pass(&mut before);
    let mut world = next_pass(&before, decision.status, secs(5));
    assert_eq!(decide(&world).actions, []);
    let template = &mut found(&mut world.workloads[0]).template;
    *template = "8".to_owned();
    assert_eq!(probed(&decide(&world).actions), BOTH);
}

#[test]
fn another_active_certificate_is_looked_for_at_once() {
    let mut before = world(domain(json!({"workloads": []})));
    let (_, decision) = Outside::serving(&SECOND).pass(&mut before);
    let mut world = next_pass(&before, decision.status, secs(5));
    change(&mut world, |c| c.status.as_mut().unwrap().active = Some(revision(3, &FIRST)));
    assert_eq!(said(&decide(&world).status, "Served").split(':').next(), Some("Unknown NotProbed"));
    assert_eq!(probed(&decide(&world).actions), BOTH);
}

#[test]
fn nothing_is_looked_at_without_a_certificate_or_permission() {
    let mut none = world(domain(json!({})));
    change(&mut none, |c| c.status = None);
    assert_eq!(decide(&none).actions, []);
    assert_eq!(
        said(&decide(&none).status, "Served"),
        "Unknown NotProbed: endpoints are not looked at before there is a certificate"
    );
    let mut forbidden = world(domain(json!({})));
    forbidden.forbidden = Some("make RoleBinding x".to_owned());
    assert_eq!(decide(&forbidden).actions, []);
    assert_eq!(decide(&forbidden).wake, Some(NOW + secs(60)));
}

#[test]
fn a_restarted_operator_keeps_the_verdicts_until_it_has_looked() {
    let mut before = world(domain(json!({})));
    let (_, decision) = Outside::serving(&SECOND).pass(&mut before);
    let mut world = next_pass(&before, decision.status.clone(), secs(60));
    world.looks.clear();
    assert_eq!(decide(&world).status, decision.status);
    let (actions, again) = Outside::serving(&SECOND).pass(&mut world);
    assert_eq!((probed(&actions), again.status), (BOTH.to_vec(), decision.status));
}

#[test]
fn the_time_of_a_verdict_moves_only_with_the_verdict() {
    let mut first = world(domain(json!({"workloads": []})));
    let (_, decision) = Outside::serving(&SECOND).pass(&mut first);
    let mut later = next_pass(&first, decision.status.clone(), hours(2));
    let (actions, same) = Outside::serving(&SECOND).pass(&mut later);
    assert_eq!((actions.len(), &same.status), (2, &decision.status));
    let mut worse = next_pass(&later, same.status, hours(2));
    let status = Outside::serving(&FIRST).pass(&mut worse).1.status;
    assert_eq!(status.endpoints[0].checked_at.as_ref().map(|t| t.0), Some(NOW + hours(4)));
    assert_eq!(status.endpoint_problems.as_deref(), Some("2/2"));
}

#[test]
fn looks_of_endpoints_that_are_gone_are_forgotten() {
    let mut before = world(domain(json!({})));
    let (_, decision) = Outside::serving(&SECOND).pass(&mut before);
    let mut world = next_pass(&before, decision.status, hours(2));
    world.object = domain(json!({"endpoints": [{"protocol": "SMTP"}]})).into();
    let keys = |world: &World| world.looks.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&world), BOTH);
    Outside::serving(&SECOND).pass(&mut world);
    assert_eq!(keys(&world), [BOTH[1]]);
}
