//! What pods and templates show.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde_json::{Value, json};

use crate::api::domain::WorkloadKind;
use crate::decide::domain::pods::{PodView, Reading, uses};

fn shown(spec: Value) -> Vec<String> {
    let spec: PodSpec = serde_json::from_value(spec).unwrap();
    let one = |u: crate::decide::domain::pods::SecretUse| match u.how {
        Reading::Folder(mount) => format!("{} {} {}", u.container, u.secret, mount.certificate().unwrap_or_default()),
        Reading::Fixed(how) => format!("{} {} fixed: {how}", u.container, u.secret),
    };
    uses(&spec).into_iter().map(one).collect()
}

#[test]
fn every_way_to_read_a_secret_is_seen() {
    let spec = json!({
        "volumes": [
            {"name": "whole", "secret": {"secretName": "tls"}},
            {"name": "items", "secret": {"secretName": "tls", "items": [
                {"key": "tls.crt", "path": "cert.pem"}, {"key": "tls.key", "path": "key.pem"}]}},
            {"name": "combined", "secret": {"secretName": "tls", "items": [{"key": "tls-combined.pem", "path": "all.pem"}]}},
            {"name": "ca", "secret": {"secretName": "tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"name": "mixed", "projected": {"sources": [{"configMap": {"name": "x"}}, {"secret": {"name": "other"}}]}},
            {"name": "scratch", "emptyDir": {}}],
        "containers": [
            {"name": "a", "volumeMounts": [
                {"name": "whole", "mountPath": "/tls/"}, {"name": "items", "mountPath": "/certs"},
                {"name": "combined", "mountPath": "/c"}, {"name": "ca", "mountPath": "/ca"},
                {"name": "mixed", "mountPath": "/m"}, {"name": "scratch", "mountPath": "/s"}]},
            {"name": "b", "volumeMounts": [{"name": "whole", "mountPath": "/x.crt", "subPath": "tls.crt"}],
             "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "tls", "key": "tls.key"}}}, {"name": "Z", "value": "1"}],
             "envFrom": [{"secretRef": {"name": "other"}}]}],
        "initContainers": [
            {"name": "once", "volumeMounts": [{"name": "whole", "mountPath": "/i"}]},
            {"name": "sidecar", "restartPolicy": "Always", "volumeMounts": [{"name": "whole", "mountPath": "/i"}]}],
    });
    assert_eq!(
        shown(spec),
        [
            "a tls /tls/tls.crt",
            "a tls /certs/cert.pem",
            "a tls /c/all.pem",
            "a tls ",
            "a other /m/tls.crt",
            "b tls fixed: mounts it at /x.crt through subPath tls.crt",
            "b tls fixed: reads it into its environment variable KEY",
            "b other fixed: reads it into its environment",
            "sidecar tls /i/tls.crt",
        ]
    );
}

fn pod(owner: Value, phase: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "uid": "1", "labels": {"pod-template-hash": "5f6"}, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 25}, {"containerPort": 70000}]}]},
        "status": {"phase": phase, "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "c", "restartCount": 2, "image": "", "imageID": "", "ready": true}]},
    }))
    .unwrap()
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true})
}

#[test]
fn only_pods_of_the_workload_itself_count() {
    let of = |pod: &Pod, kind| PodView::of(pod, kind, "mail", "uid-w");
    let deployed = pod(owner("ReplicaSet", "mail-5f6", "x"), "Running");
    let view = of(&deployed, WorkloadKind::Deployment).unwrap();
    assert_eq!((view.ready, view.restarts, view.ports, view.ip.as_deref()), (true, 2, [25].into(), Some("10.0.0.1")));
    // Another Deployment with the same labels, a bare pod, one that has ended.
    for (owner, kind, phase) in [
        (owner("ReplicaSet", "mail2-5f6", "x"), WorkloadKind::Deployment, "Running"),
        (owner("Job", "mail-5f6", "x"), WorkloadKind::Deployment, "Running"),
        (owner("StatefulSet", "mail", "other"), WorkloadKind::StatefulSet, "Running"),
        (owner("StatefulSet", "mail", "uid-w"), WorkloadKind::StatefulSet, "Succeeded"),
    ] {
        assert_eq!(of(&pod(owner.clone(), phase), kind), None, "{owner}");
    }
    assert!(of(&pod(owner("DaemonSet", "mail", "uid-w"), "Running"), WorkloadKind::DaemonSet).is_some());
    let mut ending = deployed;
    ending.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(super::fixtures::NOW));
    let view = of(&ending, WorkloadKind::Deployment).unwrap();
    assert_eq!((view.ready, view.is_ending), (false, true));
}
