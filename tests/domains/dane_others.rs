//! TLSA records that others publish: people, who read them in a ConfigMap, and external-dns, which reads a DNSEndpoint.

use std::sync::Arc;

use mailcert_testenv::Bind;
use mailcert_testenv::dane::Judges;
use mailcert_testenv::pki::Pair;
use mailcert_testenv::published::DNS_ENDPOINT_CRD;
use serde_json::{Value, json};

use crate::common::{Path, cluster, condition, wait_condition, wait_for, wait_for_object};
use crate::dane_ground::{APEX, HOST, Mail, bind, operator, template, zone};
use crate::scene::{Scene, message, own};

/// The source of the import.
fn put(scene: &Scene, pair: &Pair) {
    let data = json!({"tls.crt": pair.cert_pem, "tls.key": pair.key_pem, "ca.crt": scene.ca.cert_pem});
    let at = Path::secret(&scene.ns, "source");
    match scene.kube.get(&at) {
        Some(_) => drop(scene.kube.patch(&at, &json!({"stringData": data})).unwrap()),
        None => drop(scene.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "source"},
            "type": "kubernetes.io/tls", "stringData": data}))),
    }
}

/// A person publishes what the ConfigMap has.
fn publish(scene: &Scene, bind: &Bind) {
    let map = scene.kube.get(&Path::new("configmaps", &scene.ns, "mail-tlsa")).unwrap();
    let lines: Vec<&str> = map["data"]["tlsa.zone"].as_str().unwrap().lines().collect();
    assert!(!lines.is_empty());
    bind.add_record(&lines.join("\nadd ")).unwrap();
}

/// And removes what a key had.
fn unpublish(mail: &Mail, bind: &Bind, spki: &str) {
    for port in mail.ports {
        bind.update(&format!("delete _{port}._tcp.{HOST}. TLSA 3 1 1 {spki}")).unwrap();
    }
}

fn active(scene: &Scene) -> String {
    let certificate = scene.kube.get(&scene.at_certificate("mail")).unwrap();
    certificate["status"]["active"]["spkiSHA256"].as_str().unwrap().to_owned()
}

/// Waits until a key is held back because of its record. Returns it.
fn held_back(scene: &Scene, current: &str, line: &str) -> String {
    let waits = wait_for_object(&scene.kube, &scene.at_certificate("mail"), "to hold the key back", |object| {
        let gate = &object["status"]["gates"][0];
        gate["type"] == "TLSAPublished" && gate["message"].as_str().is_some_and(|text| text.contains(line))
    });
    assert_eq!(active(scene), current);
    assert_eq!(
        waits["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Staged").unwrap()["status"],
        "True"
    );
    waits["status"]["staged"][0]["spkiSHA256"].as_str().unwrap().to_owned()
}

#[test]
fn an_import_and_a_rollback_with_another_key_wait_until_somebody_has_published_its_record() {
    let Some(mut bind) = bind(vec![zone(APEX).signed()], false) else { return };
    let resolver = bind.resolver().unwrap();
    let scene = Arc::new(Scene::new("dane-hand"));
    let _operator = operator(&scene, &bind);
    put(&scene, &scene.ca.issue(HOST, &[HOST], None).unwrap());
    let import = json!({"secretRef": {"name": "source"}, "trustAnchors": scene.ca.cert_pem});
    scene.create(own("MailCertificate", "mail", json!({"import": import, "secretName": "mail-tls"})));
    let mail = Mail::served(&scene, APEX, &json!({"ref": {"name": "mail"}}), &json!({"mode": "Show", "ttl": 2}));
    let missing = wait_condition(&scene.kube, &mail.at, "DNSReady", "False", "TLSAMissing");
    assert!(message(&missing, "DNSReady").starts_with("publish this record: _"), "{missing:#}");
    assert!(missing["metadata"]["finalizers"].is_null(), "nobody waits for what others publish");
    publish(&scene, &bind);
    wait_condition(&scene.kube, &mail.at, "DNSReady", "True", "TLSAPublished");
    let judges = Judges::new(resolver, &bind.anchor()).unwrap();
    mail.assert_judged(&judges, true);

    // Somebody puts a certificate with another key in the source.
    let first = active(&scene);
    put(&scene, &scene.ca.issue(HOST, &[HOST], None).unwrap());
    let second = held_back(&scene, &first, "MailDomain mail: publish this record: _");
    mail.assert_judged(&judges, true);
    publish(&scene, &bind);
    wait_for("the imported key to be used", || (active(&scene) == second).then_some(()));
    mail.assert_judged(&judges, true);

    // The former record may go two TTLs after the new key was seen, and the message says which.
    let line = format!("remove this record: _{}._tcp.{HOST}. IN TLSA 3 1 1 {first}", mail.ports.iter().min().unwrap());
    wait_for_object(&scene.kube, &mail.at, "to say what to remove", |object| {
        condition(object, "DNSReady").is_some_and(|(_, reason, text)| reason == "TLSAWithdrawing" && text == line)
    });
    let map = scene.kube.get(&Path::new("configmaps", &scene.ns, "mail-tlsa")).unwrap();
    assert!(!map["data"]["tlsa.zone"].as_str().unwrap().contains(&first), "{map:#}");
    unpublish(&mail, &bind, &first);
    wait_for_object(&scene.kube, &mail.at, "to forget the former key", |object| {
        object["status"]["dns"]["tlsa"]["published"] == json!([second])
    });

    // The way back waits for its record too.
    scene.kube.annotate(&scene.at_certificate("mail"), "mailcert.dev/rollback", "previous");
    let back = held_back(&scene, &second, "MailDomain mail: publish this record: _");
    assert_eq!(back, first);
    mail.assert_judged(&judges, true);
    publish(&scene, &bind);
    wait_for("the former key to be used", || (active(&scene) == first).then_some(()));
    mail.assert_judged(&judges, true);
}

