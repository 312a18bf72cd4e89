//! Restarts, sudden ends, and replicas that take over.

use serde_json::json;

use crate::common::{Kube, Operator, Path, Stage, cluster, create, namespace, wait_for, wait_ready};

const COUNT: usize = 30;

fn spec(n: usize) -> serde_json::Value {
    json!({"issuerRef": {"name": "self"}, "secretName": format!("mail-{n}-tls"), "dnsNames": [format!("m{n}.example.com")]})
}

/// Every certificate is Ready at its first revision, and there is one Secret for each.
fn all_issued_once(kube: &Kube, ns: &str) {
    for n in 0..COUNT {
        let object = wait_ready(kube, &Path::certificate(ns, &format!("mail-{n}")));
        assert_eq!(object["status"]["active"]["revision"], 1, "{object:#}");
        let secret = kube.get(&Path::secret(ns, &format!("mail-{n}-tls"))).unwrap();
        let fingerprint = object["status"]["active"]["fingerprintSHA256"].as_str().unwrap();
        assert!(!fingerprint.is_empty());
        assert_eq!(object["status"]["active"]["secretResourceVersion"], secret["metadata"]["resourceVersion"]);
    }
    assert_eq!(kube.list_in("secrets", ns).len(), COUNT, "no other Secret");
}

#[test]
fn a_kill_in_between_does_nothing_twice() {
    let mut stage = Stage::self_signed("killed");
    for n in 0..COUNT {
        stage.create("MailCertificate", &format!("mail-{n}"), &spec(n));
    }
    wait_for("the first Secrets", || (stage.kube.list_in("secrets", &stage.ns).len() > 2).then_some(()));
    stage.operator.kill();
    let secrets = stage.kube.list_in("secrets", &stage.ns);
    stage.operator.restart();
    all_issued_once(&stage.kube, &stage.ns);
    for secret in secrets {
        let now = stage.secret(secret["metadata"]["name"].as_str().unwrap());
        assert_eq!(now["data"], secret["data"], "what a killed operator stored is used");
    }
}

fn replica(ns: &str) -> Operator {
    let lease = format!("--lease-name=lease-{ns}");
    let flags = ["--leader-elect=true", &lease, "--lease-duration=6s", "--renew-deadline=4s", "--retry-period=1s"];
    Operator::start(cluster(), &[ns], &flags)
}

#[test]
fn another_replica_takes_over() {
    let kube = Kube::new(cluster());
    let ns = namespace(&kube, "replicas");
    let mut first = replica(&ns);
    wait_for("the first to lead", || (first.metric("mailcert_leader", &[]) == 1.0).then_some(()));
    let second = replica(&ns);
    create(&kube, "MailIssuer", &ns, "self", &json!({"selfSigned": {}}));
    for n in 0..COUNT {
        create(&kube, "MailCertificate", &ns, &format!("mail-{n}"), &spec(n));
    }
    wait_for("the first Secrets", || (kube.list_in("secrets", &ns).len() > 2).then_some(()));
    assert_eq!(second.metric("mailcert_leader", &[]), 0.0);
    assert_eq!(second.metric("mailcert_issuance_attempts_total", &[]), 0.0);
    first.kill();
    wait_for("the second to lead", || (second.metric("mailcert_leader", &[]) == 1.0).then_some(()));
    all_issued_once(&kube, &ns);
    let attempts = second.metric("mailcert_issuance_attempts_total", &[]);
    assert!(attempts < COUNT as f64, "{attempts} issuances after {COUNT} had begun");

    // A stop hands over at once: no need to wait for the Lease to run out.
    let mut second = second;
    let third = replica(&ns);
    second.stop();
    wait_for("the third to lead", || (third.metric("mailcert_leader", &[]) == 1.0).then_some(()));
    wait_for("a pass", || {
        let passes = third.metric("mailcert_reconcile_duration_seconds_count", &["kind=\"MailCertificate\""]);
        (passes >= COUNT as f64).then_some(())
    });
    let lease = third.metric("mailcert_api_requests_total", &["resource=\"leases\""]);
    assert!(third.writes() <= lease, "only the Lease is written");
}
