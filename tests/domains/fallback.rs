//! MailDomains without a certificate of their own: the system certificate, and the Secret that is never empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::common::{
    Kube, Operator, Path, cluster, condition, data, events, wait_condition, wait_for, wait_for_object, wait_ready,
};
use crate::scene::{Scene, message};

/// Looks at a Secret all the time: whenever it is looked at, it holds a key and a certificate.
struct Mount {
    stop: Arc<AtomicBool>,
    looking: thread::JoinHandle<usize>,
}

impl Mount {
    fn watch(kube: &Arc<Kube>, at: Path) -> Self {
        let (stop, kube) = (Arc::new(AtomicBool::new(false)), kube.clone());
        let ended = stop.clone();
        let looking = thread::spawn(move || {
            let mut looks = 0;
            while !ended.load(Ordering::Relaxed) {
                let held = data(&kube.get(&at).unwrap_or_else(|| panic!("{at} was gone")));
                for key in ["tls.crt", "tls.key", "tls-combined.pem"] {
                    assert!(held.get(key).is_some_and(|v| !v.is_empty()), "{at} had no {key}");
                }
                assert_eq!(held["tls-combined.pem"], format!("{}{}", held["tls.key"], held["tls.crt"]));
                looks += 1;
            }
            looks
        });
        Self { stop, looking }
    }

    fn was_never_empty(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.looking.join().unwrap() > 10);
    }
}

fn system_certificate(scene: &Scene, name: &str) {
    let spec = json!({"issuerRef": {"name": "ca"}, "secretName": format!("{name}-tls"), "system": true,
        "dnsNames": ["mail.example.com"]});
    let object = json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate",
        "metadata": {"name": name}, "spec": spec});
    scene.create(object);
}

fn secret(scene: &Scene, name: &str) -> Value {
    scene.kube.get(&Path::secret(&scene.ns, name)).unwrap()
}

fn set_certificate(scene: &Scene, domain: &Path, certificate: &Value) {
    let mut whole = json!({"template": null, "disabled": null, "ref": null});
    for (key, value) in certificate.as_object().unwrap() {
        whole[key] = value.clone();
    }
    scene.kube.patch(domain, &json!({"spec": {"certificate": whole}})).unwrap();
}

/// Waits until the MailDomain's Secret is a copy of that certificate's, and the MailDomain says so and is Ready.
fn wait_copied(scene: &Scene, domain: &Path, certificate: &str) -> Value {
    let from = Path::secret(&scene.ns, &format!("{certificate}-tls"));
    wait_for_object(&scene.kube, domain, &format!("to use a copy of {certificate}"), |object| {
        let (Some(original), copy) = (scene.kube.get(&from), secret(scene, "mail-tls")) else { return false };
        let (said, labels) = (&object["status"]["certificate"], &copy["metadata"]["labels"]);
        let is_copy = labels["mailcert.dev/domain-name"] == "mail" && copy["data"] == original["data"];
        let is_told = said["name"] == certificate
            && said["copy"]["sourceResourceVersion"] == original["metadata"]["resourceVersion"];
        is_copy && is_told && condition(object, "Ready").is_some_and(|c| c.0 == "True")
    })
}

