//! What is imported waits for its gates, and what no server serves is taken back.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::openssl::{Ca, Made};
use super::scene::{import, put_pem, wait_active};
use super::server::{Identity, Manner, Server};
use crate::common::{Path, Stage, condition, data, events, leaf, wait_for, wait_for_object, wait_ready};

#[test]
fn what_is_imported_waits_until_somebody_approves_it() {
    let (ca, mut stage) = (Ca::new(), Stage::new("gated"));
    let first = ca.issue("mail.example.com", 90);
    put_pem(&stage, "mail-source", &first, &ca);
    let at = import(&stage, "mail", &ca, json!({}));
    wait_active(&stage, &at, &first, &ca);
    stage.kube.patch(&at, &json!({"spec": {"activation": {"gates": ["Approved"]}}})).unwrap();
    let second = ca.issue("mail.example.com", 90);
    put_pem(&stage, "mail-source", &second, &ca);
    let staged = wait_for_object(&stage.kube, &at, "to stage it", |o| {
        o["status"]["staged"][0]["revision"] == 2 && o["status"]["import"]["contentSHA256"].is_string()
    });
    assert_eq!(staged["status"]["gates"][0]["type"], "Approved");
    assert_eq!(
        (condition(&staged, "Ready").unwrap().0, &staged["status"]["staged"][0]["reason"]),
        ("True", &json!("SourceChanged"))
    );
    let active = || leaf(&data(&stage.kube.get(&Path::secret(&stage.ns, "mail-tls")).unwrap())["tls.crt"]).der;
    assert_eq!(active(), leaf(&first.certificate).der);
    stage.operator.restart();
    stage.kube.annotate(&at, "mailcert.dev/approve", "2");
    let object = wait_active(&stage, &at, &second, &ca);
    let status = &object["status"];
    assert_eq!((&status["active"]["revision"], &status["previous"][0]["revision"]), (&json!(2), &json!(1)));
    assert!(status["staged"].is_null() && status["gates"].is_null());
}

#[test]
fn what_no_server_serves_is_taken_back_and_another_source_is_tried_at_once() {
    let (ca, stage) = (Ca::new(), Stage::new("notserved"));
    let first = ca.issue("mail.example.com", 90);
    put_pem(&stage, "mail-source", &first, &ca);
    let identity = |made: &Made| Identity::from_pem(&made.certificate, &made.key);
    // What it has loaded; nobody tells it to load another one.
    let loaded = Arc::new(Mutex::new(identity(&first)));
    let server = {
        let loaded = loaded.clone();
        Server::start(Manner::Implicit("* OK ready\r\n"), move || loaded.lock().unwrap().clone())
    };
    let import = json!({"secretRef": {"name": "mail-source"}, "trustAnchors": ca.root()});
    let template = json!({"import": import, "activation": {"deadline": "10s"}});
    let endpoint = json!({"protocol": "IMAPS", "address": "127.0.0.1", "port": server.port});
    let spec = json!({"domain": "example.com", "externalURL": "https://mail.example.com", "endpoints": [endpoint],
        "certificate": {"template": template}});
    stage.create("MailDomain", "mail", &spec);
    wait_ready(&stage.kube, &Path::domain(&stage.ns, "mail"));
    let at = Path::certificate(&stage.ns, "mail");

    let second = ca.issue("mail.example.com", 90);
    put_pem(&stage, "mail-source", &second, &ca);
    let object = wait_for_object(&stage.kube, &at, "to go back", |o| {
        o["status"]["rollback"]["from"] == 2
            && o["status"]["active"]["revision"] == 1
            && o["status"]["staged"].is_null()
    });
    assert_eq!(object["status"]["rollback"]["reason"], "NotServed");
    assert_eq!(object["status"]["previous"][0]["state"], "Failed");
    let (status, reason, message) = condition(&object, "Issuing").unwrap();
    assert_eq!((status, reason), ("True", "RolledBack"));
    assert!(
        message.starts_with(
            "the source holds another certificate than the active one; revision 2 was taken back (not served within"
        ) && message.ends_with("unless the source, the spec or its MailDomain changes"),
        "{message}"
    );
    let told = wait_for("the Event", || {
        events(&stage.kube, &stage.ns, "mail").into_iter().find(|e| e.0 == "Warning" && e.1 == "RolledBack")
    });
    assert!(told.2.starts_with("revision 2 was taken back (not served within 10s by MailDomain mail: "), "{}", told.2);
    wait_active(&stage, &at, &first, &ca);

    let third = ca.issue("mail.example.com", 90);
    *loaded.lock().unwrap() = identity(&third);
    put_pem(&stage, "mail-source", &third, &ca);
    let object = wait_for_object(&stage.kube, &at, "to be proven", |o| {
        o["status"]["active"]["revision"] == 3
            && o["status"]["rollback"].is_null()
            && o["status"]["activation"].is_null()
    });
    assert_eq!(condition(&object, "Ready").unwrap().0, "True");
    wait_active(&stage, &at, &third, &ca);
}