#[test]
fn external_dns_is_told_of_every_record_and_of_its_end() {
    let Some(bind) = bind(vec![zone(APEX).signed()], false) else { return };
    cluster().kubectl_with(&["apply", "--server-side", "-f", "-"], &DNS_ENDPOINT_CRD.read().unwrap()).unwrap();
    let crd = "crd/dnsendpoints.externaldns.k8s.io";
    cluster().kubectl(&["wait", "--for=condition=Established", "--timeout=60s", crd]).unwrap();
    let scene = Arc::new(Scene::new("dane-external"));
    let _operator = operator(&scene, &bind);
    let tlsa = json!({"mode": "DNSEndpoint", "ttl": 2, "dnsEndpoint": {"labels": {"external-dns": "public"}}});
    let mail = Mail::served(&scene, APEX, &template("Never"), &tlsa);
    let standing = || -> Option<Value> {
        let args = ["get", "dnsendpoints", "mail-tlsa", "-n", &scene.ns, "-o", "json", "--ignore-not-found"];
        serde_json::from_str(&cluster().kubectl(&args).unwrap()).ok()
    };
    // Both names, each with the current and the next key.
    let object = wait_for("the DNSEndpoint", || {
        let object = standing()?;
        let endpoints = object["spec"]["endpoints"].as_array()?.clone();
        (endpoints.len() == 2 && endpoints.iter().all(|e| e["targets"].as_array().unwrap().len() == 2))
            .then_some(object)
    });
    assert_eq!(object["metadata"]["labels"]["external-dns"], "public");
    assert_eq!(object["metadata"]["ownerReferences"][0]["name"], "mail");
    let pending = wait_condition(&scene.kube, &mail.at, "DNSReady", "False", "TLSAPending");
    assert!(message(&pending, "DNSReady").contains("is not in DNS yet"), "{pending:#}");
    assert!(pending["metadata"]["finalizers"].is_null(), "the DNSEndpoint goes with it");

    // external-dns does its part.
    let mut lines = Vec::new();
    for endpoint in object["spec"]["endpoints"].as_array().unwrap() {
        assert_eq!((&endpoint["recordType"], &endpoint["recordTTL"]), (&json!("TLSA"), &json!(2)));
        for target in endpoint["targets"].as_array().unwrap() {
            let (name, target) = (endpoint["dnsName"].as_str().unwrap(), target.as_str().unwrap());
            lines.push(format!("{name}. 2 TLSA {target}"));
        }
    }
    bind.add_record(&lines.join("\nadd ")).unwrap();
    wait_condition(&scene.kube, &mail.at, "DNSReady", "True", "TLSAPublished");

    // Off: the object goes, and with it, by external-dns, the records.
    scene.kube.patch(&mail.at, &json!({"spec": {"dns": {"tlsa": {"mode": "Remove", "dnsEndpoint": null}}}})).unwrap();
    wait_for("the DNSEndpoint to go", || standing().is_none().then_some(()));
    for port in mail.ports {
        bind.update(&format!("delete _{port}._tcp.{HOST}. TLSA")).unwrap();
    }
    wait_condition(&scene.kube, &mail.at, "DNSReady", "True", "TLSAWithdrawn");
}
