//! Reloads in place, pod by pod.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::fixtures::*;
use crate::api::domain::{MailDomainStatus, WorkloadStatus};
use crate::decide::domain::decide;
use crate::decide::domain::world::{Action, Mount, Place, PodView, Pods, Progress, Reading, SecretUse, Step, World};

/// A world in which `postfix` is to be reloaded so, with these pods.
fn world_with(reload: Value, pods: Vec<PodView>) -> World {
    let mut world = world(domain(json!({"workloads": [{"kind": "Deployment", "name": "postfix"}]})));
    let mut view = workload("postfix", None, Progress::RolledOut);
    view.reloads = serde_json::from_value(json!([reload])).unwrap();
    view.pods = Pods::Listed(pods);
    world.workloads = vec![view];
    world
}

fn postfix(pods: &[&str]) -> World {
    world_with(json!({"preset": "postfix"}), pods.iter().map(|name| pod(name)).collect())
}

/// What is done in pods, in short.
fn deeds(actions: &[Action]) -> Vec<String> {
    let one = |action: &Action| match action {
        Action::Nudge { pod, .. } => Some(format!("nudge {pod}")),
        Action::Read { pod, .. } => Some(format!("read {pod}")),
        Action::Reload { pod, .. } => Some(format!("reload {pod}")),
        Action::Roll { name, .. } => Some(format!("roll {name}")),
        _ => None,
    };
    actions.iter().filter_map(one).collect()
}

fn entry(status: &MailDomainStatus) -> &WorkloadStatus {
    &status.workloads[0]
}

fn told(status: &MailDomainStatus) -> String {
    let entry = entry(status);
    format!("{:?}: {}", entry.state, entry.message.as_deref().unwrap_or_default())
}

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

#[test]
fn each_pod_is_reloaded_once_and_after_the_files_have_arrived() {
    let mut world = postfix(&["a", "b"]);
    let old = Outside { arrived: Ok(print(&FIRST)), ..Outside::serving(&SECOND) };
    let (actions, decision) = old.pass(&mut world);
    assert_eq!(deeds(&actions), ["nudge a", "nudge b", "read a", "read b"]);
    let waits = "the kubelet has not brought Secret example-com-tls into pod";
    assert_eq!(told(&decision.status), format!("RollingOut: {waits} a yet; {waits} b yet"));
    assert_eq!(decision.wake, Some(NOW + seconds(1)), "it is looked for, not slept for");
    assert!(decision.status.endpoints.is_empty(), "nothing is proven before");

    let new = Outside::serving(&SECOND);
    world = next_pass(&world, decision.status, seconds(2));
    let annotate = |pod: &mut PodView| pod.annotation = Some(print(&SECOND));
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    pods.iter_mut().for_each(annotate);
    let (actions, decision) = new.pass(&mut world);
    assert_eq!(deeds(&actions), ["read a", "read b", "reload a"], "one after the other");
    assert_eq!(told(&decision.status), "RollingOut: pod b waits for its turn");
    assert_eq!(decision.wake, Some(NOW + seconds(3)));

    world = next_pass(&world, decision.status, seconds(1));
    let (actions, decision) = new.pass(&mut world);
    assert_eq!(deeds(&actions), ["read b", "reload b"]);
    assert_eq!(told(&decision.status), "RolledOut: ");
    let pods: Vec<_> = entry(&decision.status).pods.iter().map(|p| (p.name.as_str(), p.at.0)).collect();
    assert_eq!(pods, [("a", NOW + seconds(2)), ("b", NOW + seconds(3))]);
    assert_eq!(said(&decision.status, "RolledOut"), "True RolledOut: 1 workload runs with revision 2");

    // A restarted operator does nothing again and writes nothing.
    world = next_pass(&world, decision.status.clone(), seconds(1));
    world.looks.clear();
    let again = decide(&world);
    assert_eq!((deeds(&again.actions), &again.status), (vec![], &decision.status));

    // A pod that is made later has the new files; one that takes the name of another is another.
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    pods[1].uid = "uid-b2".to_owned();
    assert_eq!(deeds(&decide(&world).actions), ["read b"]);
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    pods[1].created = Some(NOW + seconds(100));
    assert_eq!(deeds(&decide(&world).actions), ["read b"], "the operator's clock may be behind");
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    pods[1].created = Some(NOW + seconds(130));
    assert_eq!(deeds(&decide(&world).actions), Vec::<String>::new());
}

