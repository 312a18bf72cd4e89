//! Which names a certificate needs, and where it comes from.

use serde_json::{Value, json};

use crate::common::{Operator, cluster, condition, wait_condition, wait_for_object, wait_ready};
use crate::scene::{Scene, message};

fn names(certificate: &Value) -> Vec<&str> {
    certificate["spec"]["dnsNames"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect()
}

#[test]
fn the_names_of_a_template_are_computed_and_follow_the_domain() {
    let scene = Scene::new("template");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let spec = json!({
        "domain": "bücher.example",
        "externalURL": "https://Mail.Bücher.example/login",
        "hostnames": {"additional": ["imap.bücher.example"], "legacy": [{"name": "old.example.org"}]},
        "certificate": {"template": {"issuerRef": {"name": "ca"}, "dnsNames": ["autoconfig.bücher.example"],
            "privateKey": {"algorithm": "ECDSA", "size": 384}}},
    });
    let at = scene.domain("mail", spec);
    let domain = wait_ready(&scene.kube, &at);
    let certificate = wait_ready(&scene.kube, &scene.at_certificate("mail"));
    let wanted = ["autoconfig.xn--bcher-kva.example", "imap.xn--bcher-kva.example", "mail.xn--bcher-kva.example"];
    assert_eq!(names(&certificate), wanted);
    assert_eq!(certificate["spec"]["legacyDNSNames"][0]["name"], "old.example.org");
    assert_eq!(
        (&certificate["spec"]["secretName"], &certificate["status"]["active"]["key"]),
        (&json!("mail-tls"), &json!("ECDSA P-384"))
    );
    let owner = &certificate["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["uid"], &owner["controller"]), (&domain["metadata"]["uid"], &json!(true)));
    let status = &domain["status"]["certificate"];
    assert_eq!((&status["name"], &status["secretName"]), (&json!("mail"), &json!("mail-tls")));
    assert_eq!(status["fingerprintSHA256"], certificate["status"]["active"]["fingerprintSHA256"]);
    assert_eq!(status["notAfter"], certificate["status"]["active"]["notAfter"]);
    assert!(message(&domain, "NamesMatch").starts_with("the certificate covers autoconfig.xn--bcher-kva.example, "));

    // Another order and another spelling of the same names are no change; a further name is.
    let same = json!({"spec": {"hostnames": {"additional": ["IMAP.xn--bcher-kva.example", "mail.bücher.example"]}}});
    scene.kube.patch(&at, &same).unwrap();
    wait_ready(&scene.kube, &at);
    let unchanged = scene.kube.get(&scene.at_certificate("mail")).unwrap();
    assert_eq!(unchanged["metadata"]["generation"], certificate["metadata"]["generation"]);
    let more = json!({"spec": {"hostnames": {"additional": ["pop.bücher.example"]}}});
    scene.kube.patch(&at, &more).unwrap();
    let renewed = wait_for_object(&scene.kube, &scene.at_certificate("mail"), "to have revision 2", |object| {
        object["status"]["active"]["revision"] == 2
    });
    let wanted = ["autoconfig.xn--bcher-kva.example", "mail.xn--bcher-kva.example", "pop.xn--bcher-kva.example"];
    assert_eq!(names(&renewed), wanted);
    let domain = wait_for_object(&scene.kube, &at, "to speak of revision 2", |object| {
        condition(object, "Ready").is_some_and(|(status, _, text)| status == "True" && text.starts_with("revision 2 "))
    });
    let fingerprint = &renewed["status"]["active"]["fingerprintSHA256"];
    assert_eq!(&domain["status"]["certificate"]["fingerprintSHA256"], fingerprint);
}

#[test]
fn with_ref_a_missing_name_is_said_with_the_certificate_that_lacks_it() {
    let scene = Scene::new("ref");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let endpoints = json!([{"protocol": "IMAPS", "host": "imap.example.com", "address": "127.0.0.1", "port": 1}]);
    let reference = json!({"ref": {"name": "shared"}});
    let at = scene.domain("mail", json!({"certificate": reference, "endpoints": endpoints}));
    let domain = wait_condition(&scene.kube, &at, "Ready", "False", "CertificateNotFound");
    let words = "there is no MailCertificate shared in this namespace; make it, or correct spec.certificate.ref";
    assert_eq!(message(&domain, "Ready"), words);
    assert_eq!(condition(&domain, "Stalled").unwrap().0, "True");

    scene.certificate("shared", &["mail.example.com"]);
    let domain = wait_condition(&scene.kube, &at, "NamesMatch", "False", "NameMissing");
    let words = "imap.example.com is not in the certificate of MailCertificate shared (Secret shared-tls); \
                 add it to its spec.dnsNames";
    assert_eq!(message(&domain, "NamesMatch"), words);
    assert_eq!(condition(&domain, "Ready").unwrap().1, "NameMissing");
    let owners = &scene.kube.get(&scene.at_certificate("shared")).unwrap()["metadata"]["ownerReferences"];
    assert!(owners.is_null(), "{owners}");

    // A wildcard covers it as well.
    let names = json!({"spec": {"dnsNames": ["*.example.com"]}});
    scene.kube.patch(&scene.at_certificate("shared"), &names).unwrap();
    wait_condition(&scene.kube, &at, "NamesMatch", "True", "Covered");
}

#[test]
fn legacy_names_that_a_shared_certificate_lacks_are_reported_or_dropped() {
    let scene = Scene::new("legacy");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    scene.certificate("shared", &["mail.example.com"]);
    let legacy = |policy: &str| {
        json!({"certificate": {"ref": {"name": "shared"}},
            "hostnames": {"legacy": [{"name": "old.example.org", "onUnreachable": policy}]}})
    };
    let reports = scene.domain("reports", legacy("Report"));
    let drops = scene.domain("drops", legacy("Drop"));
    let domain = wait_condition(&scene.kube, &reports, "NamesMatch", "False", "LegacyNameOmitted");
    let words = "legacy name old.example.org is left out: \
                 add it to spec.legacyDNSNames of MailCertificate shared";
    assert_eq!(message(&domain, "NamesMatch"), words);
    let domain = wait_condition(&scene.kube, &drops, "NamesMatch", "True", "Covered");
    assert!(message(&domain, "NamesMatch").ends_with(words));
    wait_ready(&scene.kube, &drops);
}

#[test]
fn a_foreign_certificate_of_the_same_name_is_left_alone() {
    let scene = Scene::new("conflict");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    scene.certificate("mail", &["mail.example.com"]);
    let before = wait_ready(&scene.kube, &scene.at_certificate("mail"));
    let at = scene.domain("mail", json!({}));
    let domain = wait_condition(&scene.kube, &at, "Ready", "False", "CertificateConflict");
    let words = "MailCertificate mail exists and is nobody's, not this MailDomain's; use it with spec.certificate.ref, \
                 or delete or rename one of the two";
    assert_eq!(message(&domain, "Ready"), words);
    assert_eq!(scene.kube.get(&scene.at_certificate("mail")).unwrap(), before);
    scene.kube.delete(&scene.at_certificate("mail"));
    wait_ready(&scene.kube, &at);
}

#[test]
fn names_that_cannot_be_used_are_all_said_and_change_nothing() {
    let scene = Scene::new("invalid");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let at = scene.domain("mail", json!({}));
    wait_ready(&scene.kube, &at);
    let before = wait_ready(&scene.kube, &scene.at_certificate("mail"));
    let long = format!("{}.example.com", "a".repeat(64));
    let hostnames =
        json!({"additional": ["xn--zzzzzz99999.example.com", long], "legacy": [{"name": "xn--a.example.com"}]});
    scene.kube.patch(&at, &json!({"spec": {"hostnames": hostnames}})).unwrap();
    let domain = wait_condition(&scene.kube, &at, "Ready", "False", "InvalidSpec");
    let text = message(&domain, "NamesMatch");
    for place in ["hostnames.additional[0]", "hostnames.additional[1]", "hostnames.legacy[0].name"] {
        assert!(text.contains(place), "{place}: {text}");
    }
    assert_eq!(condition(&domain, "Stalled").unwrap().1, "InvalidSpec");
    assert_eq!(scene.kube.get(&scene.at_certificate("mail")).unwrap(), before);
}

#[test]
fn an_own_certificate_that_is_deleted_is_made_again_from_the_template() {
    let scene = Scene::new("again");
    let _operator = Operator::start(cluster(), &[&scene.ns], &[]);
    let at = scene.domain("mail", json!({}));
    wait_ready(&scene.kube, &at);
    let first = wait_ready(&scene.kube, &scene.at_certificate("mail"));
    scene.kube.delete(&scene.at_certificate("mail"));
    wait_for_object(&scene.kube, &scene.at_certificate("mail"), "to be another one", |object| {
        object["metadata"]["uid"] != first["metadata"]["uid"]
    });
    wait_ready(&scene.kube, &scene.at_certificate("mail"));
    wait_ready(&scene.kube, &at);
}
