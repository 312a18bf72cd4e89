//! What holds a workload back does so only as long as what its pods serve is good for.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::fixtures::*;
use super::hold::{rolls, shared, three, told};
use crate::api::domain::{MailDomain, WorkloadKind};
use crate::decide::domain::decide;
use crate::decide::domain::world::{Former, Progress, WorkloadView, World};

const CLOSED: &str = "Deployment/a Waiting: waits for the next of spec.rollout.windows, at 2026-06-01T02:00:00Z";

/// NOW is midnight, UTC.
fn windows() -> Value {
    json!([{"cron": "0 2 * * *", "duration": "1h"}])
}

fn minutes(n: i64) -> SignedDuration {
    SignedDuration::from_mins(n)
}

/// What is replaced ends in so many hours, of a hundred: in ten it can wait no longer.
fn ends_in(world: &mut World, left: i64) {
    change(world, |c| {
        let previous = &mut c.status.as_mut().unwrap().previous[0];
        (previous.not_before.0, previous.not_after.0) = (NOW - hours(100 - left), NOW + hours(left));
    });
}

/// `a` of [`three`] is first in the order, and stands so.
fn behind(a: WorkloadView, left: i64) -> World {
    let mut world = three(json!({"order": ["a"], "maxConcurrent": 1}));
    world.workloads[0] = a;
    ends_in(&mut world, left);
    world
}

fn taken_up(progress: Progress) -> WorkloadView {
    workload("a", Some(&print(&SECOND)), progress)
}

#[test]
fn what_does_not_exist_holds_nobody_back() {
    let world = behind(WorkloadView::not_found(WorkloadKind::Deployment, "a"), 50);
    assert_eq!(rolls(&world), ["b"]);
    assert!(told(&decide(&world).status)[0].starts_with("Deployment/a NotFound: "));
}

#[test]
fn what_does_not_get_on_is_gone_past_before_the_old_certificate_ends() {
    let failed = || taken_up(Progress::Failed("it is paused".to_owned()));
    let waits = "Deployment/b Waiting: waits for Deployment/a, which is before it in spec.rollout.order";
    let early = behind(failed(), 50);
    let decision = decide(&early);
    assert_eq!((rolls(&early), told(&decision.status)[1].as_str()), (vec![], waits));
    assert_eq!(decide(&World { looks: Default::default(), ..early.clone() }).wake.map(|at| at > NOW), Some(true));
    assert_eq!(rolls(&behind(failed(), 9)), ["b"], "and one at once");

    let rolling = || taken_up(Progress::RollingOut("0 of 1 pods are ready".to_owned()));
    assert_eq!(rolls(&behind(rolling(), 9)), Vec::<String>::new(), "it may get on");
    let late = behind(rolling(), 5);
    assert_eq!(rolls(&late), Vec::<String>::new(), "it has a moment");
    let mut later = next_pass(&late, decide(&late).status, minutes(11));
    assert_eq!(rolls(&later), ["b", "c"], "what has not got on until then is not waited for, nor counted");
    ends_in(&mut later, 50);
    assert_eq!(rolls(&later), Vec::<String>::new());
    // Nobody has to wait for what has ended.
    assert_eq!(rolls(&behind(rolling(), 0)), ["b", "c"]);
}

#[test]
fn somebody_looks_again_when_it_becomes_urgent() {
    for rollout in [
        json!({"windows": [{"cron": "0 2 1 1 *", "duration": "1h"}]}),
        json!({"order": ["b"]}),
        json!({"windows": [{"cron": "0 25 * * *", "duration": "1h"}]}),
    ] {
        let mut world = three(rollout.clone());
        world.workloads.truncate(2);
        world.workloads[1] = workload("b", Some(&print(&SECOND)), Progress::Failed("it is paused".to_owned()));
        ends_in(&mut world, 11);
        Arc::make_mut(&mut world.object).spec.endpoints.clear();
        let decision = decide(&world);
        assert_eq!((decision.actions.len(), decision.wake), (0, Some(NOW + hours(1))), "{rollout}");
        world = next_pass(&world, decision.status, hours(1));
        assert_eq!(rolls(&world), ["a"], "{rollout}");
    }
}

#[test]
fn whoever_shares_a_workload_can_make_it_urgent() {
    let restart = json!([{"restart": {}}]);
    let mut world = shared(restart.clone(), restart);
    // This one decides, for a younger one, and its own is served already.
    let object = Arc::make_mut(&mut world.object);
    object.spec.rollout = serde_json::from_value(json!({"windows": windows()})).unwrap();
    world.workloads[0].shared[0].created = Some(NOW);
    let (own, old) = (print(&SECOND), "0f".to_owned());
    found(&mut world.workloads[0]).annotation = Some(format!("{old},{own}"));
    let former = |revision, left| Former {
        revision,
        fingerprint: old.clone(),
        valid: (NOW - hours(100 - left), NOW + hours(left)),
    };
    world.workloads[0].shared[0].former = vec![former(1, 50)];
    assert_eq!((rolls(&world), told(&decide(&world).status)), (vec![], vec![CLOSED.to_owned()]));
    for (what, former) in [("ends soon", former(1, 9)), ("has ended", former(1, -9)), ("was taken back", former(3, 50))]
    {
        world.workloads[0].shared[0].former = vec![former];
        assert_eq!(rolls(&world), ["a"], "what is served of the younger one {what}");
    }
    // It helps nobody to load what is not valid either.
    world.workloads[0].shared[0].valid.1 = NOW - hours(1);
    assert_eq!(rolls(&world), Vec::<String>::new());
}

