//! A revision that servers do not serve, or whose pods do not get ready, is taken back.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::common::{Operator, Path, cluster, condition, data, events, wait_for, wait_for_object, wait_ready};
use crate::scene::{Scene, fingerprint};
use crate::server::{Identity, Manner, Server};

/// An IMAP server that loads what the Secret holds while it is told to.
fn server(scene: &Arc<Scene>) -> (Server, Arc<AtomicBool>) {
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
    (Server::start(Manner::Implicit("* OK ready\r\n"), identity), loads)
}

/// A MailDomain that this server is the one endpoint of.
fn domain(scene: &Scene, server: &Server) -> Path {
    let endpoint = json!({"protocol": "IMAPS", "address": "127.0.0.1", "port": server.port});
    let template = json!({"issuerRef": {"name": "ca"}, "activation": {"deadline": "10s"}});
    let at = scene.domain("mail", json!({"endpoints": [endpoint], "certificate": {"template": template}}));
    wait_ready(&scene.kube, &at);
    at
}

#[test]
fn what_a_server_does_not_take_up_in_time_is_taken_back() {
    let scene = Arc::new(Scene::new("takenback"));
    let mut operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let (server, loads) = server(&scene);
    let at = domain(&scene, &server);
    let certificate = scene.at_certificate("mail");
    let secret = || data(&scene.kube.get(&Path::secret(&scene.ns, "mail-tls")).unwrap());
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
    let failed = scene.kube.get(&Path::secret(&scene.ns, name)).unwrap();
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
    let more = json!({"replicas": 1, "progressDeadlineSeconds": 5});
    scene.workload("Deployment", "dovecot", json!({}), more);
    let at = scene.domain("mail", json!({"workloads": [{"kind": "Deployment", "name": "dovecot"}]}));
    wait_for_object(&scene.kube, &at, "to be rolled out", |domain| {
        scene.pods_get_ready();
        condition(domain, "RolledOut").is_some_and(|c| c.0 == "True")
    });
    scene.renew("mail");
    let taken_back = wait_for_object(&scene.kube, &scene.at_certificate("mail"), "to go back", |certificate| {
        certificate["status"]["active"]["revision"] == 1
    });
    assert_eq!(taken_back["status"]["rollback"]["reason"], "RolloutFailed");
    let message = taken_back["status"]["rollback"]["message"].as_str().unwrap();
    assert!(message.starts_with("MailDomain mail: Deployment/dovecot: its pods do not become available"), "{message}");
    // With the one before they do.
    wait_for_object(&scene.kube, &at, "to be rolled out again", |domain| {
        scene.pods_get_ready();
        domain["status"]["certificate"]["fingerprintSHA256"] == json!(fingerprint(&taken_back))
            && condition(domain, "RolledOut").is_some_and(|c| c.0 == "True")
    });
}

#[test]
fn what_was_taken_back_is_tried_again_in_its_time_and_not_before() {
    let scene = Arc::new(Scene::new("triedagain"));
    let mut operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let (server, loads) = server(&scene);
    let at = domain(&scene, &server);
    let certificate = scene.at_certificate("mail");
    loads.store(false, Ordering::SeqCst);
    // Another name is wanted for as long as the certificate lacks it.
    scene.kube.patch(&at, &json!({"spec": {"hostnames": {"additional": ["imap.example.com"]}}})).unwrap();
    let goes_back = |failures: i64| {
        wait_for_object(&scene.kube, &certificate, &format!("to go back, {failures}"), |o| {
            let s = &o["status"];
            s["active"]["revision"] == 1 && s["staged"].is_null() && s["rollback"]["failures"] == failures
        })
    };
    let pause = |object: &Value| -> i64 {
        let time =
            |field: &str| -> Timestamp { object["status"]["rollback"][field].as_str().unwrap().parse().unwrap() };
        time("retryTime").duration_since(time("time")).as_secs()
    };
    let failed = goes_back(1);
    assert_eq!(pause(&failed), 600);
    let retry = failed["status"]["rollback"]["retryTime"].as_str().unwrap();
    let waits = wait_for_object(&scene.kube, &certificate, "to say until when", |o| {
        condition(o, "Issuing").is_some_and(|c| c.1 == "RolledBack")
    });
    let said = condition(&waits, "Issuing").unwrap().2;
    let words = format!(
        "no other is tried before {retry}, unless the spec or its MailDomain changes or the annotation mailcert.dev/renew asks for one"
    );
    assert!(
        said.starts_with("the certificate lacks imap.example.com; revision 2 was taken back (")
            && said.ends_with(&words),
        "{said}"
    );
    // A new life of the operator is no reason.
    let passes = |operator: &Operator| {
        operator.metric("mailcert_reconcile_duration_seconds_count", &["kind=\"MailCertificate\""])
    };
    operator.restart();
    wait_for("a pass", || (passes(&operator) > 0.0).then_some(()));
    let still = scene.kube.get(&certificate).unwrap();
    assert_eq!((&still["status"]["active"]["revision"], still["status"]["staged"].is_null()), (&json!(1), true));
    // As if the pause were over: the same certificate once more, and after it a longer pause.
    let over = |operator: &mut Operator| {
        operator.kill();
        let patch = json!({"status": {"rollback": {"retryTime": "2026-01-01T00:00:00Z"}}});
        scene.kube.patch_status(&certificate, &patch).unwrap();
        operator.restart();
        wait_for_object(&scene.kube, &certificate, "to be tried again", |o| o["status"]["active"]["revision"] == 2);
    };
    over(&mut operator);
    assert_eq!(pause(&goes_back(2)), 1200);
    loads.store(true, Ordering::SeqCst);
    over(&mut operator);
    let proven = wait_for_object(&scene.kube, &certificate, "to be proven", |o| {
        o["status"]["activation"].is_null() && o["status"]["rollback"].is_null()
    });
    assert_eq!(proven["status"]["active"]["revision"], 2);
    let known = proven["status"]["previous"].as_array().unwrap();
    assert_eq!((known.len(), &known[0]["revision"]), (1, &json!(1)), "no other certificate was made");
}
