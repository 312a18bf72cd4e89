//! What endpoints serve, and what is said about it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailcert_testenv::pki::{Ca, Pair};
use serde_json::{Value, json};

use crate::common::{Operator, Path, cluster, wait_condition, wait_for, wait_ready};
use crate::scene::{Scene, fingerprint, message};
use crate::server::{IMAP, Identity, Manner, POP3, SMTP, Server};

fn endpoint(protocol: &str, port: u16) -> Value {
    json!({"protocol": protocol, "address": "127.0.0.1", "port": port})
}

/// Servers of seven protocols; the first one's identity is `first`, the others load the Secret for each client.
fn servers(scene: &Arc<Scene>, first: impl Fn() -> Identity + Send + Sync + 'static) -> Vec<(&'static str, Server)> {
    let load = |scene: &Arc<Scene>| {
        let scene = scene.clone();
        move || scene.identity("mail-tls")
    };
    vec![
        ("IMAPS", Server::start(Manner::Implicit("* OK ready\r\n"), first)),
        ("Submissions", Server::start(Manner::Implicit("220 ready\r\n"), load(scene))),
        ("POP3S", Server::start(Manner::Implicit("+OK ready\r\n"), load(scene))),
        ("HTTPS", Server::start(Manner::Implicit(""), load(scene))),
        ("SMTP", Server::start(SMTP, load(scene))),
        ("IMAP", Server::start(IMAP, load(scene))),
        ("POP3", Server::start(POP3, load(scene))),
    ]
}

/// The entry of `status.endpoints` of that protocol.
fn entry(domain: &Value, protocol: &str) -> Value {
    let entries = domain["status"]["endpoints"].as_array().unwrap();
    let prefix = format!("{protocol} ");
    entries.iter().find(|e| e["endpoint"].as_str().unwrap().starts_with(&prefix)).unwrap().clone()
}

#[test]
fn a_server_that_keeps_an_old_certificate_is_found_and_looked_at_until_it_has_the_new_one() {
    let scene = Arc::new(Scene::new("stale"));
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let (loads, kept) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(None::<Identity>)));
    let first = {
        let (scene, loads) = (scene.clone(), loads.clone());
        move || {
            let mut kept = kept.lock().unwrap();
            if kept.is_none() || loads.load(Ordering::SeqCst) {
                *kept = Some(scene.identity("mail-tls"));
            }
            kept.clone().unwrap()
        }
    };
    let servers = servers(&scene, first);
    let endpoints: Vec<Value> = servers.iter().map(|(protocol, server)| endpoint(protocol, server.port)).collect();
    let at = scene.domain("mail", json!({"endpoints": endpoints}));

    let domain = wait_ready(&scene.kube, &at);
    let old = fingerprint(&scene.kube.get(&scene.at_certificate("mail")).unwrap());
    assert_eq!(message(&domain, "Served"), "7 endpoints serve revision 1");
    assert_eq!(domain["status"]["endpointProblems"], "0/7");
    for (protocol, server) in &servers {
        let mut entry = entry(&domain, protocol);
        assert!(entry["checkedAt"].take().is_string(), "{domain:#}");
        let name = format!("{protocol} mail.example.com:{} via 127.0.0.1", server.port);
        let expected = json!({"endpoint": name, "verdict": "Served", "reason": "served", "servedFingerprint": old,
            "checkedAt": null});
        assert_eq!(entry, expected);
    }

    loads.store(false, Ordering::SeqCst);
    let new = scene.renew("mail");
    let domain = wait_condition(&scene.kube, &at, "Served", "False", "EndpointProblem");
    let imaps = entry(&domain, "IMAPS");
    assert_eq!((&imaps["verdict"], &imaps["reason"]), (&json!("Problem"), &json!("certificate-stale")));
    assert_eq!(imaps["servedFingerprint"], json!(old));
    let address = format!("127.0.0.1:{}", servers[0].1.port);
    let words = format!("{address} serves revision 1, a previous one that expires at ");
    assert!(imaps["message"].as_str().unwrap().starts_with(&words), "{imaps}");
    let words = "in place of revision 2: it has not loaded Secret mail-tls since; reload or restart it";
    assert!(message(&domain, "Served").contains(words), "{imaps}");
    assert!(message(&domain, "Ready").contains(&address), "{}", domain["status"]);
    assert_eq!(domain["status"]["endpointProblems"], "1/7");
    assert_eq!(entry(&domain, "SMTP")["servedFingerprint"], json!(new));
    let table = cluster().kubectl(&["-n", &scene.ns, "get", "maildomains"]).unwrap();
    assert!(table.contains("ENDPOINT PROBLEMS") && table.contains("1/7"), "{table}");

    // Looked at again after 10 s, and then after twice as long; only the server that needs it.
    let (first, others) = servers.split_first().unwrap();
    let looks = || first.1.intervals().into_iter().filter(|i| *i > Duration::from_secs(8)).collect::<Vec<_>>();
    let intervals = wait_for("two further looks", || Some(looks()).filter(|i| i.len() >= 2));
    let (last, before) = (intervals[intervals.len() - 1], intervals[intervals.len() - 2]);
    assert!(last > before + Duration::from_secs(5), "{intervals:?}");
    for (protocol, server) in others {
        assert!(server.intervals().len() <= 2, "{protocol}: {:?}", server.intervals());
    }
    loads.store(true, Ordering::SeqCst);
    let domain = wait_ready(&scene.kube, &at);
    assert_eq!(
        (&domain["status"]["endpointProblems"], entry(&domain, "IMAPS")["servedFingerprint"].as_str()),
        (&json!("0/7"), Some(&*new))
    );
}

