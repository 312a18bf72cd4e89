//! Whether anything is queued is asked before, and others are told after a revision becomes active.

use serde_json::{Value, json};

use super::gates::{wait_active, wait_staged};
use super::server::Server;
use crate::common::{Kube, Operator, Path, Stage, cluster, data, namespace, wait_for, wait_for_object, wait_ready};

/// A stage whose operator may call servers on this machine.
fn stage(prefix: &str) -> Stage {
    let kube = Kube::new(cluster());
    let ns = namespace(&kube, prefix);
    let operator = Operator::start(cluster(), &[&ns], &["--loopback-calls"]);
    let stage = Stage { kube, ns, operator };
    stage.create("MailIssuer", "self", &json!({"selfSigned": {}}));
    wait_ready(&stage.kube, &Path::issuer(&stage.ns, "self"));
    stage
}

#[test]
fn a_queue_is_asked_and_a_directory_is_told() {
    let stage = stage("told");
    let (queue, directory) = (Server::start(503, ""), Server::start(201, ""));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": stage.ns},
        "stringData": {"header": "Bearer not-to-be-seen\n"}});
    stage.kube.create(&secret).unwrap();
    let (at, _) = stage.issued("mail", "self", json!({"history": {"revisions": 0}}));
    let activation = json!({
        "drained": {"http": {"url": queue.url("/queue?of={fingerprint}"), "expectBody": "0"}, "interval": "5s"},
        "publish": {"http": {"url": directory.url("/certificates/{name}"),
            "authorizationSecretRef": {"name": "token", "key": "header"}}},
        "confirm": {"http": {"url": directory.url("/known/{revision}"), "expectBody": "{fingerprint}"}},
    });
    stage.kube.patch(&at, &json!({"spec": {"activation": activation}})).unwrap();
    stage.kube.annotate(&at, "mailcert.dev/renew", "1");
    wait_staged(&stage, &at, 2);
    let host = queue.url("").trim_start_matches("http://").to_owned();
    wait_for_object(&stage.kube, &at, "to say that mail is queued", |o| {
        o["status"]["gates"][0]["message"] == format!("the call to {host} failed: status 503")
    });
    queue.answer(200, "7");
    wait_for_object(&stage.kube, &at, "to say that mail is still queued", |o| {
        o["status"]["gates"][0]["message"]
            == format!("the call to {host} failed: the answer is not the one that expectBody names")
    });
    queue.answer(200, "0\n");
    let active = wait_active(&stage, &at, 2);
    let fingerprint = active["status"]["active"]["fingerprintSHA256"].as_str().unwrap().to_owned();
    assert!(queue.asked().iter().all(|a| a.line == format!("GET /queue?of={fingerprint} HTTP/1.1")));

    let told = wait_for("the directory to be told of revision 2", || {
        directory.asked().into_iter().find(|a| a.line.starts_with("POST") && a.body.contains(&fingerprint))
    });
    assert_eq!(told.line, "POST /certificates/mail HTTP/1.1");
    assert!(told.head.to_ascii_lowercase().contains("authorization: bearer not-to-be-seen"), "{}", told.head);
    let body: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!((&body["revision"], &body["name"], &body["namespace"]), (&json!(2), &json!("mail"), &json!(stage.ns)));
    assert_eq!(body["certificate"], data(&stage.secret("mail-tls"))["tls.crt"]);
    assert!(!told.body.contains("PRIVATE KEY"), "never the key");
    wait_for_object(&stage.kube, &at, "to wait for the word of the directory", |o| {
        !o["status"]["activation"]["published"]["doneAt"].is_null()
            && o["status"]["activation"]["confirmed"]["failures"].as_i64().is_some_and(|n| n > 0)
    });
    assert!(stage.revisions("mail").contains_key(&1), "the one before is kept until then");
    directory.answer(200, &fingerprint);
    wait_for_object(&stage.kube, &at, "to be confirmed", |o| {
        !o["status"]["activation"]["confirmed"]["doneAt"].is_null()
    });
    wait_for("the one before to be deleted", || (!stage.revisions("mail").contains_key(&1)).then_some(()));
    let said = stage.operator.log() + &stage.kube.get(&at).unwrap().to_string();
    assert!(!said.contains("not-to-be-seen"), "a password is in a log or a status");
}

