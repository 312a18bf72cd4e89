//! CA Secrets that cannot be used: the issuer and the certificates say why, and what works stays.

use serde_json::json;
use time::Duration;

use crate::common::{Authority, Path, Stage, condition, version, wait_condition, wait_for, wait_ready};

#[test]
fn each_defect_of_a_ca_is_named() {
    let stage = Stage::new("bad-ca");
    let (good, other) = (Authority::new("good CA"), Authority::new("other CA"));
    let leaf = Authority::with("leaf", false, Duration::hours(-1), Duration::days(1));
    let expired = Authority::with("old CA", true, Duration::days(-2), Duration::days(-1));
    let early = Authority::with("new CA", true, Duration::days(1), Duration::days(2));
    let cases = [
        ("no-pem", "hello", good.key_pem.as_str(), "tls.crt of the CA: "),
        ("no-key", &good.cert_pem, "hello", "tls.key of the CA: "),
        (
            "mismatch",
            &good.cert_pem,
            &other.key_pem,
            "tls.key does not belong to the first certificate of tls.crt (CN=good CA)",
        ),
        ("no-ca", &leaf.cert_pem, &leaf.key_pem, "the first certificate of tls.crt (CN=leaf) is not a CA"),
        ("expired", &expired.cert_pem, &expired.key_pem, "the CA certificate (CN=old CA) expired at "),
        ("early", &early.cert_pem, &early.key_pem, "the CA certificate (CN=new CA) is not valid before "),
    ];
    for (name, cert, key, _) in &cases {
        // Not kubernetes.io/tls: with that type the API server itself refuses some of them.
        let metadata = json!({"name": name, "namespace": stage.ns});
        let text = json!({"tls.crt": cert, "tls.key": key});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": text});
        stage.kube.create(&secret).unwrap();
        stage.create("MailIssuer", name, &json!({"ca": {"secretRef": {"name": name}}}));
        stage.certificate(name, name, json!({}));
    }
    for (name, _, _, words) in &cases {
        let issuer = wait_condition(&stage.kube, &Path::issuer(&stage.ns, name), "Ready", "False", "SecretInvalid");
        let (_, _, said) = condition(&issuer, "Ready").unwrap();
        assert!(said.contains(&format!("Secret {name}: ")) && said.contains(words), "{name}: {said}");
        let at = Path::certificate(&stage.ns, name);
        let certificate = wait_condition(&stage.kube, &at, "Ready", "False", "IssuerNotReady");
        let (_, _, said) = condition(&certificate, "Ready").unwrap();
        let lead = format!("MailIssuer {}/{name} is not ready: ", stage.ns);
        assert!(said.starts_with(&lead) && said.contains(words), "{name}: {said}");
        assert!(stage.kube.get(&Path::secret(&stage.ns, &format!("{name}-tls"))).is_none());
    }

    stage.create("MailIssuer", "missing", &json!({"ca": {"secretRef": {"name": "nowhere"}}}));
    let at = Path::issuer(&stage.ns, "missing");
    let issuer = wait_condition(&stage.kube, &at, "Ready", "False", "SecretNotFound");
    let (_, _, said) = condition(&issuer, "Ready").unwrap();
    assert!(said.starts_with("there is no Secret nowhere in this namespace; make one"), "{said}");
    assert_eq!(condition(&issuer, "Stalled").unwrap().0, "True");
}

#[test]
fn a_ca_that_breaks_takes_nothing_with_it() {
    let stage = Stage::with_ca("broken-ca", &Authority::new("good CA"));
    let (at, secret) = stage.issued("mail", "ca", json!({}));
    let before = stage.kube.get(&at).unwrap();
    let ca = Path::secret(&stage.ns, "ca-key-pair");
    stage.kube.patch(&ca, &json!({"stringData": {"tls.crt": "broken"}})).unwrap();
    wait_condition(&stage.kube, &Path::issuer(&stage.ns, "ca"), "Ready", "False", "SecretInvalid");
    stage.kube.delete(&ca);
    wait_condition(&stage.kube, &Path::issuer(&stage.ns, "ca"), "Ready", "False", "SecretNotFound");
    // Another certificate shows that MailCertificates have been looked at since.
    let other = stage.certificate("other", "ca", json!({}));
    wait_condition(&stage.kube, &other, "Ready", "False", "IssuerNotReady");
    let after = stage.kube.get(&at).unwrap();
    assert_eq!(version(&after), version(&before), "{:#}", after["status"]);
    assert_eq!(version(&stage.secret("mail-tls")), version(&secret));

    // Renewal is asked for, cannot be, and says so; the working certificate stays.
    stage.kube.annotate(&at, "mailcert.dev/renew", "1");
    let waiting = wait_for("the certificate to wait for its issuer", || {
        let object = stage.kube.get(&at)?;
        condition(&object, "Reconciling").is_some_and(|(_, reason, _)| reason == "IssuerNotReady").then_some(object)
    });
    assert_eq!(condition(&waiting, "Ready").unwrap().0, "True");
    assert_eq!(version(&stage.secret("mail-tls")), version(&secret));

    let new = Authority::new("new CA");
    stage.tls_secret("ca-key-pair", &new.cert_pem, &new.key_pem);
    wait_ready(&stage.kube, &Path::issuer(&stage.ns, "ca"));
    let renewed = stage.wait_renewed(&at, "1");
    assert_eq!(renewed["status"]["active"]["revision"], 2);
}
