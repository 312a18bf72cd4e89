//! Which namespaces may use an issuer.

use serde_json::{Value, json};

use crate::common::{Kube, Operator, Path, cluster, condition, create, namespace, version, wait_condition, wait_ready};

fn certificate(kube: &Kube, ns: &str, name: &str, issuer: (&str, &str)) -> Path {
    let spec = json!({"issuerRef": {"name": issuer.1, "namespace": issuer.0}, "secretName": format!("{name}-tls"),
        "dnsNames": ["mail.example.com"]});
    create(kube, "MailCertificate", ns, name, &spec);
    Path::certificate(ns, name)
}

fn refusal(kube: &Kube, at: &Path) -> String {
    let object: Value = wait_condition(kube, at, "Ready", "False", "IssuerNotAllowed");
    assert_eq!(condition(&object, "Stalled").unwrap().1, "IssuerNotAllowed");
    condition(&object, "Ready").unwrap().2.to_owned()
}

#[test]
fn same_all_and_selector() {
    let kube = Kube::new(cluster());
    let (home, away) = (namespace(&kube, "home"), namespace(&kube, "away"));
    let _operator = Operator::start(cluster(), &[&home, &away], &[]);
    let selector = json!({"matchLabels": {"mail": "yes"}});
    for (name, allowed) in [
        ("same", json!({})),
        ("all", json!({"from": "All"})),
        ("some", json!({"from": "Selector", "selector": selector})),
    ] {
        create(&kube, "MailIssuer", &home, name, &json!({"selfSigned": {}, "allowedNamespaces": allowed}));
    }
    let same = certificate(&kube, &away, "same", (&home, "same"));
    let all = certificate(&kube, &away, "all", (&home, "all"));
    let some = certificate(&kube, &away, "some", (&home, "some"));
    wait_ready(&kube, &all);
    assert_eq!(
        refusal(&kube, &same),
        format!(
            "MailIssuer {home}/same allows its own namespace only; set spec.allowedNamespaces there, or make a \
             MailIssuer in namespace {away}"
        )
    );
    assert_eq!(
        refusal(&kube, &some),
        format!(
            "the labels of namespace {away} do not match spec.allowedNamespaces.selector of MailIssuer {home}/some \
             (mail=yes)"
        )
    );
    assert!(kube.get(&Path::secret(&away, "same-tls")).is_none());
    wait_ready(&kube, &certificate(&kube, &home, "own", (&home, "same")));

    kube.patch(&Path::issuer(&home, "same"), &json!({"spec": {"allowedNamespaces": {"from": "All"}}})).unwrap();
    wait_ready(&kube, &same);
    kube.patch(&Path::cluster("namespaces", &away), &json!({"metadata": {"labels": {"mail": "yes"}}})).unwrap();
    // Labels of namespaces are not watched: any change of the issuer, or an hour, brings the next look.
    kube.annotate(&Path::issuer(&home, "some"), "example.com/touched", "1");
    wait_ready(&kube, &some);

    // No longer allowed: what was issued stays, and so does its Secret.
    let secret = kube.get(&Path::secret(&away, "all-tls")).unwrap();
    let closed = json!({"spec": {"allowedNamespaces": {"from": "Same"}}});
    kube.patch(&Path::issuer(&home, "all"), &closed).unwrap();
    kube.annotate(&all, "mailcert.dev/renew", "1");
    let object = crate::common::wait_for_object(&kube, &all, "to be refused", |object| {
        condition(object, "Stalled").is_some_and(|(_, reason, _)| reason == "IssuerNotAllowed")
    });
    assert_eq!(condition(&object, "Ready").unwrap().0, "True");
    assert_eq!(version(&kube.get(&Path::secret(&away, "all-tls")).unwrap()), version(&secret));
}
