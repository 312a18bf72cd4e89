//! The operator with exactly the permissions that `deploy/install.yaml` grants, and with fewer. On a cluster of its own:
//! it serves every namespace.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests too")]

mod common;

use std::fs;

use common::{
    Kube, Operator, Path, cluster, condition, create, kubeconfig, namespace, wait_condition, wait_for, wait_ready,
};
use serde_json::{Value, json};

const SYSTEM: &str = "mailcert-system";

/// Applies the install manifest and makes a kubeconfig of its ServiceAccount.
fn install() -> String {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.yaml")).unwrap();
    cluster().kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &manifest).unwrap();
    kubeconfig(SYSTEM, "mailcert")
}

fn certificate(kube: &Kube, ns: &str) -> Path {
    create(kube, "MailIssuer", ns, "self", &json!({"selfSigned": {}}));
    let spec = json!({"issuerRef": {"name": "self"}, "secretName": "mail-tls", "dnsNames": ["mail.example.com"]});
    create(kube, "MailCertificate", ns, "mail", &spec);
    Path::certificate(ns, "mail")
}

fn binding(ns: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "mailcert-namespaced", "namespace": ns},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "mailcert-namespaced"},
        "subjects": [{"kind": "ServiceAccount", "name": "mailcert", "namespace": SYSTEM}]})
}

/// A MailDomain that wants to look into pods, and to respect disruption budgets, says what to set.
fn rights_that_are_off_are_named(kube: &Kube, ns: &str) {
    for name in ["postfix", "web"] {
        let labels = json!({"app": name});
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "c"}]}});
        let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template,
            "strategy": {"type": "Recreate"}});
        let metadata = json!({"name": name, "namespace": ns});
        let made =
            kube.create(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}));
        made.unwrap();
    }
    let spec = |issuer: &str| {
        json!({
            "domain": "example.com",
            "externalURL": "https://mail.example.com",
            "certificate": {"template": {"issuerRef": {"name": issuer}}},
            "workloads": [{"kind": "Deployment", "name": "postfix", "reload": {"preset": "postfix"}},
                {"kind": "Deployment", "name": "web"}],
            "rollout": {"disruptionBudgets": "Respect"},
        })
    };
    create(kube, "MailIssuer", ns, "first", &json!({"selfSigned": {}}));
    create(kube, "MailDomain", ns, "pods", &spec("first"));
    let at = Path::domain(ns, "pods");
    let domain = wait_condition(kube, &at, "RolledOut", "False", "RolloutFailed");
    let said = condition(&domain, "RolledOut").unwrap().2;
    let words =
        format!("the operator may not list pods in namespace {ns}: set the chart value reload.exec.enabled to true");
    assert!(said.contains(&words), "{said}");
    // The first certificate waits for no budget; the second one does.
    kube.annotate(&Path::certificate(ns, "pods"), "mailcert.dev/renew", "once");
    let words = format!(
        "the operator may not list PodDisruptionBudgets in namespace {ns}: set the chart value \
         rollout.disruptionBudgets.enabled to true, or spec.rollout.disruptionBudgets to Ignore"
    );
    common::wait_for_object(kube, &at, "to say what to set for budgets", |object| {
        let web = &object["status"]["workloads"][1];
        web["state"] == "Waiting" && web["message"] == json!(words)
    });
    kube.delete(&at);
}