/// The identity that a test CA made.
fn identity(pair: &Pair) -> Identity {
    Identity::from_pem(&pair.cert_pem, &pair.key_pem)
}

/// A certificate of the CA that expired a day ago.
fn expired(scene: &Scene) -> Identity {
    let key = rcgen::KeyPair::from_pem(&scene.ca.key_pem).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&scene.ca.cert_pem, key).unwrap();
    let own = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["mail.example.com".to_owned()]).unwrap();
    params.not_after = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    params.not_before = params.not_after - time::Duration::days(30);
    let leaf = params.signed_by(&own, &issuer).unwrap();
    Identity::from_pem(&leaf.pem(), &own.serialize_pem())
}

#[test]
fn every_kind_of_failure_has_its_word_and_says_what_to_do() {
    let scene = Scene::new("broken");
    let _operator = Operator::start(cluster(), &[&scene.ns], &["--probe-timeout=3s"]);
    let fixed = |identity: Identity| move || identity.clone();
    let valid = scene.ca.issue("", &["mail.example.com"], None).unwrap();
    let elsewhere = scene.ca.issue("", &["other.example.org"], None).unwrap();
    let unknown = Ca::new("Unknown CA").unwrap().issue("", &["mail.example.com"], None).unwrap();
    let implicit = || Manner::Implicit("* OK ready\r\n");
    let no_tls = || panic!("no handshake is expected");
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cases = [
        ("IMAPS", Server::start(implicit(), fixed(expired(&scene))).port, "certificate-expired", "expired at"),
        (
            "IMAPS",
            Server::start(implicit(), fixed(identity(&elsewhere))).port,
            "certificate-host-mismatch",
            "other.example.org",
        ),
        (
            "IMAPS",
            Server::start(implicit(), fixed(identity(&unknown))).port,
            "certificate-not-trusted",
            "issued by CN=Unknown CA",
        ),
        (
            "IMAPS",
            Server::start(implicit(), fixed(identity(&valid))).port,
            "certificate-stale",
            "not of MailCertificate mail",
        ),
        ("IMAPS", refused, "connection-failed", "cannot connect to 127.0.0.1"),
        ("IMAPS", Server::start(Manner::Plain(&[]), no_tls).port, "timeout", "within 3"),
        (
            "IMAPS",
            Server::start(Manner::Plain(&["* OK plaintext\r\n"]), no_tls).port,
            "handshake-failed",
            "the TLS handshake failed",
        ),
        (
            "SMTP",
            Server::start(Manner::Plain(&["220 mail\r\n", "250 mail\r\n"]), no_tls).port,
            "starttls-not-supported",
            "does not offer STARTTLS",
        ),
        (
            "SMTP",
            Server::start(Manner::Plain(&["220 mail\r\n", "250-mail\r\n250 STARTTLS\r\n", "454 no key\r\n"]), no_tls)
                .port,
            "starttls-refused",
            "454 no key",
        ),
        (
            "SMTP",
            Server::start(
                Manner::Plain(&["220 mail\r\n", "250-mail\r\n250 STARTTLS\r\n", "220 go\r\n250 injected\r\n"]),
                no_tls,
            )
            .port,
            "plaintext-after-starttls",
            "plaintext after its answer to STARTTLS",
        ),
        ("SMTP", Server::start(Manner::Plain(&["554 blocked\r\n"]), no_tls).port, "validation-failure", "554 blocked"),
    ];
    let endpoints: Vec<Value> = cases.iter().map(|(protocol, port, ..)| endpoint(protocol, *port)).collect();
    let at = scene.domain("mail", json!({"endpoints": endpoints}));
    let domain = wait_condition(&scene.kube, &at, "Served", "False", "EndpointProblem");
    let entries = domain["status"]["endpoints"].as_array().unwrap();
    for ((protocol, port, reason, words), entry) in cases.iter().zip(entries) {
        let text = entry["message"].as_str().unwrap();
        assert_eq!(entry["endpoint"], format!("{protocol} mail.example.com:{port} via 127.0.0.1"));
        assert_eq!((entry["verdict"].as_str(), entry["reason"].as_str()), (Some("Problem"), Some(*reason)), "{text}");
        assert!(text.contains(words), "{reason}: {text}");
    }
    assert_eq!(domain["status"]["endpointProblems"], "11/11");
    assert!(message(&domain, "Served").ends_with("and 8 more"), "{}", message(&domain, "Served"));
    wait_condition(&scene.kube, &at, "Ready", "False", "EndpointProblem");
}

