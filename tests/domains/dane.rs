//! DANE, on a real signed zone of BIND with a secondary server, judged by programs of others with a validating resolver:
//! `ldns-dane`, `danetool`, and Postfix' `posttls-finger`.

use std::sync::Arc;

use mailcert_testenv::dane::{Judges, Program, Verdict};
use mailcert_testenv::{Bind, BindOptions, BindZone, packages};
use serde_json::{Value, json};

use crate::common::{Operator, Path, cluster, wait_condition, wait_for, wait_for_object, wait_ready};
use crate::scene::{Scene, fingerprint, message, own};
use crate::server::{Manner, SMTP, Server};

/// Not below `test`, of which libunbound (in danetool) knows that it does not exist.
const APEX: &str = "dane.example";
const HOST: &str = "mail.dane.example";
/// Who judges, and which of the two servers: IMAPS, SMTP.
const JUDGES: [(Program, usize); 4] =
    [(Program::LdnsDane, 0), (Program::Danetool, 0), (Program::DanetoolSmtp, 1), (Program::Posttls, 1)];

/// BIND with signed zones, or nothing with a message.
fn bind(zones: Vec<BindZone>, secondary: bool) -> Option<Bind> {
    if let Err(error) = packages::require(&packages::DANE) {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI=true and no tools: {error}");
        eprintln!("skipped, since it needs programs that judge TLSA records: {error}");
        return None;
    }
    Bind::start_or_skip(&BindOptions { zones, secondary, notify: false })
}

fn zone(apex: &str) -> BindZone {
    BindZone::new(apex).records("mail A 127.0.0.1")
}

/// An operator that asks this BIND, and trusts its root.
fn operator(scene: &Scene, bind: &Bind) -> Operator {
    let resolvers = format!("--dns-resolvers={}", bind.address());
    let anchors = format!("--dnssec-trust-anchors={}", bind.anchor());
    Operator::start(cluster(), &[&scene.ns], &[&resolvers, &anchors])
}

/// `dns.tlsa` by updates, with the key in the Secret `tsig`.
fn tlsa(scene: &Scene, bind: &Bind, secret: &str) -> Value {
    let name = bind.key("hmac-sha256").0;
    scene.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tsig"},
        "stringData": {"secret": secret}}));
    json!({"mode": "RFC2136", "ttl": 2, "rfc2136": {"server": bind.address().to_string(), "tsigKeyName": name,
        "tsigSecretRef": {"name": "tsig", "key": "secret"}}})
}

/// A MailDomain `mail` of that domain, whose servers load the Secret for each client, and the ports of IMAPS and SMTP.
fn served(scene: &Arc<Scene>, apex: &str, tlsa: &Value) -> (Path, [u16; 2]) {
    let load = || {
        let scene = scene.clone();
        move || scene.identity("mail-tls")
    };
    let servers = [Server::start(Manner::Implicit("* OK ready\r\n"), load()), Server::start(SMTP, load())];
    let endpoint = |protocol, port| json!({"protocol": protocol, "address": "127.0.0.1", "port": port});
    let [imaps, smtp] = servers.map(|server| server.port);
    scene.create(own(
        "MailDomain",
        "mail",
        json!({
            "domain": apex, "externalURL": format!("https://mail.{apex}"),
            "certificate": {"template": {"issuerRef": {"name": "ca"}, "privateKey": {"rotation": {"policy": "Never"}}}},
            "endpoints": [endpoint("IMAPS", imaps), endpoint("SMTP", smtp)],
            "dns": {"tlsa": tlsa},
        }),
    ));
    (scene.at_domain("mail"), [imaps, smtp])
}

/// The values that the primary has for a port.
fn values(bind: &Bind, port: u16) -> Vec<String> {
    let text = bind.ask(&format!("_{port}._tcp.{HOST}"), "TLSA").unwrap();
    let mut all: Vec<String> = text.lines().map(|line| line.to_ascii_lowercase()).collect();
    all.sort();
    all
}

