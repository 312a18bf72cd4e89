//! Pods without a kubelet: made by their controllers, and as ready as the test says. What runs in them is tested on a node.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::common::{Operator, Path, cluster, condition, wait_condition, wait_for, wait_for_object, wait_ready};
use crate::scene::{Scene, fingerprint};
use crate::server::{Manner, Server};

/// A Deployment of one pod that mounts the Secret and declares `port`. Its pod is made ready, at 127.0.0.1.
fn ready_pod(scene: &Scene, port: u16) -> Path {
    let template = json!({
        "metadata": {"labels": {"app": "mail"}},
        "spec": {
            "containers": [{"name": "mail", "image": "mail", "ports": [{"containerPort": port}],
                "volumeMounts": [{"name": "tls", "mountPath": "/tls"}]}],
            "volumes": [{"name": "tls", "secret": {"secretName": "mail-tls"}}],
        },
    });
    scene.workload("Deployment", "mail", json!({}), json!({"replicas": 1, "template": template}));
    let name = wait_for("the pod", || {
        let pods = scene.kube.list_in("pods", &scene.ns);
        pods.first().and_then(|p| p["metadata"]["name"].as_str().map(str::to_owned))
    });
    let at = Path::new("pods", &scene.ns, &name);
    let now = "2026-01-01T00:00:00Z";
    let status = json!({"status": {
        "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
    }});
    scene.kube.patch_status(&at, &status).unwrap();
    at
}

/// The pod is looked at by its own address, as clients with and without SNI, besides the endpoint's.
#[test]
fn each_pod_is_looked_at_as_each_kind_of_client() {
    let scene = Arc::new(Scene::new("per-pod"));
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let load = |scene: &Arc<Scene>| {
        let scene = scene.clone();
        move || scene.identity("mail-tls")
    };
    let outside = Server::start(Manner::Implicit("* OK ready\r\n"), load(&scene));
    let inside = Server::start(Manner::Implicit("* OK ready\r\n"), load(&scene));
    let pod = ready_pod(&scene, inside.port);
    let name = scene.kube.get(&pod).unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    let endpoint = json!({"protocol": "IMAPS", "address": "127.0.0.1", "port": outside.port, "podPort": inside.port});
    let at = scene.domain(
        "mail",
        json!({
            "endpoints": [endpoint],
            "hostnames": {"legacy": [{"name": "imap.example.com"}]},
            "probe": {"perPod": true, "withoutSNI": true, "legacyNames": true},
            "workloads": [{"kind": "Deployment", "name": "mail", "reload": {"none": {}}}],
        }),
    );
    let domain = wait_ready(&scene.kube, &at);
    let active = fingerprint(&scene.kube.get(&scene.at_certificate("mail")).unwrap());
    let base = format!("IMAPS mail.example.com:{} via 127.0.0.1", outside.port);
    let expected = [
        base.clone(),
        format!("{base} in pod {name}"),
        format!("{base} without SNI"),
        format!("{base} as imap.example.com"),
        format!("{base} in pod {name} without SNI"),
        format!("{base} in pod {name} as imap.example.com"),
    ];
    let endpoints = domain["status"]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.iter().map(|e| e["endpoint"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    assert!(endpoints.iter().all(|e| e["servedFingerprint"] == json!(active) && e["verdict"] == "Served"));
    assert_eq!(inside.intervals().len(), 2, "three looks at the pod itself");
}

/// A pod that cannot be looked into is said, and asked again; nothing is done in it before.
#[test]
fn a_pod_that_cannot_be_looked_into_is_not_reloaded() {
    let scene = Scene::new("blind");
    let operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let pod = ready_pod(&scene, 25);
    let workload = json!({"kind": "Deployment", "name": "mail", "reload": {"preset": "postfix"}});
    let at = scene.domain("mail", json!({"workloads": [workload]}));
    let domain = wait_condition(&scene.kube, &at, "RolledOut", "False", "RolloutFailed");
    let message = domain["status"]["workloads"][0]["message"].as_str().unwrap().to_owned();
    let words = "whether the certificate has arrived cannot be seen: cat could not be started in container mail: ";
    assert!(message.contains(words), "{message}");
    let active = fingerprint(&scene.kube.get(&scene.at_certificate("mail")).unwrap());
    let marked = scene.kube.get(&pod).unwrap();
    assert_eq!(marked["metadata"]["annotations"]["mailcert.dev/certificate"], json!(active), "its kubelet is asked");
    assert_eq!(domain["status"]["workloads"][0]["pods"], Value::Null);
    // No template is touched for a reload in place.
    let deployment = scene.kube.get(&Path::new("deployments.apps", &scene.ns, "mail")).unwrap();
    assert_eq!(deployment["spec"]["template"]["metadata"]["annotations"], Value::Null);
    let patches = operator.metric("mailcert_api_requests_total", &["verb=\"patch\"", "resource=\"pods\""]);
    assert_eq!(patches, 1.0);
}

/// Two MailDomains want different things of one Deployment: the older one's are done, and both say so.
#[test]
fn different_wishes_for_one_workload_are_said_on_both() {
    let scene = Scene::new("wishes");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let workload = scene.workload("Deployment", "mail", json!({}), json!({}));
    let named = |reload: Value| json!({"workloads": [{"kind": "Deployment", "name": "mail", "reload": reload}]});
    // Of the same second, the name decides.
    let one = scene.domain("a-one", named(json!({"restart": {}})));
    wait_ready(&scene.kube, &one);
    let two = scene.domain("b-two", named(json!({"preset": "dovecot"})));
    let says = |at: &Path| {
        let found = wait_for_object(&scene.kube, at, "to have the finding", |object| {
            object["status"]["findings"][0]["reason"] == "ReloadConflict"
        });
        found["status"]["findings"][0]["message"].as_str().unwrap().to_owned()
    };
    let end = "that of MailDomain a-one, the oldest of those that name it, is followed; make them the same";
    assert_eq!(says(&one), format!("MailDomain b-two wants another reload for it: {end}"));
    assert_eq!(says(&two), format!("MailDomain a-one wants another reload for it: {end}"));
    let mut both = ["a-one", "b-two"].map(|n| fingerprint(&scene.kube.get(&scene.at_certificate(n)).unwrap()));
    both.sort();
    wait_for_object(&scene.kube, &workload, "to be restarted for both", |object| {
        object["spec"]["template"]["metadata"]["annotations"]["mailcert.dev/certificate"] == json!(both.join(","))
    });
    for at in [&one, &two] {
        let ready = wait_ready(&scene.kube, at);
        assert_eq!(condition(&ready, "RolledOut").unwrap().0, "True");
    }
}
