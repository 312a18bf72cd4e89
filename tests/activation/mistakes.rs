//! What somebody reads who makes a mistake on the command line, or may not do what he wants to.

use std::process::Command;

use serde_json::{Value, json};

use super::commands::mailcert;
use crate::common::{Path, Stage, events, kubeconfig, wait_for, wait_for_object};

/// What a command says to a user, by his kubeconfig.
fn as_user(stage: &Stage, kubeconfig: &str, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailcert"));
    command.args(args).args(["--namespace", &stage.ns, "--kubeconfig", kubeconfig]);
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// A kubeconfig of a ServiceAccount that may do these things in the namespace.
fn user(stage: &Stage, name: &str, rules: &Value) -> String {
    let object = |version: &str, kind: &str, more: Value| {
        let mut object =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": stage.ns}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.kube.create(&object).unwrap();
    };
    let rbac = "rbac.authorization.k8s.io/v1";
    object("v1", "ServiceAccount", json!({}));
    object(rbac, "Role", json!({"rules": rules}));
    object(
        rbac,
        "RoleBinding",
        json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": stage.ns}]}),
    );
    kubeconfig(&stage.ns, name)
}

#[test]
fn mistakes_are_answered_in_words() {
    let stage = Stage::self_signed("mistakes");
    let (at, _) = stage.issued("mail", "self", json!({}));
    let ns = &stage.ns;
    let wrong = |args: &[&str]| mailcert(&stage, args).unwrap_err();
    for command in ["plan", "history", "approve", "rollback"] {
        let said = wrong(&[command, "male"]);
        let words = format!(
            "mailcert: there is no MailCertificate male in namespace {ns}: kubectl get mailcertificates --all-namespaces \
             lists those that there are\n"
        );
        assert_eq!(said, words, "{command}");
    }
    let waits = "mailcert: MailCertificate mail has no revision that waits to become active; revision 1 is active\n";
    assert_eq!(wrong(&["approve", "mail"]), waits);
    assert_eq!(wrong(&["approve", "mail", "--revision", "7"]), waits);
    let none = "mailcert: MailCertificate mail has no valid earlier revision that worked; kept: none\n";
    assert_eq!(wrong(&["rollback", "mail"]), none);
    assert_eq!(
        wrong(&["rollback", "mail", "--to", "1"]),
        "mailcert: revision 1 of MailCertificate mail is active already\n"
    );
    assert_eq!(
        wrong(&["rollback", "mail", "--to", "9"]),
        "mailcert: MailCertificate mail keeps no revision 9; kept: none\n"
    );
    // Whoever sets the annotation by hand reads it on the object.
    let refused = |value: &str, words: &str| {
        stage.kube.annotate(&at, "mailcert.dev/rollback", value);
        wait_for_object(&stage.kube, &at, &format!("to say: {words}"), |o| {
            let all = o["status"]["findings"].as_array();
            all.is_some_and(|all| all.iter().any(|f| f["reason"] == "RollbackRefused" && f["message"] == words))
        });
        wait_for("the Event", || {
            events(&stage.kube, ns, "mail").into_iter().find(|e| e.1 == "RollbackRefused" && e.2 == words)
        });
    };
    refused("previous", "there is no valid earlier revision to go back to; revision 1 stays");
    stage.kube.patch(&at, &json!({"metadata": {"annotations": {"mailcert.dev/rollback": null}}})).unwrap();
    wait_for_object(&stage.kube, &at, "to forget it", |o| o["status"]["findings"].is_null());
    refused("yesterday", "the annotation mailcert.dev/rollback names no revision: write its number, or previous");

    let nobody = user(&stage, "nobody", &json!([]));
    for command in ["plan", "history", "approve", "rollback"] {
        let said = as_user(&stage, &nobody, &[command, "mail"]).unwrap_err();
        let words = format!("mailcert: you may not read MailCertificate mail in namespace {ns}: ");
        assert!(said.starts_with(&words) && said.contains("cannot get resource"), "{command}: {said}");
    }
    let view = json!([{"apiGroups": ["mailcert.dev"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]);
    let reader = user(&stage, "reader", &view);
    assert!(as_user(&stage, &reader, &["history", "mail"]).unwrap().contains("Active"));
    let said = as_user(&stage, &reader, &["plan", "mail"]).unwrap_err();
    let words = format!(
        "mailcert: a plan looks at the secrets of namespace {ns}, as the operator does, and they cannot be listed: "
    );
    assert!(said.starts_with(&words) && said.contains("is forbidden"), "{said}");
    stage.renew(&at, "1");
    let said = as_user(&stage, &reader, &["rollback", "mail"]).unwrap_err();
    let words = format!("mailcert: you may not roll back MailCertificate mail in namespace {ns}: ");
    assert!(said.starts_with(&words) && said.contains("cannot patch resource"), "{said}");
    stage.kube.patch(&at, &json!({"spec": {"activation": {"mode": "Manual"}}})).unwrap();
    stage.kube.annotate(&at, "mailcert.dev/renew", "2");
    wait_for_object(&stage.kube, &at, "to be staged", |o| o["status"]["staged"][0]["revision"] == 3);
    let said = as_user(&stage, &reader, &["approve", "mail"]).unwrap_err();
    let words = format!("mailcert: you may not approve revisions of MailCertificate mail in namespace {ns}: ");
    assert!(said.starts_with(&words) && said.contains("cannot patch resource"), "{said}");
    assert_eq!(stage.kube.get(&Path::certificate(ns, "mail")).unwrap()["status"]["active"]["revision"], 2);
}
