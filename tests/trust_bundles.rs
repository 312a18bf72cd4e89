//! MailTrustBundles on a real API server: what the ConfigMaps hold, when they are written, and what is left alone. One
//! operator serves every namespace.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers panic as the tests that call them do")]

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use base64::{Engine, prelude::BASE64_STANDARD};
use common::{
    Authority, Kube, Operator, Path, cluster, condition, create, events, namespace, version, wait_condition, wait_for,
    wait_for_object, wait_ready,
};
use mailcert::pki::{Chain, PemLimits, mozilla_roots};
use serde_json::{Value, json};

struct Scene {
    kube: Kube,
    ns: String,
    other: String,
    operator: Operator,
}

impl Scene {
    fn bundle(&self, name: &str, ns: &str, spec: &Value) -> Path {
        create(&self.kube, "MailTrustBundle", ns, name, spec);
        Path::new("mailtrustbundles", ns, name)
    }

    fn map(&self, ns: &str, name: &str) -> Path {
        Path::new("configmaps", ns, name)
    }

    /// Makes or changes the source `ca` of the first namespace.
    fn source(&self, pem: &str) {
        let at = self.map(&self.ns, "ca");
        if self.kube.get(&at).is_some() {
            self.kube.patch(&at, &json!({"data": {"ca.crt": pem}})).unwrap();
            return;
        }
        let metadata = json!({"name": "ca", "namespace": self.ns});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": pem}});
        self.kube.create(&map).unwrap();
    }

    fn text(&self, ns: &str, name: &str) -> String {
        self.kube.get(&self.map(ns, name)).unwrap()["data"]["ca.crt"].as_str().unwrap_or_default().to_owned()
    }

    fn wait_version(&self, at: &Path, version: i64) -> Value {
        wait_for_object(&self.kube, at, &format!("to have version {version}"), |o| o["status"]["version"] == version)
    }
}

fn authority(name: &str) -> Authority {
    Authority::new(name)
}

fn fingerprints(pem: &str) -> BTreeSet<String> {
    let chain = Chain::from_pem(pem.as_bytes(), &PemLimits::BUNDLE).unwrap();
    chain.iter().map(|c| c.fingerprint.to_string()).collect()
}

/// SHA-256 fingerprints of the trusted certificates in a PKCS#12 file, as Java reads it. Nothing where there is no Java.
fn read_by_java(store: &[u8], password: &str) -> Option<BTreeSet<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("truststore.p12");
    std::fs::write(&file, store).unwrap();
    let mut command = Command::new("keytool");
    command.args(["-J-Duser.language=en", "-list", "-v", "-storepass", password, "-keystore"]).arg(&file);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true and no keytool: {error}");
            eprintln!("the trust store is not read by Java, since there is no keytool: {error}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("SHA256: "));
    assert_eq!(text.matches("Entry type: trustedCertEntry").count(), lines.clone().count(), "{text}");
    Some(lines.map(|l| l.replace(':', "").to_ascii_lowercase()).collect())
}

#[test]
fn trust_bundles() {
    let kube = Kube::new(cluster());
    let (ns, other) = (namespace(&kube, "trust"), namespace(&kube, "tenant"));
    let operator = Operator::start(cluster(), &[], &[&format!("--trust-bundles-from={ns}")]);
    let scene = Scene { kube, ns, other, operator };
    let at = what_is_asked_for_is_there(&scene);
    it_is_written_only_when_it_changes(&scene, &at);
    a_rotated_anchor_stays_for_a_while(&scene, &at);
    a_source_that_turns_bad_changes_nothing(&scene, &at);
    nothing_foreign_is_written(&scene);
    namespaces_are_selected_by_label(&scene);
    config_maps_go_where_they_are_told_to(&scene);
}