#[test]
fn records_are_published_verified_by_others_kept_over_renewals_and_withdrawn() {
    let Some(mut bind) = bind(vec![zone(APEX).signed()], true) else { return };
    let resolver = bind.resolver().unwrap();
    let scene = Arc::new(Scene::new("dane"));
    let secret = bind.key("hmac-sha256").1;
    let tlsa = tlsa(&scene, &bind, &secret);
    let mut operator = operator(&scene, &bind);
    let (at, ports) = served(&scene, APEX, &tlsa);

    // The secondary lags: nothing is ready, and it is named.
    let lags = wait_for_object(&scene.kube, &at, "to name the secondary", |object| {
        let said = crate::common::condition(object, "DNSReady");
        said.is_some_and(|(_, reason, text)| reason == "TLSAPending" && text.contains("is not at ns2.dane.example yet"))
    });
    assert!(lags["status"]["dns"]["tlsa"]["published"][0].is_string(), "{lags:#}");
    bind.transfer(APEX).unwrap();
    let ready = wait_condition(&scene.kube, &at, "DNSReady", "True", "TLSAPublished");
    let spki = ready["status"]["dns"]["tlsa"]["ready"][0].as_str().unwrap().to_owned();
    for record in ready["status"]["dns"]["tlsa"]["records"].as_array().unwrap() {
        assert!(record["firstSeen"].is_string() && record["safeFrom"].is_string(), "{record:#}");
    }

    // Others agree.
    let judges = Judges::new(resolver, &bind.anchor()).unwrap();
    for (program, port) in JUDGES.map(|(program, place)| (program, ports[place])) {
        assert_eq!(judges.judge(program, HOST, port), Verdict::Valid, "{program}");
    }

    // A renewal that keeps the key changes nothing in DNS.
    let before = values(&bind, ports[0]);
    assert!(before.iter().any(|value| value.replace(' ', "") == format!("311{spki}")), "{before:?}");
    let soa = || bind.ask(APEX, "SOA").unwrap();
    let serial = soa();
    scene.renew("mail");
    wait_ready(&scene.kube, &at);
    assert_eq!((values(&bind, ports[0]), soa()), (before, serial));
    assert_eq!(judges.judge(Program::LdnsDane, HOST, ports[0]), Verdict::Valid);

    // Nothing is written while nothing changes, not even by an operator that has just started.
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let settled = wait_condition(&scene.kube, &at, "DNSReady", "True", "TLSAPublished");
    operator.restart();
    wait_for("the new operator to have looked", || operator.log().contains("look at the TLSA records").then_some(()));
    assert_eq!(version(&wait_condition(&scene.kube, &at, "DNSReady", "True", "TLSAPublished")), version(&settled));

    // Off: withdrawn by the server that the status remembers, cached for two TTLs, forgotten.
    scene.kube.patch(&at, &json!({"spec": {"dns": null}})).unwrap();
    wait_for("the records to be withdrawn", || values(&bind, ports[0]).is_empty().then_some(()));
    bind.transfer(APEX).unwrap();
    let off = wait_for_object(&scene.kube, &at, "to forget the records", |o| o["status"]["dns"]["tlsa"].is_null());
    assert!(crate::common::condition(&off, "DNSReady").is_none(), "{off:#}");
    assert!(values(&bind, ports[1]).is_empty());
    wait_ready(&scene.kube, &at);
}

#[test]
fn a_refused_key_and_zones_that_do_not_validate_are_said() {
    let zones = vec![zone(APEX).signed(), zone("plain.test"), zone("bogus.test").broken()];
    let Some(bind) = bind(zones, false) else { return };
    for (apex, key, reason, words) in [
        (APEX, "hmac-sha512", "PublishFailed", "has another secret for the TSIG key mailcert-sha256 (BADSIG)"),
        ("plain.test", "hmac-sha256", "ZoneNotSigned", "the zone plain.test is not signed (DNSSEC)"),
        ("bogus.test", "hmac-sha256", "DNSSECBogus", "does not validate (DNSSEC): its signature does not lead to"),
    ] {
        let scene = Arc::new(Scene::new("dane-bad"));
        let tlsa = tlsa(&scene, &bind, &bind.key(key).1);
        let _operator = operator(&scene, &bind);
        let (at, _) = served(&scene, apex, &tlsa);
        let found = wait_condition(&scene.kube, &at, "DNSReady", "False", reason);
        assert!(message(&found, "DNSReady").contains(words), "{}", message(&found, "DNSReady"));
        let ready = wait_condition(&scene.kube, &at, "Ready", "False", reason);
        assert!(message(&ready, "Served").contains("serve revision 1"), "mail flows all the same: {ready:#}");
        let certificate = scene.kube.get(&scene.at_certificate("mail")).unwrap();
        assert!(!fingerprint(&certificate).is_empty());
    }
}
