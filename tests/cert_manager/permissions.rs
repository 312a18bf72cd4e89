//! An operator that may not touch CertificateRequests: the chart grants that only when told to.

use serde_json::json;

use crate::common::{Kube, Operator, Path, cluster, create, kubeconfig, namespace, wait_for_object};
use crate::signer::install;

/// A kubeconfig of a ServiceAccount that may do everything but that.
fn without_cert_manager(kube: &Kube, ns: &str) -> String {
    let rbac = "rbac.authorization.k8s.io/v1";
    let groups = ["", "mailcert.dev", "apps", "events.k8s.io", "coordination.k8s.io", "authorization.k8s.io"];
    let rules = json!([{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}]);
    kube.create(&json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": ns}, "rules": rules})).unwrap();
    let account = json!({"kind": "ServiceAccount", "name": "operator", "namespace": ns});
    kube.create(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})).unwrap();
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ns});
    kube.create(&json!({"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": ns}, "roleRef": role,
        "subjects": [account]}))
        .unwrap();
    kubeconfig(ns, "operator")
}

#[test]
fn the_charts_value_is_named() {
    install();
    let kube = Kube::new(cluster());
    let ns = namespace(&kube, "cm-forbidden");
    let kubeconfig = format!("--kubeconfig={}", without_cert_manager(&kube, &ns));
    let _operator = Operator::start(cluster(), &[&ns], &[&kubeconfig]);
    create(&kube, "MailIssuer", &ns, "vault", &json!({"certManager": {"issuerRef": {"name": "vault"}}}));
    let spec = json!({"issuerRef": {"name": "vault"}, "secretName": "mail-tls", "dnsNames": ["mail.example.com"]});
    create(&kube, "MailCertificate", &ns, "mail", &spec);
    let at = Path::certificate(&ns, "mail");
    let object = wait_for_object(&kube, &at, "to say so", |o| o["status"]["attempt"]["lastFailure"].is_object());
    let words = format!(
        "the operator may not create CertificateRequests in namespace {ns}: set the chart's value certManager.enabled to true"
    );
    let failure = &object["status"]["attempt"]["lastFailure"];
    assert_eq!(failure, &json!({"reason": "Forbidden", "message": words}));
}
