//! Mail domains that share a server: one Secret with the keys and tables of all.

use serde_json::{Value, json};

use crate::common::{Operator, Path, cluster, data, version, wait_condition, wait_for, wait_for_object, wait_ready};
use crate::scene::{Scene, fingerprint, message, own};

const NAMES: [&str; 3] = ["a-com", "b-org", "c-net"];

/// A MailDomain of the group, with a host of its own.
fn member(scene: &Scene, name: &str, host: &str) -> Path {
    let workloads = json!([{"kind": "Deployment", "name": "postfix"}]);
    let spec =
        json!({"externalURL": format!("https://{host}"), "sni": {"secretName": "mail-sni"}, "workloads": workloads});
    scene.domain(name, spec)
}

fn annotation(scene: &Scene, workload: &Path) -> String {
    let object = scene.kube.get(workload).unwrap();
    let annotation = &object["spec"]["template"]["metadata"]["annotations"]["mailcert.dev/certificate"];
    annotation.as_str().unwrap_or_default().to_owned()
}

fn secret(scene: &Scene) -> Option<Value> {
    scene.kube.get(&Path::secret(&scene.ns, "mail-sni"))
}

fn table(scene: &Scene) -> Vec<String> {
    let files = secret(scene).map(|s| data(&s)).unwrap_or_default();
    let table = files.get("postfix-sni").cloned().unwrap_or_default();
    table.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn a_group_has_one_secret_which_follows_its_members() {
    let scene = Scene::new("sni");
    let mut operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let workload = scene.workload("Deployment", "postfix", json!({}), json!({}));
    let hosts = ["mail.a.com", "mail.b.org", "mail.c.net"];
    let domains: Vec<Path> = NAMES.iter().zip(hosts).map(|(name, host)| member(&scene, name, host)).collect();
    let lines = |hosts: &[(&str, &str)]| -> Vec<String> {
        hosts.iter().map(|(host, name)| format!("{host} /etc/mail-sni/{name}.pem")).collect()
    };
    let all = [("mail.a.com", "a-com"), ("mail.b.org", "b-org"), ("mail.c.net", "c-net")];
    wait_for("the table", || (table(&scene) == lines(&all)).then_some(()));
    for domain in &domains {
        wait_ready(&scene.kube, domain);
    }
    let object = scene.kube.get(&domains[1]).unwrap();
    assert_eq!(message(&object, "SNIReady"), "the tables in the Secret mail-sni have mail.b.org");
    for name in NAMES {
        let of_its_own = data(&scene.kube.get(&Path::secret(&scene.ns, &format!("{name}-tls"))).unwrap());
        assert_eq!(data(&secret(&scene).unwrap())[&format!("{name}.pem")], of_its_own["tls-combined.pem"], "{name}");
    }
    let prints: Vec<String> =
        NAMES.iter().map(|name| fingerprint(&scene.kube.get(&scene.at_certificate(name)).unwrap())).collect();
    let rolled = annotation(&scene, &workload);
    assert!(prints.iter().all(|print| rolled.contains(print.as_str())), "{rolled}");

    // A renewal is in the Secret before pods are restarted for it.
    let renewed = scene.renew("b-org");
    wait_for("a restart for it", || annotation(&scene, &workload).contains(&renewed).then_some(()));
    let of_its_own = data(&scene.kube.get(&Path::secret(&scene.ns, "b-org-tls")).unwrap());
    assert_eq!(data(&secret(&scene).unwrap())["b-org.pem"], of_its_own["tls-combined.pem"]);
    for domain in &domains {
        wait_ready(&scene.kube, domain);
    }

    let mut seen = (0.0, 0);
    wait_for("rest after the renewal", || {
        let writes = operator.writes();
        seen = if writes == seen.0 { (writes, seen.1 + 1) } else { (writes, 0) };
        (seen.1 >= 20).then_some(())
    });
    // At rest a restarted operator writes nothing; what somebody has changed is put right.
    let before = secret(&scene).unwrap();
    operator.restart();
    wait_for("a pass over each", || {
        let passes = operator.metric("mailcert_reconcile_duration_seconds_count", &["kind=\"MailDomain\""]);
        (passes >= 3.0).then_some(())
    });
    assert_eq!((operator.writes(), version(&secret(&scene).unwrap())), (0.0, version(&before)));
    scene.kube.patch(&Path::secret(&scene.ns, "mail-sni"), &json!({"data": {"a-com.pem": null}})).unwrap();
    wait_for("the file to be back", || data(&secret(&scene)?).contains_key("a-com.pem").then_some(()));

    // Without the first, the next one writes.
    scene.kube.delete(&domains[0]);
    wait_for("a table of two", || (table(&scene) == lines(&all[1..])).then_some(()));
    assert!(!data(&secret(&scene).unwrap()).contains_key("a-com.pem"));
    wait_for_object(&scene.kube, &domains[1], "to be the writer", |o| o["status"]["sni"]["writer"] == "b-org");
    wait_ready(&scene.kube, &domains[1]);

    // The system certificate takes the place of one that is disabled, and is followed.
    scene.create(own(
        "MailCertificate",
        "system",
        json!({"issuerRef": {"name": "ca"}, "secretName": "system-tls",
        "system": true, "dnsNames": ["mail.c.net"]}),
    ));
    wait_ready(&scene.kube, &scene.at_certificate("system"));
    scene.kube.patch(&domains[2], &json!({"spec": {"certificate": {"template": null, "disabled": true}}})).unwrap();
    let has_system = || {
        let system = data(&scene.kube.get(&Path::secret(&scene.ns, "system-tls")).unwrap());
        (data(&secret(&scene)?)["c-net.pem"] == system["tls-combined.pem"]).then_some(())
    };
    wait_for("the system certificate in the group's Secret", has_system);
    assert_eq!(table(&scene), lines(&all[1..]));
    let renewed = scene.renew("system");
    wait_for("its renewal in the group's Secret", has_system);
    wait_for("a restart for it", || annotation(&scene, &workload).contains(&renewed).then_some(()));
    for domain in &domains[1..] {
        wait_ready(&scene.kube, domain);
    }
}

#[test]
fn a_secret_of_somebody_else_is_never_written() {
    let scene = Scene::new("sni-foreign");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let foreign = scene.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mail-sni"},
        "stringData": {"mine": "mine"}}));
    let at = member(&scene, "a-com", "mail.a.com");
    scene.workload("Deployment", "postfix", json!({}), json!({}));
    let object = wait_condition(&scene.kube, &at, "SNIReady", "False", "SNIConflict");
    let told = "the Secret mail-sni exists and was not made for tables of names: choose another spec.sni.secretName, or keep \
                a copy and delete it";
    assert_eq!(message(&object, "SNIReady"), told);
    wait_condition(&scene.kube, &at, "Stalled", "True", "SNIConflict");
    assert_eq!(version(&secret(&scene).unwrap()), version(&foreign));
    scene.kube.delete(&Path::secret(&scene.ns, "mail-sni"));
    wait_ready(&scene.kube, &at);
}