#[test]
fn servers_have_a_moment_to_load_what_they_were_told_to() {
    let mut world = postfix(&["a"]);
    let (actions, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert!(!actions.iter().any(|a| matches!(a, Action::Probe(_))), "{actions:?}");
    assert_eq!(decision.wake, Some(NOW + seconds(3)));
    let slow = Outside { endpoints: served(&FIRST), ..Outside::serving(&SECOND) };
    world = next_pass(&world, decision.status, seconds(3));
    let (_, decision) = slow.pass(&mut world);
    let words =
        "Unknown NotProbed: 2 endpoints still serve the certificate before: the servers have only just been reloaded";
    assert_eq!(said(&decision.status, "Served"), words);
    world = next_pass(&world, decision.status, seconds(20));
    let (_, decision) = slow.pass(&mut world);
    assert!(said(&decision.status, "Served").starts_with("False EndpointProblem: "));
}

#[test]
fn another_certificate_is_loaded_anew() {
    let mut world = postfix(&["a"]);
    let (_, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert_eq!(told(&decision.status), "RolledOut: ");
    world = next_pass(&world, decision.status, hours(1));
    change(&mut world, |c| c.status.as_mut().unwrap().active = Some(revision(3, &FIRST)));
    let (actions, decision) = Outside::serving(&FIRST).pass(&mut world);
    assert_eq!(deeds(&actions), ["nudge a", "read a", "reload a"]);
    assert_eq!(entry(&decision.status).certificate.as_deref(), Some(print(&FIRST).as_str()));
    assert_eq!(entry(&decision.status).since.as_ref().unwrap().0, NOW + hours(1));
}

#[test]
fn a_failure_is_said_retried_with_backoff_and_holds_the_others_back_for_a_while() {
    let mut world = postfix(&["a", "b"]);
    let failing =
        Outside { reloads: Err("postfix failed (exit code 1): not running".to_owned()), ..Outside::serving(&SECOND) };
    let (actions, decision) = failing.pass(&mut world);
    assert_eq!(deeds(&actions).last().map(String::as_str), Some("reload a"));
    assert_eq!(told(&decision.status), "Failed: pod a: postfix failed (exit code 1): not running");
    assert_eq!(decision.wake, Some(NOW + seconds(1)));
    let line = "False RolloutFailed: Deployment/postfix: pod a: postfix failed (exit code 1): not running";
    assert_eq!(said(&decision.status, "RolledOut"), line);

    let mut status = decision.status;
    let mut reloads = Vec::new();
    for second in 1..=80 {
        world = next_pass(&world, status, seconds(1));
        let (actions, decision) = failing.pass(&mut world);
        let done = deeds(&actions).into_iter().filter(|d| d.starts_with("reload"));
        reloads.extend(done.map(|deed| (second, deed)));
        status = decision.status;
    }
    let shown: Vec<_> = reloads.iter().map(|(second, deed)| format!("{second} {deed}")).collect();
    // After its third failure the others are tried too.
    assert_eq!(shown, ["10 reload a", "30 reload a", "31 reload b", "41 reload b", "61 reload b", "70 reload a"]);

    // Another spec is tried at once, and once.
    world = next_pass(&world, status.clone(), seconds(1));
    let mut object = world.object.as_ref().clone();
    object.metadata.generation = Some(4);
    world.object = std::sync::Arc::new(object);
    let again: Vec<_> = deeds(&failing.pass(&mut world).0).into_iter().filter(|d| d.starts_with("reload")).collect();
    assert_eq!(again, ["reload a"]);

    world = next_pass(&world, status, seconds(600));
    let working = Outside::serving(&SECOND);
    let (_, decision) = working.pass(&mut world);
    world = next_pass(&world, decision.status, seconds(1));
    let (_, decision) = working.pass(&mut world);
    assert_eq!(told(&decision.status), "RolledOut: ");
}

#[test]
fn a_reload_that_ends_its_server_is_not_repeated() {
    let mut world = postfix(&["a"]);
    let killed = Outside { reloads: Err("its end is not known".to_owned()), ..Outside::serving(&SECOND) };
    let (_, decision) = killed.pass(&mut world);
    world = next_pass(&world, decision.status, seconds(5));
    let pod = |world: &mut World, ready, restarts| {
        let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
        (pods[0].ready, pods[0].restarts) = (ready, restarts);
    };
    pod(&mut world, false, 1);
    let (actions, decision) = killed.pass(&mut world);
    assert_eq!(deeds(&actions), Vec::<String>::new());
    assert_eq!(told(&decision.status), "RollingOut: pod a is not ready (its end is not known)");
    world = next_pass(&world, decision.status, seconds(60));
    pod(&mut world, true, 1);
    let (actions, decision) = killed.pass(&mut world);
    assert_eq!(deeds(&actions), Vec::<String>::new());
    let words = "pod a: the reload ended its container, which has started again with the new certificate: correct it, \
                 so that it only has the server load its files";
    assert_eq!(told(&decision.status), format!("RolledOut: {words}"));
    let findings: Vec<_> = decision.status.findings.iter().map(|f| (f.reason.as_str(), f.message.as_str())).collect();
    assert_eq!(findings, [("ReloadEndedServer", words)]);
}

#[test]
fn a_pod_that_restarts_half_way_is_waited_for() {
    let mut world = postfix(&["a"]);
    let old = Outside { arrived: Ok(print(&FIRST)), ..Outside::serving(&SECOND) };
    let (_, decision) = old.pass(&mut world);
    world = next_pass(&world, decision.status, seconds(5));
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    (pods[0].ready, pods[0].restarts, pods[0].annotation) = (false, 1, Some(print(&SECOND)));
    let (actions, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert_eq!((deeds(&actions), told(&decision.status).as_str()), (vec![], "RollingOut: pod a is not ready"));
    world = next_pass(&world, decision.status, seconds(5));
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    pods[0].ready = true;
    let (actions, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert_eq!(
        (deeds(&actions), told(&decision.status).as_str()),
        (vec!["read a".to_owned(), "reload a".to_owned()], "RolledOut: ")
    );
}

#[test]
fn pods_that_are_being_deleted_hold_nothing_up() {
    let mut world = postfix(&["a", "b", "c"]);
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    // Its node is gone, so it stays; and its reload had failed before.
    (pods[0].ready, pods[0].is_ending) = (false, true);
    (pods[1].ready, pods[1].is_ending) = (false, true);
    let outside = Outside::serving(&SECOND);
    let (actions, decision) = outside.pass(&mut world);
    assert_eq!(deeds(&actions), ["nudge c", "read c", "reload c"]);
    assert_eq!(told(&decision.status), "RolledOut: pods a, b are being deleted, and not reloaded");
    let pods: Vec<&str> = entry(&decision.status).pods.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(pods, ["c"]);
    world = next_pass(&world, decision.status, seconds(5));
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    pods.remove(0);
    pods[0].uid = "uid-again".to_owned();
    let (_, decision) = outside.pass(&mut world);
    assert_eq!(told(&decision.status), "RolledOut: pod b is being deleted, and not reloaded");

    // One whose reload failed before takes no place from the others.
    let mut world = postfix(&["a", "b"]);
    let failing = Outside { reloads: Err("not running".to_owned()), ..Outside::serving(&SECOND) };
    let (_, decision) = failing.pass(&mut world);
    world = next_pass(&world, decision.status, seconds(5));
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    (pods[0].ready, pods[0].is_ending) = (false, true);
    let (actions, decision) = outside.pass(&mut world);
    assert_eq!(deeds(&actions).last().map(String::as_str), Some("reload b"));
    assert_eq!(told(&decision.status), "RolledOut: pod a is being deleted, and not reloaded");
}

#[test]
fn files_that_do_not_come_or_cannot_be_read_are_said() {
    let mut world = postfix(&["a"]);
    let old = Outside { arrived: Ok(print(&FIRST)), ..Outside::serving(&SECOND) };
    let (_, decision) = old.pass(&mut world);
    world = next_pass(&world, decision.status, seconds(400));
    let (_, decision) = old.pass(&mut world);
    let words = "Failed: the kubelet has not brought Secret example-com-tls into pod a yet, for 6 min; see the kubelet's \
                 log on its node";
    assert_eq!(told(&decision.status), words);
    let mut world = postfix(&["a"]);
    let blind = Outside { arrived: Err("cat could not be started".to_owned()), ..Outside::serving(&SECOND) };
    let (actions, decision) = blind.pass(&mut world);
    assert_eq!(deeds(&actions), ["nudge a", "read a"]);
    assert_eq!(told(&decision.status), "Failed: pod a: cat could not be started");
    assert_eq!(decision.wake, Some(NOW + seconds(10)));
}

#[test]
fn what_cannot_be_told_from_the_pod_is_asked_for() {
    let mut two = pod("a");
    two.containers = vec!["mta".to_owned(), "imap".to_owned()];
    let mount = two.uses[0].clone();
    two.uses = ["mta", "imap"].map(|c| SecretUse { container: c.to_owned(), ..mount.clone() }).into();
    let mut none = pod("a");
    none.uses.clear();
    let cases = [
        (
            json!({"preset": "postfix"}),
            two.clone(),
            "Failed: pod a: several of its containers mount the Secret (mta, imap); name one in reload.container",
        ),
        (
            json!({"exec": {"command": ["reload"]}}),
            two.clone(),
            "Failed: pod a: several of its containers mount the Secret (mta, imap); name one in reload.exec.container",
        ),
        (
            json!({"preset": "postfix", "container": "smtp"}),
            two.clone(),
            "Failed: pod a: it has no container \"smtp\"; correct reload.container",
        ),
        (
            json!({"exec": {"command": ["reload"], "container": "postfix"}}),
            none,
            "Failed: pod a: none of its containers mounts the folder of Secret example-com-tls; mount it, or use \
             reload.restart",
        ),
        (json!({"preset": "postfix", "container": "mta"}), two, "RolledOut: "),
    ];
    for (reload, pod, words) in cases {
        let mut world = world_with(reload.clone(), vec![pod]);
        assert_eq!(told(&Outside::serving(&SECOND).pass(&mut world).1.status), words, "{reload}");
    }
    let mut world = postfix(&["a"]);
    world.workloads[0].pods = Pods::Forbidden("set the chart value reload.exec.enabled".to_owned());
    assert_eq!(told(&decide(&world).status), "Blocked: set the chart value reload.exec.enabled");
    let names: Vec<String> = (0..101).map(|i| format!("p{i}")).collect();
    let many = postfix(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let words = "Blocked: it has 101 pods; at most 100 are reloaded in place: use reload.restart";
    assert_eq!(told(&decide(&many).status), words);
}

/// The steps of a reload in pod `a`.
fn steps(reload: Value) -> Vec<Step> {
    let mut world = world_with(reload, vec![pod("a")]);
    let (actions, _) = Outside::serving(&SECOND).pass(&mut world);
    let steps = actions.into_iter().find_map(|a| match a {
        Action::Reload { steps, .. } => Some(steps),
        _ => None,
    });
    steps.unwrap_or_default()
}

#[test]
fn presets_are_what_the_servers_document() {
    let exec = |words: &[&str]| match &steps(json!({"preset": words[0]}))[..] {
        [Step::Exec { container, command, timeout }] => {
            assert_eq!((container.as_str(), timeout.as_secs()), ("postfix", 20));
            assert_eq!(command[..], words[1..].iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        }
        other => panic!("{other:?}"),
    };
    exec(&["postfix", "postfix", "reload"]);
    exec(&["dovecot", "doveadm", "reload"]);
    let [Step::Exec { command, .. }] = &steps(json!({"preset": "cyrus"}))[..] else { panic!("no command") };
    assert!(command[2].starts_with("kill -HUP "), "{command:?}");
    let http = |preset: &str| match steps(
        json!({"preset": preset, "authorizationSecretRef": {"name": "s", "key": "k"}}),
    )
    .pop()
    {
        Some(Step::Http(call)) => *call,
        other => panic!("{other:?}"),
    };
    let james = http("james");
    assert_eq!((james.port, james.path.as_str(), james.body), (8000, "/servers?reload-certificate", None));
    assert!(james.authorization.is_some());
    let stalwart = http("stalwart");
    let body: Value = serde_json::from_str(&stalwart.body.unwrap()).unwrap();
    assert_eq!(body["methodCalls"][0][1]["create"]["reload"]["@type"], "ReloadTlsCertificates");
    assert_eq!((stalwart.port, stalwart.path.as_str()), (8080, "/api"));
    for alone in ["docker-mailserver", "mailu", "exim"] {
        let mut world = world_with(json!({"preset": alone}), vec![pod("a")]);
        let (actions, decision) = Outside::serving(&SECOND).pass(&mut world);
        assert_eq!((deeds(&actions), told(&decision.status).as_str()), (vec![], "RolledOut: "), "{alone}");
    }
    assert_eq!(deeds(&decide(&world_with(json!({"preset": "haraka"}), vec![pod("a")])).actions), ["roll postfix"]);
}

#[test]
fn several_steps_are_done_in_one_pod_in_order_and_a_restart_wins() {
    let mut world = postfix(&["a"]);
    world.workloads[0].reloads =
        serde_json::from_value(json!([{"preset": "postfix"}, {"http": {"port": 1, "path": "/"}}, {"none": {}}]))
            .unwrap();
    let (actions, _) = Outside::serving(&SECOND).pass(&mut world);
    let steps = actions.iter().find_map(|a| if let Action::Reload { steps, .. } = a { Some(steps) } else { None });
    assert!(matches!(steps.map(Vec::as_slice), Some([Step::Exec { .. }, Step::Http(_)])), "{steps:?}");
    let mut world = postfix(&["a"]);
    world.workloads[0].reloads = serde_json::from_value(json!([{"preset": "postfix"}, {"restart": {}}])).unwrap();
    assert_eq!(deeds(&decide(&world).actions), ["roll postfix"]);
}

#[test]
fn what_never_follows_the_secret_is_restarted_and_said() {
    for how in [json!({"exec": {"command": ["reload"]}}), json!({"none": {}}), json!({"preset": "mailu"})] {
        let mut world = world_with(how.clone(), vec![pod("a")]);
        found(&mut world.workloads[0]).uses = vec![SecretUse {
            secret: "example-com-tls".to_owned(),
            container: "postfix".to_owned(),
            how: Reading::Fixed("mounts it at /tls.crt through subPath tls.crt".to_owned()),
        }];
        let decision = decide(&world);
        assert_eq!(deeds(&decision.actions), ["roll postfix"], "{how}");
        let finding = &decision.status.findings[0];
        let words = "it is restarted, since container postfix mounts it at /tls.crt through subPath tls.crt: Secret \
                     example-com-tls never changes there while the pod runs; mount the whole folder to have it reloaded \
                     in place";
        assert_eq!((finding.reason.as_str(), finding.about.as_str()), ("RestartedInstead", "Deployment/postfix"));
        assert_eq!(finding.message, words);
        // Another Secret may be read in any way.
        found(&mut world.workloads[0]).uses[0].secret = "other".to_owned();
        assert!(!deeds(&decide(&world).actions).contains(&"roll postfix".to_owned()));
    }
}

#[test]
fn a_server_that_notices_by_itself_has_time_to() {
    let mut world = world_with(json!({"none": {}}), vec![]);
    let stale = Outside::serving(&FIRST);
    let (_, decision) = stale.pass(&mut world);
    world = next_pass(&world, decision.status, seconds(4));
    let (_, decision) = stale.pass(&mut world);
    let words = "Unknown NotProbed: 2 endpoints still serve the certificate before: servers that notice by themselves \
                 have 3 minutes";
    assert_eq!(said(&decision.status, "Served"), words);
    let since = decision.status.certificate.as_ref().unwrap().unserved_since.clone();
    assert_eq!(since.map(|t| t.0), Some(NOW));
    world = next_pass(&world, decision.status, seconds(200));
    let (_, decision) = stale.pass(&mut world);
    assert!(said(&decision.status, "Served").starts_with("False EndpointProblem: "));
    assert_eq!(decision.status.certificate.as_ref().unwrap().unserved_since.as_ref().unwrap().0, NOW);
    world = next_pass(&world, decision.status, seconds(600));
    let (_, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert!(said(&decision.status, "Served").starts_with("True Served"));
    assert_eq!(decision.status.certificate.as_ref().unwrap().unserved_since, None);
}

#[test]
fn the_certificate_is_read_where_it_is_mounted() {
    let mut world = postfix(&["a"]);
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    pods[0].annotation = Some(print(&SECOND));
    let places = decide(&world).actions.into_iter().find_map(|a| match a {
        Action::Read { places, .. } => Some(places),
        _ => None,
    });
    let expected = Place { container: "postfix".to_owned(), path: "/tls/tls.crt".to_owned() };
    assert_eq!(places, Some(vec![expected]));
}

#[test]
fn a_group_of_names_must_have_arrived_as_well() {
    let mut world = postfix(&["a"]);
    let mut object = (*world.object).clone();
    object.spec.sni = serde_json::from_value(json!({"secretName": "mail-sni"})).unwrap();
    world.object = Arc::new(object);
    let group = SecretUse {
        secret: "mail-sni".to_owned(),
        container: "postfix".to_owned(),
        how: Reading::Folder(Mount { folder: "/sni/".to_owned(), items: None }),
    };
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    pods[0].annotation = Some(print(&SECOND));
    pods[0].uses.push(group.clone());
    let read = |world: &World| -> Vec<String> {
        let one = |action| match action {
            Action::Read { secret, places, .. } => Some(format!("{secret} at {}", places[0].path)),
            Action::Reload { .. } => Some("reload".to_owned()),
            _ => None,
        };
        decide(world).actions.into_iter().filter_map(one).collect()
    };
    assert_eq!(read(&world), ["example-com-tls at /tls/tls.crt", "mail-sni/example-com.pem at /sni/example-com.pem"]);
    let mut arrived = |secret: &str, fingerprint: String| {
        world.done.read.insert(("uid-a".to_owned(), secret.to_owned()), Ok(fingerprint));
        read(&world)
    };
    assert_eq!(arrived("example-com-tls", print(&SECOND)).len(), 1, "the other one is still to be read");
    assert_eq!(arrived("mail-sni/example-com.pem", print(&FIRST)), Vec::<String>::new());
    assert!(told(&decide(&world).status).contains("has not brought Secret mail-sni into pod a yet"));
    world.done.read.insert(("uid-a".to_owned(), "mail-sni/example-com.pem".to_owned()), Ok(print(&SECOND)));
    assert_eq!(read(&world), ["reload"]);

    // The group's alone will do, and where it never changes the pod is restarted.
    let Pods::Listed(pods) = &mut world.workloads[0].pods else { panic!("no pods") };
    pods[0].uses = vec![group.clone()];
    assert_eq!(read(&world), ["reload"]);
    let fixed = SecretUse { how: Reading::Fixed("mounts it through subPath".to_owned()), ..group };
    found(&mut world.workloads[0]).uses = vec![fixed];
    assert_eq!(deeds(&decide(&world).actions), ["roll postfix"]);
}
