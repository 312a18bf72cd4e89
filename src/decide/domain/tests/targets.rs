//! Where is looked, and as what kind of client.

use serde_json::{Value, json};

use super::fixtures::*;
use crate::api::domain::{EndpointVerdict, ServedAlgorithm};
use crate::decide::domain::decide;
use crate::decide::domain::world::{Action, Pods, ProbeTarget, World};

fn looks(world: &World) -> Vec<ProbeTarget> {
    let look = |action| if let Action::Probe(target) = action { Some(target) } else { None };
    decide(world).actions.into_iter().filter_map(look).collect()
}

fn keys(world: &World) -> Vec<String> {
    looks(world).into_iter().map(|t| t.key).collect()
}

fn asking(probe: Value, more: Value) -> World {
    let mut spec = json!({"probe": probe, "endpoints": [{"protocol": "IMAPS"}], "workloads": []});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world(domain(spec))
}

#[test]
fn each_kind_of_client_looks_where_asked() {
    assert_eq!(keys(&asking(json!({}), json!({}))), ["IMAPS mail.example.com:993"]);
    let legacy = json!({"hostnames": {"legacy": [{"name": "imap.example.com"}, {"name": "gone.example.com"}]}});
    let probe = json!({"withoutSNI": true, "legacyNames": true, "keyAlgorithms": ["RSA", "ECDSA"]});
    let world = asking(probe, legacy);
    let found = looks(&world);
    let shown: Vec<&str> = found.iter().map(|t| t.key.as_str()).collect();
    // A legacy name that the certificate does not cover is said elsewhere.
    assert_eq!(
        shown,
        [
            "IMAPS mail.example.com:993 with RSA",
            "IMAPS mail.example.com:993 with ECDSA",
            "IMAPS mail.example.com:993 without SNI with RSA",
            "IMAPS mail.example.com:993 without SNI with ECDSA",
            "IMAPS mail.example.com:993 as imap.example.com with RSA",
            "IMAPS mail.example.com:993 as imap.example.com with ECDSA",
        ]
    );
    assert_eq!((found[0].sni, found[0].algorithm), (true, Some(ServedAlgorithm::RSA)));
    assert_eq!((found[2].sni, found[2].host.as_str()), (false, "mail.example.com"));
    let old = &found[4];
    assert_eq!((old.host.as_str(), old.address.as_deref()), ("imap.example.com", Some("mail.example.com")));
}

#[test]
fn every_ready_pod_that_declares_the_port_is_looked_at() {
    let workloads = json!({"workloads": [{"kind": "Deployment", "name": "w"}],
        "endpoints": [{"protocol": "IMAPS", "proxyProtocol": "V2"}, {"protocol": "SMTP", "podPort": 2525}]});
    let mut world = asking(json!({"perPod": true}), workloads);
    let (mut one, mut two, mut three) = (pod("w-1"), pod("w-2"), pod("w-3"));
    (one.ip, two.ready, three.ports) = (Some("10.0.0.7".to_owned()), false, [2525].into());
    world.workloads[0].pods = Pods::Listed(vec![one, two, three]);
    let found = looks(&world);
    let shown: Vec<_> = found.iter().map(|t| (t.key.as_str(), t.address.as_deref(), t.port)).collect();
    assert_eq!(
        shown,
        [
            ("IMAPS mail.example.com:993", None, 993),
            ("SMTP mail.example.com:25", None, 25),
            ("IMAPS mail.example.com:993 in pod w-1", Some("10.0.0.7"), 993),
            ("SMTP mail.example.com:25 in pod w-3", Some("10.0.0.1"), 2525),
        ]
    );
    assert!(found[2].proxy_protocol.is_some() && found[3].proxy_protocol.is_none());
    let decision = Outside::serving(&SECOND).pass(&mut world).1;
    assert_eq!(decision.status.endpoint_problems.as_deref(), Some("0/4"));

    world.workloads[0].pods = Pods::Forbidden("set the chart value probe.perPod.enabled".to_owned());
    let finding = &decide(&world).status.findings[0];
    assert_eq!(
        (finding.reason.as_str(), finding.message.as_str()),
        ("PodsForbidden", "set the chart value probe.perPod.enabled")
    );
    world.workloads[0].pods = Pods::Listed(vec![]);
    let finding = &decide(&world).status.findings[1];
    let words = "no pod of spec.workloads declares the container port 2525, so none is looked at; set the endpoint's \
                 podPort, or declare the port in the pods";
    assert_eq!((finding.reason.as_str(), finding.about.as_str()), ("NoPod", "SMTP mail.example.com:25"));
    assert_eq!(finding.message, words);
}

#[test]
fn the_status_stays_bounded() {
    let endpoints: Vec<Value> = (1..=64).map(|port| json!({"protocol": "HTTPS", "port": port})).collect();
    let mut world =
        asking(json!({"withoutSNI": true, "keyAlgorithms": ["RSA", "ECDSA"]}), json!({"endpoints": endpoints}));
    let found = keys(&world);
    assert_eq!(found.len(), 200);
    assert!(found[..128].iter().all(|key| !key.contains("SNI")), "what matters most comes first");
    let (_, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert_eq!(decision.status.endpoints.len(), 200);
    let finding = &decision.status.findings[0];
    let words = "spec.endpoints and spec.probe ask for 256 looks; the first 200 are made";
    assert_eq!((finding.reason.as_str(), finding.message.as_str()), ("ProbesLimited", words));
}

#[test]
fn the_other_algorithm_may_have_any_certificate_that_clients_accept() {
    let mut world = asking(json!({"keyAlgorithms": ["ECDSA", "RSA"]}), json!({}));
    let other = OURS.leaf(&[HOST], hours(500));
    let (_, decision) = Outside::serving(&other).pass(&mut world);
    let shown: Vec<_> = decision
        .status
        .endpoints
        .iter()
        .map(|e| (e.verdict, e.reason.as_str(), e.served_fingerprint.is_some()))
        .collect();
    assert_eq!(
        shown,
        [(EndpointVerdict::Problem, "certificate-stale", true), (EndpointVerdict::Served, "served", false)]
    );
    let wrong = OURS.leaf(&["other.example.com"], hours(500));
    let mut world = asking(json!({"keyAlgorithms": ["RSA"]}), json!({}));
    let (_, decision) = Outside::serving(&wrong).pass(&mut world);
    let one = &decision.status.endpoints[0];
    assert_eq!(one.reason, "certificate-host-mismatch");
    assert!(
        one.message.as_ref().unwrap().starts_with("192.0.2.1:993 serves a certificate of another algorithm, of which ")
    );
}
