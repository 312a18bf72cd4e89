//! What a change would do is shown before it is applied, and then that is done.

use std::fs;

use serde_json::{Value, json};

use super::commands::mailcert;
use crate::common::{Path, Stage, cluster, version, wait_for_object, wait_ready};

fn manifest(stage: &Stage, name: &str, objects: &[Value]) -> String {
    let file = cluster().dir().join(format!("{}-{name}.yaml", stage.ns));
    let text: Vec<String> = objects.iter().map(|object| serde_yaml::to_string(object).unwrap()).collect();
    fs::write(&file, text.join("---\n")).unwrap();
    file.to_string_lossy().into_owned()
}

fn domain(url: &str, additional: &[&str]) -> Value {
    json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": "mail"}, "spec": {
        "domain": "example.com", "externalURL": url, "hostnames": {"additional": additional},
        "certificate": {"template": {"issuerRef": {"name": "self"}}}}})
}

#[test]
fn a_change_is_shown_before_it_is_applied() {
    let stage = Stage::self_signed("proposed");
    let old = domain("https://mail.example.com", &[]);
    // What there is not yet, and what is not ours.
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}});
    let first = manifest(&stage, "first", &[config_map, old.clone()]);
    let shown = mailcert(&stage, &["plan", "-f", &first]).unwrap();
    for line in ["active: none yet", "next: sign revision 1 for mail.example.com"] {
        assert!(shown.lines().any(|l| l == line), "{line}\n{shown}");
    }
    stage.create("MailDomain", "mail", &old["spec"]);
    wait_ready(&stage.kube, &Path::domain(&stage.ns, "mail"));
    let at = Path::certificate(&stage.ns, "mail");
    let before = wait_ready(&stage.kube, &at);

    let new = domain("https://post.example.com", &["imap.example.com"]);
    let file = manifest(&stage, "new", std::slice::from_ref(&new));
    let shown = mailcert(&stage, &["plan", "--filename", &file]).unwrap();
    let wanted = [
        "wanted: NamesChanged: the certificate lacks imap.example.com, post.example.com and still has mail.example.com",
        "next: sign revision 2 for imap.example.com, post.example.com",
    ];
    for line in wanted {
        assert!(shown.lines().any(|l| l == line), "{line}\n{shown}");
    }
    assert_eq!(version(&stage.kube.get(&at).unwrap()), version(&before), "nothing was written");
    stage.kube.patch(&Path::domain(&stage.ns, "mail"), &json!({"spec": new["spec"]})).unwrap();
    let after =
        wait_for_object(&stage.kube, &at, "to become what was shown", |o| o["status"]["active"]["revision"] == 2);
    assert_eq!(after["status"]["active"]["dnsNames"], json!(["imap.example.com", "post.example.com"]));

    // A MailCertificate, and what the API server refuses.
    let spec = |names: Value| {
        json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate", "metadata": {"name": "other"},
            "spec": {"issuerRef": {"name": "self"}, "secretName": "other-tls", "dnsNames": names}})
    };
    let good = manifest(&stage, "good", &[spec(json!(["smtp.example.com"]))]);
    let shown = mailcert(&stage, &["plan", "-f", &good]).unwrap();
    assert!(shown.contains("next: sign revision 1 for smtp.example.com\n"), "{shown}");
    let bad = manifest(&stage, "bad", &[spec(json!([]))]);
    let said = mailcert(&stage, &["plan", "-f", &bad]).unwrap_err();
    assert!(said.starts_with(&format!("mailcert: MailCertificate other in {bad}: ")), "{said}");
    assert!(stage.kube.get(&Path::certificate(&stage.ns, "other")).is_none());
    let none = manifest(&stage, "none", &[json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})]);
    let said = mailcert(&stage, &["plan", "-f", &none]).unwrap_err();
    assert!(said.ends_with("holds no MailCertificate and no MailDomain: there is nothing to plan\n"), "{said}");
}