#[test]
fn jobs_are_made_with_the_certificate_and_waited_for() {
    let stage = stage("jobs");
    let container = json!({"name": "tell", "image": "tell", "env": [{"name": "MINE", "value": "1"}]});
    let template = json!({"metadata": {"labels": {"team": "mail"}},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}});
    let (at, _) = stage.issued("mail", "self", json!({"activation": {"publish": {"job": {"template": template}}}}));
    let jobs = || {
        let path = format!("/apis/batch/v1/namespaces/{}/jobs", stage.ns);
        stage.kube.list(&path)
    };
    let job = wait_for("the Job", || jobs().pop());
    let env = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| env.iter().find(|e| e["name"] == name).unwrap()["value"].as_str().unwrap().to_owned();
    assert_eq!((value("MINE").as_str(), value("MAILCERT_REVISION").as_str()), ("1", "1"));
    assert_eq!(value("MAILCERT_CERTIFICATE"), data(&stage.secret("mail-tls"))["tls.crt"]);
    assert!(!job.to_string().contains("PRIVATE KEY"));
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 600, "one that hangs fails");
    assert_eq!(
        (&job["metadata"]["labels"]["team"], &job["metadata"]["ownerReferences"][0]["name"]),
        (&json!("mail"), &json!("mail"))
    );
    wait_for_object(&stage.kube, &at, "to wait for the Job", |o| {
        o["status"]["activation"]["published"]["message"] == "the Job is running"
    });
    complete(&stage, &job);
    wait_for_object(&stage.kube, &at, "to be told", |o| !o["status"]["activation"]["published"]["doneAt"].is_null());
}

/// Says that a Job has ended well, once the Job's controller has begun it: no pod runs here.
fn complete(stage: &Stage, job: &Value) {
    let path = Path::new("jobs.batch", &stage.ns, job["metadata"]["name"].as_str().unwrap());
    let begun = wait_for("the Job to begin", || {
        stage.kube.get(&path).and_then(|job| job["status"]["startTime"].as_str().map(str::to_owned))
    });
    let condition = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": begun});
    let complete = json!({"status": {"completionTime": begun, "active": 0, "ready": 0, "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}});
    stage.kube.patch_status(&path, &complete).unwrap();
}

#[test]
fn a_job_that_looks_is_not_forgotten_for_the_interval() {
    let stage = stage("queue-job");
    let (at, _) = stage.issued("mail", "self", json!({}));
    let container = json!({"name": "look", "image": "look"});
    let template = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let activation = json!({"drained": {"job": {"template": template}, "interval": "24h"}});
    stage.kube.patch(&at, &json!({"spec": {"activation": activation}})).unwrap();
    stage.kube.annotate(&at, "mailcert.dev/renew", "1");
    wait_staged(&stage, &at, 2);
    wait_for_object(&stage.kube, &at, "to say that a Job looks", |o| {
        o["status"]["gates"][0]["message"] == "the Job that looks is still running"
    });
    let path = format!("/apis/batch/v1/namespaces/{}/jobs", stage.ns);
    complete(&stage, &wait_for("the Job", || stage.kube.list(&path).pop()));
    wait_active(&stage, &at, 2);
}

/// Nothing is empty that was not asked. No pod runs here, so none can be asked in the end.
#[test]
fn of_more_pods_than_can_be_asked_nothing_is_known() {
    let stage = stage("many-pods");
    let (at, _) = stage.issued("mail", "self", json!({}));
    let name = |n: usize| format!("mail-{n:02}");
    for n in 0..21 {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name(n), "namespace": stage.ns, "labels": {"app": "mail"}},
            "spec": {"containers": [{"name": "mail", "image": "mail"}]}});
        wait_for("the pod to be made", || stage.kube.create(&pod).ok());
    }
    let exec = json!({"selector": {"matchLabels": {"app": "mail"}}, "command": ["true"]});
    let activation = json!({"drained": {"exec": exec, "interval": "5s"}});
    stage.kube.patch(&at, &json!({"spec": {"activation": activation}})).unwrap();
    stage.kube.annotate(&at, "mailcert.dev/renew", "1");
    let says = |what: &str, words: &str| {
        wait_for_object(&stage.kube, &at, what, |o| {
            o["status"]["gates"][0]["message"].as_str().is_some_and(|message| message.starts_with(words))
        });
    };
    says("to say that there are too many", "more than 20 pods have app=mail, and no more than that are asked: ");
    // Those that have ended are not counted, nor asked, however many come before.
    for n in 0..20 {
        let status = json!({"status": {"phase": "Succeeded"}});
        stage.kube.patch_status(&Path::new("pods", &stage.ns, &name(n)), &status).unwrap();
    }
    says("to ask the last one", "pod mail-20: ");
}
