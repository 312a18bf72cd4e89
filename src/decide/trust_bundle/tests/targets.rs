//! Where a bundle goes.

use super::*;

#[test]
fn only_what_is_not_as_it_should_be_is_written() {
    let own = root("Own", 2040, true);
    let mut first = world(object(&json!({})), Ok(&own));
    let (done, status) = pass(&mut first);
    assert_eq!(done, ["write the ConfigMap in namespace mail"]);
    assert_eq!((status.targets[0].namespace.as_str(), status.targets[0].version), ("mail", Some(1)));
    let TargetFound::Ours(written) = first.targets[0].found.clone() else { panic!() };
    let changed: [fn(&mut TargetContent); 5] = [
        |c| c.data.extend([("ca.crt".to_owned(), "other".to_owned())]),
        |c| c.data.extend([("more".to_owned(), "other".to_owned())]),
        |c| c.binary_data.extend(["truststore.p12".to_owned()]),
        |c| c.annotations.retain(|name, _| name != "mailcert.dev/bundle-version"),
        |c| c.data.clear(),
    ];
    assert!(pass(&mut next(&first, &status, days(0))).0.is_empty());
    for change in changed {
        let mut content = written.clone();
        change(&mut content);
        let mut world = next(&first, &status, days(0));
        world.targets = vec![target("mail", TargetFound::Ours(content.clone()))];
        let actions = decide(&world).actions;
        let [Action::Write { over: Some(over), .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(*over, content);
        let (_, again) = pass(&mut world);
        assert_eq!((again.version, &again.bundle_sha256), (Some(1), &status.bundle_sha256));
    }
}

#[test]
fn where_it_cannot_be_written_is_said_and_the_others_get_it() {
    let foreign = "the ConfigMap mail-trust in namespace a exists and was not made by this MailTrustBundle";
    for (found, words) in [
        (TargetFound::Foreign(foreign.to_owned()), format!("False TargetConflict: {foreign}")),
        (TargetFound::NotAllowed("it may not".to_owned()), "False NotAllowed: it may not".to_owned()),
        (TargetFound::NoNamespace("none".to_owned()), "False TargetNotFound: none".to_owned()),
        (TargetFound::Forbidden("bind it".to_owned()), "False Forbidden: bind it".to_owned()),
    ] {
        let mut world = world(object(&json!({})), Ok(&root("Own", 2040, true)));
        world.targets = vec![target("a", found), target("b", TargetFound::Absent)];
        let (done, status) = pass(&mut world);
        assert_eq!((done, ready(&status)), (vec!["write the ConfigMap in namespace b".to_owned()], words));
        assert!(status.targets[0].problem.is_some() && status.targets[1].version == Some(1), "{:?}", status.targets);
    }
}

#[test]
fn a_write_that_fails_is_tried_again_in_a_minute() {
    let mut world = world(object(&json!({})), Ok(&root("Own", 2040, true)));
    world.learn(Fact::Failed("mail".to_owned(), "namespace mail is being terminated".to_owned()));
    let decision = decide(&world);
    assert!(decision.actions.is_empty());
    assert_eq!(decision.wake, Some(NOW + SignedDuration::from_secs(60)));
    assert_eq!(ready(&decision.status), "False TargetConflict: namespace mail is being terminated");
}

#[test]
fn the_version_counts_changes_and_survives_the_status() {
    let (one, two) = (root("One", 2040, true), root("Two", 2040, true));
    let mut first = world(object(&json!({"overlap": "0s"})), Ok(&one));
    let (_, status) = pass(&mut first);
    let mut second = next(&first, &status, days(1));
    second.sources = vec![source(Ok(&two))];
    let (_, status) = pass(&mut second);
    assert_eq!(status.version, Some(2));
    // The status is lost: what is written says how far it had come.
    let mut lost = second.clone();
    lost.object = Arc::new(object(&json!({"overlap": "0s"})));
    let (done, again) = pass(&mut lost);
    assert_eq!((done.len(), again.version), (0, Some(2)));
    lost.sources = vec![source(Ok(&one))];
    assert_eq!(pass(&mut lost).1.version, Some(3));
}

#[test]
fn a_trust_store_is_made_anew_only_when_what_it_is_made_from_changes() {
    let store = json!({"targets": {"configMap": {"name": "mail-trust"}, "truststore": {}}});
    let own = root("Own", 2040, true);
    let mut first = with_password(world(object(&store), Ok(&own)), Ok("changeit"));
    let (_, status) = pass(&mut first);
    let TargetFound::Ours(written) = &first.targets[0].found else { panic!() };
    assert!(written.binary_data.contains("truststore.p12"));
    assert!(pass(&mut next(&first, &status, days(1))).0.is_empty());
    let mut other = next(&first, &status, days(1));
    other.password.as_mut().unwrap().version = "uid/8".to_owned();
    assert_eq!(pass(&mut other).0.len(), 1);
    // A password that cannot be read leaves the store as it is; the certificates go on.
    let mut bad = with_password(next(&first, &status, days(1)), Err("there is no Secret p"));
    let words = "False PasswordUnreadable: the password of the trust store cannot be had: there is no Secret p; the trust store \
                 stays as it is";
    let (done, said) = pass(&mut bad);
    assert_eq!((done.len(), ready(&said).as_str()), (0, words));
    bad.sources = vec![source(Ok(&root("New", 2040, true)))];
    let actions = decide(&bad).actions;
    let [Action::Write { content, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert!(matches!(content.truststore, StoreWanted::Keep));
    assert!(!format!("{actions:?}").contains("changeit"));
    // And none is left where none is wanted any more.
    let mut off = next(&first, &status, days(1));
    off.object = Arc::new(MailTrustBundle { status: off.object.status.clone(), ..object(&json!({})) });
    off.password = None;
    assert_eq!(pass(&mut off).0.len(), 1);
}

#[test]
fn config_maps_stay_or_go_as_the_policy_says() {
    let own = root("Own", 2040, true);
    for (policy, is_removed) in [("Retain", false), ("Delete", true)] {
        let mut world = world(object(&json!({"deletionPolicy": policy})), Ok(&own));
        let (done, status) = pass(&mut world);
        assert_eq!(done.first().is_some_and(|d| d.starts_with("hold it back")), is_removed, "{done:?}");
        // A namespace that is a target no longer.
        let mut moved = next(&world, &status, days(0));
        moved.done.held = Some(is_removed);
        moved.targets[0].is_former = true;
        moved.targets.push(target("new", TargetFound::Absent));
        let (done, status) = pass(&mut moved);
        assert_eq!(done.contains(&"delete the ConfigMap in namespace mail".to_owned()), is_removed, "{done:?}");
        assert_eq!(status.targets.iter().map(|t| t.namespace.as_str()).collect::<Vec<_>>(), ["new"]);
        // The object is deleted.
        let mut gone = next(&world, &status, days(0));
        let mut object = gone.object.as_ref().clone();
        object.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(NOW));
        object.metadata.finalizers = is_removed.then(|| vec!["mailcert.dev/trust-bundle".to_owned()]);
        gone.object = Arc::new(object);
        let expected = ["delete the ConfigMap in namespace mail", "no longer hold it back from deletion"];
        assert_eq!(pass(&mut gone).0, if is_removed { expected.to_vec() } else { vec![] });
        // Where nothing can be looked at, nothing waits for ever.
        gone.targets = Vec::new();
        gone.done = Done::default();
        gone.forbidden = Some("off".to_owned());
        assert_eq!(pass(&mut gone).0, if is_removed { vec![expected[1]] } else { vec![] });
    }
}

#[test]
fn a_feature_that_is_off_says_so_and_forgets_nothing() {
    let mut good = world(object(&json!({})), Ok(&root("Own", 2040, true)));
    let (_, status) = pass(&mut good);
    let mut off = next(&good, &status, days(1));
    (off.sources, off.targets, off.forbidden) = (vec![], vec![], Some("turn it on".to_owned()));
    let decision = decide(&off);
    assert_eq!((decision.actions.len(), ready(&decision.status).as_str()), (0, "False Forbidden: turn it on"));
    assert_eq!((decision.status.own, decision.status.version), (status.own, status.version));
    assert_eq!(decision.wake, Some(off.now + SignedDuration::from_secs(60)));
}