/// A workload that was rolled out for [`FIRST`], of which no revision tells any more.
fn unknown() -> World {
    let mut world = three(json!({"windows": windows()}));
    world.workloads.truncate(1);
    change(&mut world, |c| c.status.as_mut().unwrap().previous.clear());
    world
}

#[test]
fn what_endpoints_serve_tells_how_long_it_can_wait() {
    // FIRST has a day left, of twenty-five hours.
    let mut world = unknown();
    let (_, decision) = Outside::serving(&FIRST).pass(&mut world);
    assert_eq!((told(&decision.status), world.done.rolled.len()), (vec![CLOSED.to_owned()], 0));
    // A restarted operator looks first.
    let mut again = next_pass(&world, decision.status.clone(), minutes(60));
    again.looks.clear();
    let (_, decision) = Outside::serving(&FIRST).pass(&mut again);
    assert_eq!((told(&decision.status), again.done.rolled.len()), (vec![CLOSED.to_owned()], 0));
    // Two and a half hours before its end.
    world = next_pass(&world, decision.status, SignedDuration::from_mins(22 * 60));
    assert_eq!(rolls(&world), ["a"]);

    let mut silent = unknown();
    let refused = crate::decide::domain::world::LookFailure { word: "refused".to_owned(), message: String::new() };
    let (_, _) = Outside { endpoints: Err(refused), ..Outside::serving(&FIRST) }.pass(&mut silent);
    assert_eq!(silent.done.rolled.len(), 1, "nothing is served");

    // Pods that were never rolled out serve what they began with.
    for (what, chain, rolls) in [
        ("good", &*FIRST, 0),
        ("of another CA", &THEIRS.leaf(&[HOST], hours(48)), 1),
        ("about to end", &OURS.leaf(&[HOST], minutes(62)), 1),
    ] {
        let mut world = unknown();
        found(&mut world.workloads[0]).annotation = None;
        Outside::serving(chain).pass(&mut world);
        assert_eq!(world.done.rolled.len(), rolls, "{what}");
    }
}

/// MailDomain `name`, of that age, that names `a` and `b` in this order.
fn of(name: &str, age: i64, order: [&str; 2]) -> MailDomain {
    let workloads = json!([{"kind": "Deployment", "name": "a"}, {"kind": "Deployment", "name": "b"}]);
    let mut domain = domain(json!({"rollout": {"order": order}, "workloads": workloads}));
    domain.metadata.name = Some(name.to_owned());
    domain.metadata.creation_timestamp = Some(Time(NOW - hours(age)));
    domain
}

/// Two MailDomains want the same workloads in different orders: the older one's is kept, and nobody waits for ever.
#[test]
fn two_orders_of_the_same_workloads_come_to_an_end() {
    let domains = [of("older", 9, ["a", "b"]), of("younger", 5, ["b", "a"])];
    let mut worlds: Vec<World> = domains.map(world).into();
    change(&mut worlds[1], |c| {
        c.spec.secret_name = "younger-tls".to_owned();
        c.status.as_mut().unwrap().active = Some(revision(2, &FIRST));
    });
    let prints = [print(&SECOND), print(&FIRST)];
    let mut both = prints.clone();
    both.sort();
    let mut stand = ["a", "b"].map(|name| workload(name, None, Progress::RolledOut));
    let mut done = Vec::new();
    for turn in 0..12 {
        let (own, other) = (turn % 2, 1 - turn % 2);
        let status = worlds[other].object.status.clone();
        let world = &mut worlds[own];
        world.workloads = stand.to_vec();
        for view in &mut world.workloads {
            let mut sharer = sharer(["older", "younger"][other], &prints[other]);
            sharer.created = Some(NOW - hours([9, 5][other]));
            let order = [["a", "b"], ["b", "a"]][other];
            sharer.rollout = serde_json::from_value(json!({"order": order})).unwrap();
            let title = view.title();
            sharer.status = status.as_ref().and_then(|s| s.workloads.iter().find(|w| w.workload == title).cloned());
            view.shared = vec![sharer];
        }
        for name in rolls(world) {
            let view = stand.iter_mut().find(|view| view.name == name).unwrap();
            *view = workload(&name, Some(&both.join(",")), Progress::RolledOut);
            done.push(name);
        }
        let status = decide(world).status;
        assert_eq!(status.findings.iter().filter(|f| f.reason == "RolloutConflict").count(), 2, "on {own}");
        *world = next_pass(world, status, minutes(1));
    }
    assert_eq!(done, ["a", "b"], "each of them once");
    for world in &worlds {
        assert!(said(world.object.status.as_ref().unwrap(), "RolledOut").starts_with("True RolledOut: "));
    }
}
