//! Tables of changes to a good object, with what the API server says of each.

use serde_json::{Value, json};

use crate::common::{Kube, cluster};

/// A change (JSON merge patch of the spec) and what the API server objects; nothing: it accepts.
pub type Case = (&'static str, Value, Option<&'static str>);

/// An object of that kind in the namespace `default`.
pub fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

/// Offers every case to the API server, without keeping any.
#[track_caller]
pub fn check(kind: &str, good: &Value, cases: &[Case]) {
    let kube = Kube::new(cluster());
    kube.create_dry(&object(kind, "good", good)).unwrap();
    let mut wrong = Vec::new();
    for (what, change, refusal) in cases {
        let mut spec = good.clone();
        merge(&mut spec, change);
        let answer = kube.create_dry(&object(kind, "tried", &spec)).map(|_| ());
        let right = match (refusal, &answer) {
            (None, Ok(())) => true,
            (Some(words), Err(message)) => message.contains(words),
            _ => false,
        };
        if !right {
            wrong.push(format!("{what}: wanted {refusal:?}, got {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            value => merge(target.entry(key).or_insert(Value::Null), value),
        }
    }
}
