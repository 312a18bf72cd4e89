//! What holds in any world.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixtures::*;
use crate::api::domain::{EndpointVerdict, MailDomainStatus, WorkloadKind};
use crate::decide::domain::decide;
use crate::decide::domain::world::{
    Action, CertificateView, Look, LookFailure, Pods, Progress, Served, Sharer, Sighting, WorkloadView, World,
};

fn any_name() -> impl Strategy<Value = String> {
    let known =
        ["mail.example.com", "imap.example.com", "*.example.com", "localhost", "192.0.2.1", "", "bücher.example"];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,12}"]
}

fn any_spec() -> impl Strategy<Value = Value> {
    let protocol = prop::sample::select(vec!["SMTP", "IMAPS", "POP3", "HTTPS"]);
    let endpoint =
        (protocol, prop::option::of(any_name()), prop::option::of(any::<i32>())).prop_map(|(p, host, port)| {
            let mut endpoint = json!({"protocol": p});
            if let Some(host) = host {
                endpoint["host"] = json!(host);
            }
            if let Some(port) = port {
                endpoint["port"] = json!(port);
            }
            endpoint
        });
    let policy = prop::sample::select(vec!["Report", "Drop"]);
    let legacy = (any_name(), policy).prop_map(|(n, p)| json!({"name": n, "onUnreachable": p}));
    let url = prop_oneof![4 => Just("https://mail.example.com".to_owned()), 1 => any_name()];
    let parts = (
        url,
        prop::collection::vec(endpoint, 0..4),
        prop::collection::vec(any_name(), 0..3),
        prop::collection::vec(legacy, 0..3),
        any::<bool>(),
        any::<bool>(),
        prop::sample::select(vec!["30s", "1h", "168h", "0s", "-1h"]),
    );
    parts.prop_map(|(url, endpoints, additional, legacy, is_template, has_workloads, interval)| {
        let certificate = match is_template {
            true => json!({"template": {"issuerRef": {"name": "ours"}}}),
            false => json!({"ref": {"name": "shared"}}),
        };
        json!({
            "externalURL": url, "endpoints": endpoints, "certificate": certificate,
            "hostnames": {"additional": additional, "legacy": legacy}, "probe": {"interval": interval},
            "workloads": if has_workloads { json!([{"kind": "Deployment", "name": "w"}]) } else { json!([]) },
        })
    })
}

fn any_workload() -> impl Strategy<Value = WorkloadView> {
    let progress = prop_oneof![
        3 => Just(Progress::RolledOut),
        1 => Just(Progress::RollingOut("0 of 1 pods are updated".to_owned())),
        1 => Just(Progress::Failed("it is paused".to_owned())),
    ];
    let annotation = prop::sample::select(vec![None, Some(print(&FIRST)), Some(print(&SECOND))]);
    let also = prop::collection::btree_set(prop::sample::select(vec!["00".to_owned(), print(&FIRST)]), 0..2);
    let view = prop_oneof![
        1 => Just(WorkloadView::not_found(WorkloadKind::Deployment, "w")),
        5 => (annotation, "[0-9]", progress).prop_map(|(annotation, template, progress)| {
            let mut view = workload("w", annotation.as_deref(), progress);
            found(&mut view).template = template;
            view
        }),
    ];
    let ages = prop::sample::select(vec![None, Some(NOW)]);
    let reloads = prop::sample::select(vec![
        json!([]),
        json!([{"none": {}}]),
        json!([{"preset": "postfix"}]),
        json!([{"exec": {"command": ["reload"]}}, {"http": {"port": 80, "path": "/"}}]),
    ]);
    let pods = prop::collection::vec((any::<bool>(), any::<bool>(), 0..3i32), 0..4);
    (view, also, ages, reloads, pods).prop_map(|(mut view, also, created, reloads, pods)| {
        view.shared = also.iter().map(|p| Sharer { created, ..sharer("z", p) }).collect();
        view.reloads = serde_json::from_value(reloads).unwrap();
        let pod = |(i, (ready, mounts, restarts)): (usize, (bool, bool, i32))| {
            let mut pod = pod(&format!("w-{i}"));
            (pod.ready, pod.restarts) = (ready, restarts);
            pod.uses.retain(|_| mounts);
            pod
        };
        view.pods = Pods::Listed(pods.into_iter().enumerate().map(pod).collect());
        view
    })
}

fn any_result() -> impl Strategy<Value = Result<Served, LookFailure>> {
    let failure = LookFailure { word: "timeout".to_owned(), message: "no banner".to_owned() };
    let theirs = THEIRS.leaf(&[HOST], hours(48));
    let odd = Ok(Served { address: "a".to_owned(), chain: vec![vec![0; 9]] });
    let empty = Ok(Served { address: "a".to_owned(), chain: vec![] });
    prop::sample::select(vec![served(&FIRST), served(&SECOND), served(&theirs), odd, empty, Err(failure)])
}