#[test]
fn the_active_certificate_under_a_name_that_it_lacks_is_a_problem() {
    let scene = Arc::new(Scene::new("lacks"));
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    scene.certificate("shared", &["mail.example.com"]);
    let server = {
        let scene = scene.clone();
        Server::start(Manner::Implicit("* OK ready\r\n"), move || scene.identity("shared-tls"))
    };
    let mut endpoint = endpoint("IMAPS", server.port);
    endpoint["host"] = json!("imap.example.com");
    let at = scene.domain("mail", json!({"certificate": {"ref": {"name": "shared"}}, "endpoints": [endpoint]}));
    let domain = wait_condition(&scene.kube, &at, "Served", "False", "EndpointProblem");
    let entry = entry(&domain, "IMAPS");
    assert_eq!(entry["reason"], "certificate-host-mismatch");
    let words = "serves the active revision 1, but";
    assert!(entry["message"].as_str().unwrap().contains(words), "{entry}");
    wait_condition(&scene.kube, &at, "Ready", "False", "NameMissing");
}

#[test]
fn looks_that_find_the_same_write_nothing() {
    let scene = Arc::new(Scene::new("idle"));
    let operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let load = {
        let scene = scene.clone();
        move || scene.identity("mail-tls")
    };
    let server = Server::start(SMTP, load);
    let probe = json!({"interval": "30s"});
    let at = scene.domain("mail", json!({"endpoints": [endpoint("SMTP", server.port)], "probe": probe}));
    let before = wait_ready(&scene.kube, &at);
    // Events follow the status.
    let event = |reason: &str| crate::common::events(&scene.kube, &scene.ns, "mail").iter().any(|e| e.1 == reason);
    wait_for("the Event about Ready", || event("Ready").then_some(()));
    let (writes, looks) = (operator.writes(), server.intervals().len());
    wait_for("a further look", || (server.intervals().len() > looks).then_some(()));
    let probed = |operator: &Operator| operator.metric("mailcert_probe_total", &["protocol=\"SMTP\""]);
    wait_for("the look to be counted", || (probed(&operator) >= 2.0).then_some(()));
    assert_eq!(operator.writes(), writes, "{}", operator.log());
    assert_eq!(scene.kube.get(&at).unwrap(), before);
    let certificate = scene.kube.get(&Path::certificate(&scene.ns, "mail")).unwrap();
    assert_eq!(certificate["status"]["active"]["revision"], 1);
}