/// Mozilla's roots and an own one, in two namespaces, as text and as a trust store that Java reads.
fn what_is_asked_for_is_there(scene: &Scene) -> Path {
    let own = authority("Corporate Root");
    scene.source(&own.cert_pem);
    let spec = json!({
        "sources": [{"mozilla": true}, {"configMap": {"name": "ca"}}],
        "targets": {"configMap": {"name": "mail-trust", "labels": {"team": "mail"}}, "truststore": {},
            "namespaces": {"names": [scene.ns, scene.other]}},
    });
    let at = scene.bundle("mail-trust", &scene.ns, &spec);
    let made = wait_ready(&scene.kube, &at);
    let roots = mozilla_roots().len();
    assert_eq!(made["status"]["anchors"], json!({"total": roots + 1, "mozilla": roots, "own": 1, "retained": 0}));
    let mut wanted: BTreeSet<String> =
        mozilla_roots().iter().map(|der| mailcert::pki::Fingerprint::of(der).to_string()).collect();
    wanted.extend(fingerprints(&own.cert_pem));
    for ns in [&scene.ns, &scene.other] {
        let map = scene.kube.get(&scene.map(ns, "mail-trust")).unwrap();
        assert_eq!(fingerprints(map["data"]["ca.crt"].as_str().unwrap()), wanted);
        let labels = &map["metadata"]["labels"];
        assert_eq!((&labels["team"], &labels["app.kubernetes.io/managed-by"]), (&json!("mail"), &json!("mailcert")));
        let store = BASE64_STANDARD.decode(map["binaryData"]["truststore.p12"].as_str().unwrap()).unwrap();
        if let Some(read) = read_by_java(&store, "changeit") {
            assert_eq!(read, wanted);
        }
    }
    let expiry = scene.operator.metric("mailcert_trust_anchor_not_after_timestamp_seconds", &["Corporate Root"]);
    assert!(expiry > 1_700_000_000.0, "{expiry}");
    at
}

fn it_is_written_only_when_it_changes(scene: &Scene, at: &Path) {
    let kube = &scene.kube;
    let seen = || {
        let maps =
            [&scene.ns, &scene.other].map(|ns| version(&kube.get(&scene.map(ns, "mail-trust")).unwrap()).to_owned());
        (maps, version(&kube.get(at).unwrap()).to_owned())
    };
    let passes = || scene.operator.metric("mailcert_reconcile_duration_seconds_count", &["kind=\"MailTrustBundle\""]);
    let (before, count) = (seen(), passes());
    // A label on the source is news, and no change.
    kube.patch(&scene.map(&scene.ns, "ca"), &json!({"metadata": {"labels": {"a": "b"}}})).unwrap();
    wait_for("a pass", || (passes() > count).then_some(()));
    assert_eq!(seen(), before);
    // What somebody changes or deletes comes back, and the version stays.
    let text = scene.text(&scene.other, "mail-trust");
    kube.patch(&scene.map(&scene.other, "mail-trust"), &json!({"data": {"ca.crt": "nothing", "more": "x"}})).unwrap();
    let right = |map: &Value| map["data"] == json!({"ca.crt": text});
    wait_for_object(kube, &scene.map(&scene.other, "mail-trust"), "to be right again", right);
    kube.delete(&scene.map(&scene.ns, "mail-trust"));
    wait_for("the ConfigMap", || kube.get(&scene.map(&scene.ns, "mail-trust")).filter(|map| right(map)));
    assert_eq!(wait_ready(kube, at)["status"]["version"], 1);
}

fn a_rotated_anchor_stays_for_a_while(scene: &Scene, at: &Path) {
    let old = scene.kube.get(at).unwrap()["status"]["own"][0]["fingerprintSHA256"].as_str().unwrap().to_owned();
    let new = authority("Corporate Root 2");
    scene.source(&new.cert_pem);
    let made = scene.wait_version(at, 2);
    assert_eq!(made["status"]["anchors"]["retained"], 1);
    let found = fingerprints(&scene.text(&scene.other, "mail-trust"));
    assert!(found.contains(&old) && found.is_superset(&fingerprints(&new.cert_pem)));
    let finding = &made["status"]["findings"][0];
    assert_eq!(finding["reason"], "AnchorRetained");
    wait_for("its Event", || {
        events(&scene.kube, &scene.ns, "mail-trust").into_iter().find(|e| e.1 == "AnchorRetained")
    });
    scene.kube.patch(at, &json!({"spec": {"overlap": "0s"}})).unwrap();
    let made = scene.wait_version(at, 3);
    assert_eq!(made["status"]["anchors"]["retained"], 0);
    assert!(!fingerprints(&scene.text(&scene.other, "mail-trust")).contains(&old));
}

