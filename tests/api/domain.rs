//! MailDomains.

use serde_json::{Value, json};

use crate::{
    common::{Kube, cluster},
    table::{Case, check, object},
};

pub fn good() -> Value {
    json!({"domain": "example.com", "externalURL": "https://mail.example.com", "certificate": {"ref": {"name": "mail"}}})
}

const ONE_SOURCE: &str = "exactly one of issuerRef and import must be set";
const ONE_CERTIFICATE: &str = "exactly one of ref, template and disabled: true must be set";
const ONE_WORKLOAD: &str = "exactly one of name and selector must be set";
const INTERVAL: &str = "interval must be between 30s and 168h";

#[test]
fn the_address_is_https_and_the_domain_a_name() {
    let pattern = Some("spec.externalURL in body should match");
    let url = |text: &str| json!({"externalURL": text});
    check(
        "MailDomain",
        &good(),
        &[
            ("a path", url("https://mail.example.com/webmail"), None),
            ("a port", url("https://mail.example.com:8443"), None),
            ("Unicode", url("https://müller.example"), None),
            ("plain HTTP", url("http://mail.example.com"), pattern),
            ("no scheme", url("mail.example.com"), pattern),
            ("no host", url("https:///x"), pattern),
            ("a user", url("https://me@mail.example.com"), pattern),
            ("a blank", url("https://mail.example.com/a b"), pattern),
            ("too long", url(&format!("https://mail.example.com/{}", "a".repeat(500))), Some("Too long")),
            ("Unicode domain", json!({"domain": "пошта.укр"}), None),
            ("one label", json!({"domain": "example"}), Some("spec.domain in body should match")),
            ("a wildcard", json!({"domain": "*.example.com"}), Some("spec.domain in body should match")),
            (
                "names",
                json!({"hostnames": {"additional": ["*.example.com"], "legacy": [{"name": "old.example.com"}]}}),
                None,
            ),
            ("a bad name", json!({"hostnames": {"additional": ["a b"]}}), Some("spec.hostnames.additional[0]")),
            (
                "51 names",
                json!({"hostnames": {"additional": vec!["a.example.com"; 51]}}),
                Some("spec.hostnames.additional: Too many"),
            ),
        ],
    );
}

#[test]
fn one_certificate() {
    let template = |change: Value| {
        let mut template = json!({"issuerRef": {"name": "ca"}});
        template.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"certificate": {"ref": null, "template": template}})
    };
    let imported = |change: Value| {
        let mut template = json!({"import": {"secretRef": {"name": "source"}}});
        template.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"certificate": {"ref": null, "template": template}})
    };
    let size = "size must be 256, 384 or 521 for ECDSA, 2048, 3072 or 4096 for RSA, and unset for Ed25519";
    check(
        "MailDomain",
        &good(),
        &[
            ("none", json!({"certificate": {"ref": null}}), Some(ONE_CERTIFICATE)),
            ("both", json!({"certificate": {"template": {"issuerRef": {"name": "ca"}}}}), Some(ONE_CERTIFICATE)),
            ("a template", template(json!({})), None),
            ("no issuer", json!({"certificate": {"ref": null, "template": {}}}), Some(ONE_SOURCE)),
            ("an import", imported(json!({})), None),
            (
                "an import from its own Secret",
                imported(json!({"secretName": "source"})),
                Some("must name another Secret"),
            ),
            ("an import with a duration", imported(json!({"duration": "2160h"})), Some("go with issuerRef")),
            ("a bad key", template(json!({"privateKey": {"size": 1024}})), Some(size)),
            ("a short life", template(json!({"duration": "1m"})), Some("duration must be between 1h and 87600h")),
            ("no certificate", json!({"certificate": null}), Some("spec.certificate: Required")),
        ],
    );
}

#[test]
fn endpoints_and_workloads() {
    let endpoint = |value: Value| json!({"endpoints": [value]});
    let workload = |value: Value| json!({"workloads": [value]});
    let mut cases: Vec<Case> =
        ["SMTP", "Submission", "Submissions", "IMAP", "IMAPS", "POP3", "POP3S", "Sieve", "HTTPS", "LMTP"]
            .map(|protocol| (protocol, endpoint(json!({"protocol": protocol})), None))
            .into();
    cases.extend([
        ("another protocol", endpoint(json!({"protocol": "smtp"})), Some("Unsupported value")),
        ("no protocol", endpoint(json!({"port": 25})), Some("spec.endpoints[0].protocol: Required")),
        ("a port", endpoint(json!({"protocol": "SMTP", "port": 65535, "tls": "Implicit"})), None),
        ("port 0", endpoint(json!({"protocol": "SMTP", "port": 0})), Some("spec.endpoints[0].port")),
        ("port 65536", endpoint(json!({"protocol": "SMTP", "port": 65536})), Some("spec.endpoints[0].port")),
        ("an address", endpoint(json!({"protocol": "SMTP", "address": "192.0.2.1", "host": "mx.example.com"})), None),
        (
            "a wildcard host",
            endpoint(json!({"protocol": "SMTP", "host": "*.example.com"})),
            Some("spec.endpoints[0].host"),
        ),
        ("another TLS", endpoint(json!({"protocol": "SMTP", "tls": "None"})), Some("Unsupported value")),
        ("64 endpoints", json!({"endpoints": vec![json!({"protocol": "SMTP"}); 64]}), None),
        ("65 endpoints", json!({"endpoints": vec![json!({"protocol": "SMTP"}); 65]}), Some("Too many")),
        ("a Deployment", workload(json!({"kind": "Deployment", "name": "postfix"})), None),
        ("by labels", workload(json!({"kind": "StatefulSet", "selector": {"matchLabels": {"a": "b"}}})), None),
        ("neither", workload(json!({"kind": "DaemonSet"})), Some(ONE_WORKLOAD)),
        ("both", workload(json!({"kind": "Deployment", "name": "a", "selector": {}})), Some(ONE_WORKLOAD)),
        ("a Job", workload(json!({"kind": "Job", "name": "a"})), Some("Unsupported value")),
        ("33 workloads", json!({"workloads": vec![json!({"kind": "Deployment", "name": "a"}); 33]}), Some("Too many")),
    ]);
    check("MailDomain", &good(), &cases);
}