#[test]
fn a_disabled_certificate_goes_and_comes_back_without_a_gap() {
    let scene = Scene::new("disable");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let kube = &scene.kube;
    scene.workload("Deployment", "mail", json!({}), json!({}));
    let workloads = json!([{"kind": "Deployment", "name": "mail"}]);
    let outputs =
        json!({"template": {"issuerRef": {"name": "ca"}, "deletionPolicy": "Delete", "outputs": {"bluemind": true}}});
    let at = scene.domain("mail", json!({"workloads": workloads, "certificate": outputs}));
    wait_ready(kube, &at);
    // A second revision, so that the key of a former one is kept as well.
    kube.annotate(&scene.at_certificate("mail"), "mailcert.dev/renew", "once");
    wait_for_object(kube, &scene.at_certificate("mail"), "to have revision 2", |o| {
        o["status"]["active"]["revision"] == 2
    });
    let own_keys = || -> Vec<String> {
        let all = kube.list_in("secrets", &scene.ns).into_iter();
        let own = all.filter(|s| s["metadata"]["labels"]["mailcert.dev/certificate-name"] == "mail");
        own.filter_map(|s| s["data"]["tls.key"].as_str().map(str::to_owned)).collect()
    };
    let keys = own_keys();
    assert!(keys.len() >= 2, "{}", keys.len());
    let mount = Mount::watch(kube, Path::secret(&scene.ns, "mail-tls"));

    // Without a system certificate nothing is lost.
    set_certificate(&scene, &at, &json!({"disabled": true}));
    let domain = wait_condition(kube, &at, "Ready", "False", "SystemCertificateNotFound");
    assert!(message(&domain, "Ready").ends_with("until then MailCertificate mail serves on"), "{domain:#}");
    assert_eq!(domain["status"]["certificate"]["name"], "mail");

    // Nor is it with one that lacks a file which pods may read.
    system_certificate(&scene, "system");
    let domain = wait_condition(kube, &at, "Ready", "False", "CopyPending");
    assert!(message(&domain, "Ready").starts_with("the Secret mail-tls has bluemind.pem, which a copy"), "{domain:#}");
    let own = data(&secret(&scene, "mail-tls"))["bluemind.pem"].clone();

    // Then its copy takes the Secret over, and the own certificate goes with every key.
    kube.patch(&scene.at_certificate("system"), &json!({"spec": {"outputs": {"bluemind": true}}})).unwrap();
    let domain = wait_copied(&scene, &at, "system");
    let system = wait_ready(kube, &scene.at_certificate("system"));
    let certificate = &domain["status"]["certificate"];
    assert_eq!((&certificate["name"], &certificate["secretName"]), (&json!("system"), &json!("mail-tls")));
    wait_for("the own certificate to go", || kube.get(&scene.at_certificate("mail")).is_none().then_some(()));
    let left: String = kube.list_in("secrets", &scene.ns).iter().map(|s| s["data"].to_string()).collect();
    assert!(keys.iter().all(|key| !left.contains(key)), "a key of the own certificate is left");
    let copy = secret(&scene, "mail-tls");
    assert!(copy["metadata"]["ownerReferences"].is_null(), "{copy:#}");
    assert_ne!(data(&copy)["bluemind.pem"], own, "that of the system certificate");
    assert_eq!(copy["metadata"]["annotations"]["mailcert.dev/copy-of"], "system");
    let fingerprint = &system["status"]["active"]["fingerprintSHA256"];
    let rolled = kube.get(&Path::new("deployments.apps", &scene.ns, "mail")).unwrap();
    assert_eq!(rolled["spec"]["template"]["metadata"]["annotations"]["mailcert.dev/certificate"], *fingerprint);
    assert!(!events(kube, &scene.ns, "mail").iter().any(|e| e.1 == "SecretConflict"));

    // It follows a renewal, and is put right when somebody changes it.
    kube.annotate(&scene.at_certificate("system"), "mailcert.dev/renew", "once");
    wait_for_object(kube, &scene.at_certificate("system"), "to have revision 2", |o| {
        o["status"]["active"]["revision"] == 2
    });
    wait_copied(&scene, &at, "system");
    let other = data(&copy)["tls.crt"].clone();
    kube.patch(&Path::secret(&scene.ns, "mail-tls"), &json!({"stringData": {"more": other}})).unwrap();
    wait_copied(&scene, &at, "system");

    // It cannot be taken away while it is needed.
    let refused = kube.patch(&scene.at_certificate("system"), &json!({"spec": {"system": false}})).unwrap_err();
    assert!(refused.contains("system cannot be turned off while MailDomains depend on"), "{refused}");
    kube.delete(&scene.at_certificate("system"));
    let held = wait_condition(kube, &scene.at_certificate("system"), "System", "True", "DeletionHeld");
    let words = "the deletion waits for MailDomain mail, which depends on it: ";
    assert!(message(&held, "System").starts_with(words), "{held:#}");
    assert_eq!((condition(&held, "Ready").unwrap().0, &held["status"]["dependents"]), ("True", &json!(["mail"])));
    wait_for("its Event", || events(kube, &scene.ns, "system").into_iter().find(|e| e.1 == "DeletionHeld"));

    // Enabled again: a new certificate takes the Secret over, and the system certificate may go.
    set_certificate(&scene, &at, &json!({"template": {"issuerRef": {"name": "ca"}}}));
    wait_for("the system certificate to go", || kube.get(&scene.at_certificate("system")).is_none().then_some(()));
    wait_for_object(kube, &Path::secret(&scene.ns, "mail-tls"), "to be the own certificate's", |s| {
        s["metadata"]["labels"]["mailcert.dev/certificate-name"] == "mail"
    });
    let domain = wait_ready(kube, &at);
    let own = wait_ready(kube, &scene.at_certificate("mail"));
    assert_eq!(domain["status"]["certificate"]["fingerprintSHA256"], own["status"]["active"]["fingerprintSHA256"]);
    let taken = secret(&scene, "mail-tls");
    let metadata = &taken["metadata"];
    let leftovers = (&metadata["labels"]["mailcert.dev/domain-name"], &metadata["annotations"]["mailcert.dev/copy-of"]);
    assert_eq!(leftovers, (&Value::Null, &Value::Null));
    assert!(!keys.contains(&taken["data"]["tls.key"].as_str().unwrap().to_owned()));
    mount.was_never_empty();
}