fn a_source_that_turns_bad_changes_nothing(scene: &Scene, at: &Path) {
    let before = scene.text(&scene.ns, "mail-trust");
    scene.source("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let said = wait_condition(&scene.kube, at, "Ready", "False", "SourceUnreadable");
    let (_, _, words) = condition(&said, "Ready").unwrap();
    assert!(words.starts_with("ConfigMap ca/ca.crt: ") && words.contains("stays in the bundle"), "{words}");
    scene.kube.delete(&scene.map(&scene.ns, "ca"));
    wait_for_object(&scene.kube, at, "to say that it is gone", |o| {
        condition(o, "Ready").is_some_and(|c| {
            c.2.starts_with(&format!("ConfigMap ca/ca.crt: there is no ConfigMap ca in namespace {}", scene.ns))
        })
    });
    assert_eq!(scene.text(&scene.ns, "mail-trust"), before);
}

fn nothing_foreign_is_written(scene: &Scene) {
    let metadata = json!({"name": "theirs", "namespace": scene.ns});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": "theirs"}});
    let before = scene.kube.create(&map).unwrap();
    let spec = json!({"sources": [{"mozilla": true}], "targets": {"configMap": {"name": "theirs"}}});
    let at = scene.bundle("theirs", &scene.ns, &spec);
    let said = wait_condition(&scene.kube, &at, "Ready", "False", "TargetConflict");
    let words = format!(
        "the ConfigMap theirs in namespace {} exists and was not made by this MailTrustBundle: choose another \
         targets.configMap.name, or delete it",
        scene.ns
    );
    assert_eq!(condition(&said, "Ready").unwrap().2, words);
    assert_eq!(scene.kube.get(&scene.map(&scene.ns, "theirs")).unwrap(), before);
    scene.kube.delete(&scene.map(&scene.ns, "theirs"));
    wait_ready(&scene.kube, &at);
    // Who may not write elsewhere does not.
    let spec = json!({"sources": [{"mozilla": true}],
        "targets": {"configMap": {"name": "planted"}, "namespaces": {"names": [scene.ns]}}});
    let at = scene.bundle("planted", &scene.other, &spec);
    let said = wait_condition(&scene.kube, &at, "Ready", "False", "NotAllowed");
    let words = format!("a MailTrustBundle in namespace {} may not write into other namespaces", scene.other);
    assert!(condition(&said, "Ready").unwrap().2.starts_with(&words), "{said:#}");
    assert!(scene.kube.get(&scene.map(&scene.ns, "planted")).is_none());
}

fn namespaces_are_selected_by_label(scene: &Scene) {
    let label = |ns: &str, value: &Value| {
        let patch = json!({"metadata": {"labels": {"trust": value}}});
        scene.kube.patch(&Path::cluster("namespaces", ns), &patch).unwrap();
    };
    label(&scene.other, &json!("yes"));
    let selector = json!({"matchLabels": {"trust": "yes"}});
    let spec = json!({"sources": [{"mozilla": true}],
        "targets": {"configMap": {"name": "selected"}, "namespaces": {"selector": selector}}});
    let at = scene.bundle("selected", &scene.ns, &spec);
    let made = wait_ready(&scene.kube, &at);
    assert_eq!(made["status"]["targets"].as_array().unwrap().len(), 1);
    assert!(scene.kube.get(&scene.map(&scene.ns, "selected")).is_none());
    // A namespace that is made later gets it as well.
    let late = namespace(&scene.kube, "late");
    label(&late, &json!("yes"));
    wait_for("the new namespace's ConfigMap", || scene.kube.get(&scene.map(&late, "selected")));
    // One that is a target no longer keeps it, since nothing was said.
    label(&late, &Value::Null);
    wait_for_object(&scene.kube, &at, "to have one target", |o| {
        o["status"]["targets"].as_array().is_some_and(|t| t.len() == 1)
    });
    assert!(scene.kube.get(&scene.map(&late, "selected")).is_some());
}

fn config_maps_go_where_they_are_told_to(scene: &Scene) {
    let spec = json!({"sources": [{"inline": authority("Inline").cert_pem}], "deletionPolicy": "Delete",
        "targets": {"configMap": {"name": "passing"}, "namespaces": {"names": [scene.ns, scene.other]}}});
    let at = scene.bundle("passing", &scene.ns, &spec);
    wait_ready(&scene.kube, &at);
    let names = json!({"spec": {"targets": {"namespaces": {"names": [scene.other]}}}});
    scene.kube.patch(&at, &names).unwrap();
    wait_for("it to go", || scene.kube.get(&scene.map(&scene.ns, "passing")).is_none().then_some(()));
    assert!(scene.kube.get(&scene.map(&scene.other, "passing")).is_some());
    scene.kube.delete(&at);
    wait_for("the MailTrustBundle to go", || scene.kube.get(&at).is_none().then_some(()));
    assert!(scene.kube.get(&scene.map(&scene.other, "passing")).is_none());
    assert!(scene.operator.metric("mailcert_trust_anchor_not_after_timestamp_seconds", &["Inline"]) == 0.0);
    // A MailTrustBundle that says nothing leaves its ConfigMap.
    let other = Path::new("mailtrustbundles", &scene.ns, "theirs");
    scene.kube.delete(&other);
    wait_for("the MailTrustBundle to go", || scene.kube.get(&other).is_none().then_some(()));
    assert!(scene.kube.get(&scene.map(&scene.ns, "theirs")).is_some());
}