fn any_look() -> impl Strategy<Value = Look> {
    let fingerprint = prop::sample::select(vec![print(&FIRST), print(&SECOND)]);
    (any_result(), fingerprint, -100_000..100i64, prop::sample::select(vec![0, 1, 7, u32::MAX]), any::<bool>())
        .prop_map(|(result, fingerprint, at, failures, same)| Look {
            at: NOW + SignedDuration::from_secs(at),
            failures,
            found: match result {
                Ok(Served { address, chain }) => Sighting::Chain { address, chain: chain.into() },
                Err(failure) => Sighting::Failure(failure),
            },
            fingerprint,
            templates: if same { String::new() } else { "other".to_owned() },
        })
}

fn any_world() -> impl Strategy<Value = World> {
    let certificate = 0..6usize;
    let parts = (
        any_spec(),
        certificate,
        prop::option::of(any_workload()),
        prop::collection::btree_map(
            prop::sample::select(vec!["IMAPS mail.example.com:993".to_owned(), "SMTP mail.example.com:25".to_owned()]),
            any_look(),
            0..3,
        ),
        prop::bool::weighted(0.1),
        prop::sample::select(vec![0, 1, 30, 2158, 2159, 2160, 20_000]),
    );
    parts.prop_map(|(spec, certificate_state, workload, looks, forbidden, after)| {
        let domain = domain(spec);
        let mut world = world(domain.clone());
        match certificate_state {
            0 => world.certificate = CertificateView::of(&domain, None),
            1 => world.certificate = CertificateView::Conflict { name: "example-com".to_owned(), owner: None },
            2 => change(&mut world, |c| c.status = None),
            3 => change(&mut world, |c| c.status.as_mut().unwrap().conditions.clear()),
            4 => change(&mut world, |c| c.status.as_mut().unwrap().active = Some(revision(1, &FIRST))),
            _ => {}
        }
        world.workloads = workload.into_iter().filter(|_| !domain.spec.workloads.is_empty()).collect();
        world.looks = looks;
        world.forbidden = forbidden.then(|| "make RoleBinding x".to_owned());
        world.now = NOW + hours(after);
        world
    })
}

fn condition_is(status: &MailDomainStatus, type_: &str, value: &str) -> bool {
    status.conditions.iter().any(|c| c.type_ == type_ && c.status == value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn passes_end_and_write_nothing_the_second_time(
        start in any_world(),
        result in any_result(),
        arrived in prop::sample::select(vec![Ok(print(&FIRST)), Ok(print(&SECOND)), Err("no cat".to_owned())]),
        reloads in prop::sample::select(vec![Ok(()), Err("not running".to_owned())]),
    ) {
        let mut world = start;
        let outside = Outside { endpoints: result, arrived, reloads };
        let (first, second) = (decide(&world), decide(&world));
        prop_assert_eq!((first.actions, first.status, first.wake), (second.actions, second.status, second.wake));

        let (actions, decision) = outside.pass(&mut world);
        let is_valid = matches!(&world.certificate, CertificateView::Found(c)
            if c.status.as_ref().and_then(|s| s.active.as_ref()).is_some_and(|r| r.not_after.0 >= world.now));
        let rolls = actions.iter().filter(|a| matches!(a, Action::Roll { .. })).count();
        // The pods of a workload that others share are restarted for their certificates as well.
        let is_shared = world.workloads.iter().any(|w| !w.shared.is_empty());
        prop_assert!(rolls <= 1 && (rolls == 0 || ((is_valid || is_shared) && world.forbidden.is_none())));
        prop_assert!(decision.wake.is_none_or(|at| at > world.now));

        let status = decision.status;
        let is_ready = condition_is(&status, "Ready", "True");
        prop_assert!(!is_ready || is_valid, "Ready with an invalid certificate");
        prop_assert!(!is_ready || status.endpoints.iter().all(|e| e.verdict == EndpointVerdict::Served));
        prop_assert!(!is_ready || status.conditions.len() == 4, "Ready and Stalled or Reconciling");
        prop_assert!(status.conditions.iter().all(|c| !c.message.is_empty()));

        // Pods are told one after the other, some in each pass: then it settles.
        let (mut status, mut again) = (status.clone(), next_pass(&world, status, SignedDuration::ZERO));
        for _ in 0..4 {
            let next = outside.pass(&mut again).1.status;
            let settled = next == status;
            status = next;
            again = next_pass(&again, status.clone(), SignedDuration::ZERO);
            if settled {
                break;
            }
        }
        let idle = decide(&again);
        prop_assert!(!idle.actions.is_empty() || idle.status == status);
        prop_assert_eq!(&outside.pass(&mut again).1.status, &status);
        // A restarted operator says the same before it has looked.
        again.looks.clear();
        again.object = { let mut o = again.object.as_ref().clone(); o.status = Some(status.clone()); Arc::new(o) };
        let idle = decide(&again);
        prop_assert!(!idle.actions.iter().all(|a| matches!(a, Action::Probe(_))) || idle.status == status);
    }
}