#[test]
fn the_older_of_two_has_the_role_and_hands_it_over() {
    let scene = Scene::new("handover");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let kube = &scene.kube;
    // Ages are whole seconds: of two that are made in the same one, the first by name is the older.
    system_certificate(&scene, "a-first");
    wait_ready(kube, &scene.at_certificate("a-first"));
    system_certificate(&scene, "b-second");
    let second = wait_condition(kube, &scene.at_certificate("b-second"), "System", "False", "SystemTaken");
    assert!(message(&second, "System").starts_with("MailCertificate a-first is this namespace's system certificate"));
    let at = scene.domain("mail", json!({"certificate": {"disabled": true}}));
    wait_for("the Secret", || kube.get(&Path::secret(&scene.ns, "mail-tls")));
    let domain = wait_copied(&scene, &at, "a-first");
    assert_eq!(domain["status"]["certificate"]["name"], "a-first");
    // A Secret that somebody else made is left alone.
    let foreign =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "stringData": {"a": "b"}});
    scene.create(foreign);
    let theirs = scene.domain("theirs", json!({"certificate": {"disabled": true, "secretName": "theirs"}}));
    let said = wait_condition(kube, &theirs, "Ready", "False", "SecretConflict");
    assert!(message(&said, "Ready").starts_with("the Secret theirs exists and was not made by mailcert"), "{said:#}");
    assert_eq!(data(&secret(&scene, "theirs"))["a"], "b");
    // Pods that mount the system certificate's own Secret need no copy.
    let direct = scene.domain("direct", json!({"certificate": {"disabled": true, "secretName": "a-first-tls"}}));
    wait_ready(kube, &direct);
    assert_eq!(secret(&scene, "a-first-tls")["metadata"]["labels"]["mailcert.dev/certificate-name"], "a-first");
    kube.delete(&direct);

    kube.delete(&scene.at_certificate("a-first"));
    wait_for("the first to go", || kube.get(&scene.at_certificate("a-first")).is_none().then_some(()));
    let domain = wait_copied(&scene, &at, "b-second");
    assert_eq!(domain["status"]["certificate"]["name"], "b-second");
    wait_condition(kube, &scene.at_certificate("b-second"), "System", "True", "SystemCertificate");
    // Nobody needs it any more: it goes at once.
    kube.delete(&at);
    kube.delete(&theirs);
    kube.delete(&scene.at_certificate("b-second"));
    wait_for("the second to go", || kube.get(&scene.at_certificate("b-second")).is_none().then_some(()));
}
