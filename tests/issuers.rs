//! MailIssuers with the operator on a real API server: who can sign, and who may have it sign.

mod common;

use common::{Kube, Operator, Path, cluster, namespace, wait_ready};
use serde_json::json;

#[test]
fn a_self_signed_issuer_is_ready_at_once() {
    let kube = Kube::new(cluster());
    let ns = namespace(&kube, "smoke");
    let _operator = Operator::start(cluster(), &[&ns], &[]);
    kube.create(&json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": "MailIssuer",
        "metadata": {"name": "self", "namespace": ns}, "spec": {"selfSigned": {}}}))
        .unwrap();
    wait_ready(&kube, &Path::issuer(&ns, "self"));
}