#[test]
fn what_the_manifest_grants_is_enough_and_what_is_missing_is_named() {
    let kube = Kube::new(cluster());
    let kubeconfig = format!("--kubeconfig={}", install());
    let own = format!("--operator-namespace={SYSTEM}");
    let flags = [kubeconfig.as_str(), own.as_str(), "--leader-elect=true"];

    // As installed: nothing is missing.
    let mut operator = Operator::start(cluster(), &[], &flags);
    let first = namespace(&kube, "granted");
    let issuer = json!({"selfSigned": {}, "allowedNamespaces":
        {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": first}}}});
    let home = namespace(&kube, "issuers");
    create(&kube, "MailIssuer", &home, "shared", &issuer);
    let at = certificate(&kube, &first);
    wait_ready(&kube, &at);
    kube.patch(&at, &json!({"spec": {"issuerRef": {"name": "shared", "namespace": home}}})).unwrap();
    assert_eq!(wait_ready(&kube, &at)["status"]["active"]["revision"], 2);
    wait_for("its Event", || common::events(&kube, &first, "mail").into_iter().find(|e| e.1 == "Issued"));
    rights_that_are_off_are_named(&kube, &first);
    let spec = json!({"domain": "example.com", "externalURL": "https://mail.example.com",
        "certificate": {"ref": {"name": "mail"}}, "dns": {"tlsa": {"mode": "Show"}}});
    create(&kube, "MailDomain", &first, "shown", &spec);
    let words = "; no ConfigMap shows the records: install the chart with --set dane.configMap.enabled=true for that";
    common::wait_for_object(&kube, &Path::domain(&first, "shown"), "to say what to set for TLSA records", |object| {
        condition(object, "DNSReady").is_some_and(|(_, _, text)| text.ends_with(words))
    });
    assert!(!operator.log().contains("a permission is missing"));
    // What is off says so.
    let bundle = json!({"sources": [{"mozilla": true}], "targets": {"configMap": {"name": "mail-trust"}}});
    create(&kube, "MailTrustBundle", &first, "trust", &bundle);
    let said = wait_condition(&kube, &Path::new("mailtrustbundles", &first, "trust"), "Ready", "False", "Forbidden");
    let words = condition(&said, "Ready").unwrap().2;
    assert!(words.contains("MailTrustBundles are off (Helm: --set trustBundles.enabled=true)"), "{words}");
    operator.stop();

    // Without the right to Secrets everywhere: each namespace is said to need a binding, and works once it has one.
    kube.delete(&Path::cluster("clusterrolebindings.rbac.authorization.k8s.io", "mailcert-namespaced"));
    operator.restart();
    let second = namespace(&kube, "unbound");
    let at = certificate(&kube, &second);
    let refused = wait_condition(&kube, &at, "Ready", "False", "Forbidden");
    let said = condition(&refused, "Ready").unwrap().2;
    assert!(said.contains(&format!("namespace {second}: create a RoleBinding")), "{said}");
    assert!(said.contains("ClusterRole mailcert-namespaced"), "{said}");
    assert!(said.contains(&format!("--set 'bind.namespaces={{{second}}}'")), "{said}");
    let ca = json!({"ca": {"secretRef": {"name": "ca"}}});
    create(&kube, "MailIssuer", &second, "ca", &ca);
    wait_condition(&kube, &Path::issuer(&second, "ca"), "Ready", "False", "Forbidden");
    // That is how the chart narrows it down: nothing to warn of at start.
    let log = operator.log();
    assert!(log.contains("Secrets and workloads are used where a RoleBinding allows it"), "{log}");
    assert!(!log.contains("a permission is missing"), "{log}");

    kube.create(&binding(&second)).unwrap();
    wait_ready(&kube, &at);
    wait_condition(&kube, &Path::issuer(&second, "ca"), "Ready", "False", "SecretNotFound");
    operator.stop();

    // A few namespaces only, one of them without a Role: said at start, by name.
    let third = namespace(&kube, "listed");
    let flags = [flags[0], flags[1], flags[2], "--api-timeout=10s"];
    let _operator = Operator::start(cluster(), &[&second, &third], &flags);
    let at = certificate(&kube, &third);
    let refused = wait_condition(&kube, &at, "Ready", "False", "Forbidden");
    assert!(condition(&refused, "Ready").unwrap().2.contains(&format!("namespace {third}")));
    kube.create(&binding(&third)).unwrap();
    wait_ready(&kube, &at);
}
