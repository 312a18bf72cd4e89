//! Whatever is found: nothing foreign is written, and the second pass has nothing to do.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Good, expired, and no CA.
static POOL: LazyLock<Vec<String>> = LazyLock::new(|| {
    vec![
        root("One", 2040, true),
        root("Two", 2030, true),
        root("Soon", 2027, true),
        root("Over", 2026, true),
        root("mail.example.com", 2040, false),
    ]
});

fn any_text() -> impl Strategy<Value = Result<String, String>> {
    let some = proptest::collection::vec(0usize..5, 0..6);
    prop_oneof![
        6 => some.prop_map(|picks| Ok(picks.into_iter().map(|i| POOL[i].clone()).collect())),
        1 => Just(Err("it is gone".to_owned())),
        1 => "[a-zA-Z -]{0,40}".prop_map(Ok),
    ]
}

fn any_found() -> impl Strategy<Value = (u8, bool)> {
    (0u8..7, any::<bool>())
}

fn found(kind: u8, world: &World) -> TargetFound {
    let junk = || TargetContent { binary_data: ["x".to_owned()].into(), ..ours(world) };
    match kind {
        0 => TargetFound::Absent,
        1 => TargetFound::Ours(ours(world)),
        2 => TargetFound::Ours(junk()),
        3 => TargetFound::Foreign("it is foreign".to_owned()),
        4 => TargetFound::NotAllowed("no".to_owned()),
        5 => TargetFound::NoNamespace("no".to_owned()),
        _ => TargetFound::Forbidden("no".to_owned()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn it_converges_and_never_writes_what_is_foreign(
        texts in proptest::collection::vec(any_text(), 1..4),
        places in proptest::collection::vec(any_found(), 0..5),
        deletes: bool, store: bool, password: bool, later in 0i64..400,
    ) {
        let mut targets = json!({"configMap": {"name": "mail-trust"}});
        if store {
            targets["truststore"] = json!({});
        }
        let policy = if deletes { "Delete" } else { "Retain" };
        let mut world = world(object(&json!({"deletionPolicy": policy, "targets": targets})), Ok(""));
        if store {
            world = with_password(world, if password { Ok("changeit") } else { Err("no password") });
        }
        let places: Vec<TargetView> = places.iter().enumerate().map(|(i, (kind, is_former))| TargetView {
            namespace: format!("ns-{i}"), is_former: *is_former, found: found(*kind, &world),
        }).collect();
        world.targets = places.clone();
        for text in texts {
            world.sources = vec![source(text.as_deref().map_err(String::as_str))];
            for action in decide(&world).actions {
                let namespace = match &action {
                    Action::Write { namespace, .. } | Action::Remove { namespace, .. } => namespace.clone(),
                    Action::Hold | Action::Release => continue,
                };
                let place = places.iter().find(|t| t.namespace == namespace).unwrap();
                prop_assert!(matches!(place.found, TargetFound::Absent | TargetFound::Ours(_)), "{action:?} over {place:?}");
                let is_removal = matches!(action, Action::Remove { .. });
                prop_assert_eq!(is_removal, place.is_former);
                prop_assert!(!is_removal || deletes);
            }
            let (_, status) = pass(&mut world);
            let mut again = next(&world, &status, days(0));
            again.done.held = world.done.held;
            let decision = decide(&again);
            prop_assert!(decision.actions.is_empty(), "{:?}", decision.actions);
            prop_assert_eq!(&decision.status, &status);
            world = next(&again, &status, days(later));
            world.done.held = again.done.held;
        }
    }
}
