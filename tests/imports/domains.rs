//! MailDomains with imported certificates.

use serde_json::json;

use super::openssl::Ca;
use super::scene::{import, put_pem, wait_active};
use crate::common::{Path, Stage, condition, wait_for_object, wait_ready};

#[test]
fn the_names_of_mail_domains_are_expected_of_what_they_import() {
    let (ca, stage) = (Ca::new(), Stage::new("expects"));
    let made = ca.issue("mail.example.com", 365);
    put_pem(&stage, "own-source", &made, &ca);
    let template = json!({"import": {"secretRef": {"name": "own-source"}, "trustAnchors": ca.root()}});
    let spec = |url: &str, certificate: serde_json::Value| json!({"domain": "example.com", "externalURL": url, "certificate": certificate});
    stage.create("MailDomain", "own", &spec("https://mail.example.com", json!({"template": template})));
    wait_ready(&stage.kube, &Path::domain(&stage.ns, "own"));
    let own = wait_active(&stage, &Path::certificate(&stage.ns, "own"), &made, &ca);
    assert_eq!(own["spec"]["dnsNames"], json!(["mail.example.com"]));

    // Another one refers to a certificate that does not cover it, which is not used then.
    put_pem(&stage, "shared-source", &made, &ca);
    stage.create("MailDomain", "other", &spec("https://www.example.com/mail", json!({"ref": {"name": "shared"}})));
    let at = import(&stage, "shared", &ca, json!({}));
    let object = wait_for_object(&stage.kube, &at, "to refuse it", |o| {
        o["status"]["findings"][0]["reason"] == "ExternalURLNotCovered"
    });
    assert_eq!(object["status"]["findings"][0]["about"], "www.example.com of MailDomain other");
    assert_eq!(condition(&object, "Ready").unwrap().1, "ImportInvalid");
    // Corrected there, it is used here at once.
    let url = json!({"spec": {"externalURL": "https://mail.example.com"}});
    stage.kube.patch(&Path::domain(&stage.ns, "other"), &url).unwrap();
    wait_active(&stage, &at, &made, &ca);
    wait_ready(&stage.kube, &Path::domain(&stage.ns, "other"));
}