#[test]
fn probes_come_in_measured_intervals() {
    let interval = |text: &str| json!({"probe": {"interval": text}});
    check(
        "MailDomain",
        &good(),
        &[
            ("30 s", interval("30s"), None),
            ("a week", interval("168h"), None),
            ("too often", interval("29s"), Some(INTERVAL)),
            ("too seldom", interval("169h"), Some(INTERVAL)),
            ("no duration", interval("often"), Some("spec.probe.interval")),
            ("a name to say", json!({"probe": {"ehloName": "probe.example.com"}}), None),
            (
                "no name to say",
                json!({"probe": {"ehloName": "probe"}}),
                Some("spec.probe.ehloName in body should match"),
            ),
        ],
    );
    let made = Kube::new(cluster()).create_dry(&object("MailDomain", "good", &good())).unwrap();
    assert_eq!(
        made["spec"]["probe"],
        json!({"interval": "3600s", "perPod": false, "withoutSNI": false, "legacyNames": false})
    );
    assert_eq!(made["spec"]["hostnames"], json!({}));
}

#[test]
fn one_way_to_reload() {
    let one = Some("exactly one of restart, exec, http, none and preset must be set");
    let with = |reload: Value| json!({"workloads": [{"kind": "Deployment", "name": "mail", "reload": reload}]});
    check(
        "MailDomain",
        &good(),
        &[
            ("restart", with(json!({"restart": {}})), None),
            ("none", with(json!({"none": {}})), None),
            ("exec", with(json!({"exec": {"command": ["reload"]}})), None),
            ("http", with(json!({"http": {"port": 8000, "path": "/servers?reload-certificate"}})), None),
            ("a preset in a container", with(json!({"preset": "postfix", "container": "mta"})), None),
            ("nothing", with(json!({})), one),
            ("two", with(json!({"restart": {}, "preset": "postfix"})), one),
            ("another preset", with(json!({"preset": "sendmail"})), Some("Unsupported value: \"sendmail\"")),
            (
                "no command",
                with(json!({"exec": {"command": []}})),
                Some("exec.command in body should have at least 1 items"),
            ),
            (
                "too long",
                with(json!({"exec": {"command": ["reload"], "timeout": "5m"}})),
                Some("timeout must be between 1s and 30s"),
            ),
            (
                "a blank in a path",
                with(json!({"http": {"port": 80, "path": "/a b"}})),
                Some("http.path in body should match"),
            ),
            (
                "a container without a preset",
                with(json!({"restart": {}, "container": "mta"})),
                Some("container belongs to preset; use exec.container with exec"),
            ),
        ],
    );
}

#[test]
fn rollouts_and_looks_are_bounded() {
    check(
        "MailDomain",
        &good(),
        &[
            (
                "all",
                json!({"rollout": {"maxConcurrent": 2, "order": ["a", "Deployment/b"], "disruptionBudgets": "Respect",
                    "windows": [{"cron": "0 2 * * *", "duration": "1h", "timeZone": "Europe/Berlin"}]}}),
                None,
            ),
            ("none at once", json!({"rollout": {"maxConcurrent": 0}}), Some("greater than or equal to 1")),
            (
                "all looks",
                json!({"probe": {"perPod": true, "withoutSNI": true, "legacyNames": true, "keyAlgorithms": ["RSA", "ECDSA"]}}),
                None,
            ),
            ("another algorithm", json!({"probe": {"keyAlgorithms": ["DSA"]}}), Some("Unsupported value: \"DSA\"")),
            (
                "PROXY protocol",
                json!({"endpoints": [{"protocol": "IMAP", "proxyProtocol": "V2", "podPort": 10143}]}),
                None,
            ),
            (
                "another version",
                json!({"endpoints": [{"protocol": "IMAP", "proxyProtocol": "V3"}]}),
                Some("Unsupported value: \"V3\""),
            ),
        ],
    );
}
