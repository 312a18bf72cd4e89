//! A revision that servers do not serve, or whose pods do not get ready, is taken back.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::common::{Operator, cluster, condition, data, events, wait_for, wait_for_object, wait_ready};
use crate::scene::{Scene, fingerprint};
use crate::server::{Identity, Manner, Server};

#[test]
fn what_a_server_does_not_take_up_in_time_is_taken_back() {
    let scene = Arc::new(Scene::new("takenback"));
    let mut operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let (loads, kept) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(None::<Identity>)));
    let identity = {
        let (scene, loads) = (scene.clone(), loads.clone());
        move || {
            let mut kept = kept.lock().unwrap();
            if kept.is_none() || loads.load(Ordering::SeqCst) {
                *kept = Some(scene.identity("mail-tls"));
            }
            kept.clone().unwrap()
        }
    };
    let server = Server::start(Manner::Implicit("* OK ready\r\n"), identity);
    let endpoint = json!({"protocol": "IMAPS", "address": "127.0.0.1", "port": server.port});
    let template = json!({"issuerRef": {"name": "ca"}, "activation": {"deadline": "10s"}});
    let at = scene.domain("mail", json!({"endpoints": [endpoint], "certificate": {"template": template}}));
    wait_ready(&scene.kube, &at);
    let certificate = scene.at_certificate("mail");
    let secret = || data(&scene.kube.get(&crate::common::Path::secret(&scene.ns, "mail-tls")).unwrap());
    let (before, first) = (secret(), fingerprint(&scene.kube.get(&certificate).unwrap()));

    // It loads nothing any more. A killed operator does not forget since when the new one is active.
    loads.store(false, Ordering::SeqCst);
    scene.kube.annotate(&certificate, "mailcert.dev/renew", "1");
    let renewed =
        wait_for_object(&scene.kube, &certificate, "to be renewed", |o| o["status"]["active"]["revision"] == 2);
    assert_eq!(renewed["status"]["activation"]["judges"], json!(["mail"]));
    operator.restart();
    let taken_back = wait_for_object(&scene.kube, &certificate, "to go back", |o| {
        o["status"]["active"]["revision"] == 1 && o["status"]["staged"].is_null()
    });
    assert_eq!((secret(), fingerprint(&taken_back)), (before, first));
    let status = &taken_back["status"];
    assert_eq!((&status["rollback"]["from"], &status["rollback"]["reason"]), (&json!(2), &json!("NotServed")));
    assert_eq!((&status["previous"][0]["revision"], &status["previous"][0]["state"]), (&json!(2), &json!("Failed")));
    let name = status["previous"][0]["secretName"].as_str().unwrap();
    let failed = scene.kube.get(&crate::common::Path::secret(&scene.ns, name)).unwrap();
    assert_ne!(data(&failed)["tls.key"], secret()["tls.key"], "what failed is kept for inspection");
    let told = wait_for("the Event", || {
        events(&scene.kube, &scene.ns, "mail").into_iter().find(|e| e.0 == "Warning" && e.1 == "RolledBack")
    });
    assert!(
        told.2.starts_with("revision 2 was taken back (not served within 10s by MailDomain mail: IMAPS "),
        "{}",
        told.2
    );
    wait_ready(&scene.kube, &at);

    // Asked for once more, a new one is made, and this time the server takes it up.
    loads.store(true, Ordering::SeqCst);
    scene.kube.annotate(&certificate, "mailcert.dev/renew", "2");
    let served = wait_for_object(&scene.kube, &certificate, "to be proven", |o| {
        o["status"]["active"]["revision"] == 3
            && o["status"]["activation"].is_null()
            && o["status"]["rollback"].is_null()
    });
    assert_eq!(condition(&served, "Ready").unwrap().0, "True");
}

#[test]
fn what_no_pod_gets_ready_with_is_taken_back() {
    let scene = Scene::new("unready");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let workload = scene.workload("Deployment", "dovecot", json!({}), json!({}));
    let at = scene.domain("mail", json!({"workloads": [{"kind": "Deployment", "name": "dovecot"}]}));
    wait_for_object(&scene.kube, &at, "to be rolled out", |o| condition(o, "RolledOut").is_some_and(|c| c.0 == "True"));
    let certificate = scene.at_certificate("mail");
    // From now on it wants a pod, and none will run here.
    scene.renew("mail");
    let failed = |object: &Value| {
        let generation = object["metadata"]["generation"].clone();
        json!({"status": {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1,
            "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                "message": "it takes too long"}]}})
    };
    scene.kube.patch(&workload, &json!({"spec": {"replicas": 1}})).unwrap();
    let taken_back = wait_for("the certificate to go back", || {
        let object = scene.kube.get(&workload).unwrap();
        let certificate = scene.kube.get(&certificate).unwrap();
        if certificate["status"]["active"]["revision"] == 1 {
            return Some(certificate);
        }
        scene.kube.patch_status(&workload, &failed(&object)).unwrap();
        None
    });
    assert_eq!(taken_back["status"]["rollback"]["reason"], "RolloutFailed");
    let message = taken_back["status"]["rollback"]["message"].as_str().unwrap();
    assert!(message.starts_with("MailDomain mail: Deployment/dovecot: its pods do not become available"), "{message}");
}
