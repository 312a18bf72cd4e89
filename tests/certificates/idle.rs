//! What it costs: few writes for the first issuance, none when nothing has changed.

use serde_json::json;

use crate::common::{Kube, Operator, Path, Stage, cluster, create, events, namespace, wait_for, wait_ready};

#[test]
fn a_first_issuance_costs_at_most_four_writes() {
    let stage = Stage::self_signed("cost");
    let before = stage.operator.writes();
    let passes = stage.operator.metric("mailcert_reconcile_duration_seconds_count", &["kind=\"MailCertificate\""]);
    stage.issued("mail", "self", json!({}));
    wait_for("the Event", || (!events(&stage.kube, &stage.ns, "mail").is_empty()).then_some(()));
    stage.passed("MailCertificate", passes);
    let cost = stage.operator.writes() - before;
    assert!((1.0..=4.0).contains(&cost), "{cost} writes:\n{}", stage.operator.metrics());
}

#[test]
fn nothing_is_written_when_nothing_has_changed() {
    let mut stage = Stage::self_signed("idle");
    let (at, _) = stage.issued("mail", "self", json!({}));
    stage.renew(&at, "1");
    // The last write of a pass is its Event.
    wait_for("both Events", || (events(&stage.kube, &stage.ns, "mail").len() == 2).then_some(()));
    let mut passed = stage.passed("MailCertificate", 0.0);
    let (writes, reads) = (stage.operator.writes(), reads(&stage.operator));
    let mut others = stage.versions();
    others.remove("mailcertificates/\"mail\"");
    for value in ["1", "2", "3"] {
        stage.kube.annotate(&at, "example.com/touched", value);
        passed = stage.passed("MailCertificate", passed);
    }
    let resting = stage.versions();
    assert!(others.iter().all(|(name, version)| resting.get(name) == Some(version)), "{others:#?}\n{resting:#?}");
    assert_eq!(stage.operator.writes(), writes, "{}", stage.operator.metrics());
    assert_eq!(reads_since(&stage.operator, reads), 0.0, "the cache answers");

    stage.operator.stop();
    stage.operator.restart();
    stage.passed("MailCertificate", 0.0);
    stage.passed("MailIssuer", 0.0);
    assert_eq!(stage.operator.writes(), 0.0, "{}", stage.operator.metrics());
    assert_eq!(stage.versions(), resting);
}

fn reads(operator: &Operator) -> f64 {
    operator.metric("mailcert_api_requests_total", &["verb=\"get\""])
}

fn reads_since(operator: &Operator, before: f64) -> f64 {
    reads(operator) - before
}

#[test]
fn other_namespaces_are_not_touched() {
    let kube = Kube::new(cluster());
    let (ours, other) = (namespace(&kube, "served"), namespace(&kube, "unserved"));
    let _operator = Operator::start(cluster(), &[&ours], &[]);
    let spec = json!({"issuerRef": {"name": "self"}, "secretName": "mail-tls", "dnsNames": ["mail.example.com"]});
    for ns in [&other, &ours] {
        create(&kube, "MailIssuer", ns, "self", &json!({"selfSigned": {}}));
        create(&kube, "MailCertificate", ns, "mail", &spec);
    }
    wait_ready(&kube, &Path::certificate(&ours, "mail"));
    for at in [Path::issuer(&other, "self"), Path::certificate(&other, "mail")] {
        assert!(kube.get(&at).unwrap()["status"].is_null(), "{at}");
    }
    assert!(kube.get(&Path::secret(&other, "mail-tls")).is_none());
}
