use serde_json::json;

use super::fixtures::*;
use crate::decide::domain::names::{desired_certificate, names, same_spec};

#[test]
fn names_are_computed_in_a_labels_sorted_and_once() {
    let domain = domain(json!({
        "externalURL": "https://Mail.Example.com:8443/webmail",
        "endpoints": [
            {"protocol": "IMAPS"}, {"protocol": "IMAPS", "host": "MAIL.example.com."},
            {"protocol": "SMTP", "host": "bücher.example", "port": 2525, "address": "mx.mail.svc"},
        ],
        "hostnames": {
            "additional": ["*.example.com", "imap.example.com"],
            "legacy": [{"name": "old.example.com"}, {"name": "imap.example.com"}, {"name": "OLD.example.com"}],
        },
        "certificate": {"template": {"issuerRef": {"name": "ours"}, "dnsNames": ["Z.example.com"]}},
    }));
    let spec = desired_certificate(&domain).unwrap();
    let wanted = ["*.example.com", "imap.example.com", "mail.example.com", "xn--bcher-kva.example", "z.example.com"];
    assert_eq!(spec.dns_names, wanted);
    assert_eq!(spec.legacy_dns_names.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["old.example.com"]);
    assert_eq!(spec.secret_name, "example-com-tls");
    let targets = names(&domain).targets;
    let keys: Vec<&str> = targets.iter().map(|t| t.key.as_str()).collect();
    assert_eq!(keys, ["IMAPS mail.example.com:993", "SMTP xn--bcher-kva.example:2525 via mx.mail.svc"]);
    assert_eq!(targets[1].ehlo_name, "mailcert.example.com");
}

#[test]
fn every_unusable_name_is_said_with_its_place() {
    let domain = domain(json!({
        "domain": "example",
        "externalURL": "http://mail.example.com",
        "endpoints": [{"protocol": "IMAPS"}, {"protocol": "SMTP", "host": "192.0.2.1", "port": 70000}],
        "hostnames": {"additional": ["a..example.com"], "legacy": [{"name": "*.example.com"}]},
        "certificate": {"template": {"issuerRef": {"name": "ours"}, "dnsNames": ["a_b.example.com"]}},
    }));
    let expected = [
        "spec.domain: \"example\" has only one label; give the full DNS name, such as example.example.com",
        "spec.externalURL: the URL does not start with https://; write it as https://mail.example.com",
        "spec.endpoints[1].host: \"192.0.2.1\" is an IP address; mail clients compare DNS names, give the host's name",
        "spec.endpoints[1].port: 70000 is not a port from 1 to 65535",
        "spec.hostnames.additional[0]: \"a..example.com\" has an empty label; remove the extra dot",
        "spec.certificate.template.dnsNames[0]: \"a_b.example.com\" has characters that a host name cannot have",
        "spec.hostnames.legacy[0].name: \"*.example.com\" is a wildcard; give one host name",
    ];
    assert_eq!(desired_certificate(&domain).unwrap_err(), expected);
}

#[test]
fn more_names_than_a_certificate_takes_are_refused() {
    let additional: Vec<String> = (0..100).map(|i| format!("h{i}.example.com")).collect();
    let domain = domain(json!({"hostnames": {"additional": additional}}));
    assert_eq!(
        desired_certificate(&domain).unwrap_err(),
        ["spec: it needs 101 names; a certificate holds at most 100"]
    );
}

#[test]
fn what_the_api_server_makes_of_a_spec_is_the_same_spec() {
    let domain = domain(json!({
        "hostnames": {"legacy": [{"name": "old.example.com", "onUnreachable": "Drop"}]},
        "certificate": {"template": {
            "issuerRef": {"name": "ours"}, "duration": "2160h", "secretTemplate": {}, "subject": {},
            "usages": ["serverAuth", "clientAuth"], "renewal": {"before": "720h30m"},
        }},
    }));
    let spec = desired_certificate(&domain).unwrap();
    let mut stored = serde_json::to_value(&spec).unwrap();
    // Defaults that the API server writes, and orders that mean nothing.
    stored["history"] = json!({"revisions": 3});
    stored["privateKey"] = json!({"algorithm": "ECDSA", "rotation": {"policy": "Always"}});
    stored["deletionPolicy"] = json!("Retain");
    stored["usages"] = json!(["clientAuth", "serverAuth"]);
    stored.as_object_mut().unwrap().remove("secretTemplate");
    assert!(same_spec(&spec, &serde_json::from_value(stored.clone()).unwrap()));
    stored["dnsNames"] = json!(["other.example.com"]);
    assert!(!same_spec(&spec, &serde_json::from_value(stored).unwrap()));
}
