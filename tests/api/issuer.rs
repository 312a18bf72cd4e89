//! MailIssuers.

use serde_json::{Value, json};

use crate::{
    common::{Kube, cluster},
    table::{check, object},
};

const ONE_OF: &str = "exactly one of acme, ca and selfSigned must be set";
const ONE_WAY: &str = "exactly one of service, ingress and gatewayHTTPRoute must be set";
const SELECTOR: &str = "selector must be set when from is Selector, and only then";

#[test]
fn exactly_one_kind_of_issuer() {
    check(
        "MailIssuer",
        &json!({"selfSigned": {}}),
        &[
            ("none", json!({"selfSigned": null}), Some(ONE_OF)),
            ("two", json!({"ca": {"secretRef": {"name": "ca"}}}), Some(ONE_OF)),
            ("ca", json!({"selfSigned": null, "ca": {"secretRef": {"name": "ca"}}}), None),
            (
                "ca without a name",
                json!({"selfSigned": null, "ca": {"secretRef": {}}}),
                Some("spec.ca.secretRef.name: Required"),
            ),
            (
                "ca with a bad name",
                json!({"selfSigned": null, "ca": {"secretRef": {"name": "Ca"}}}),
                Some("spec.ca.secretRef.name in body should match"),
            ),
        ],
    );
}

#[test]
fn a_null_is_as_good_as_nothing() {
    let kube = Kube::new(cluster());
    kube.create_dry(&object("MailIssuer", "nulls", &json!({"selfSigned": {}, "acme": null, "ca": null}))).unwrap();
    let mut spec = crate::domain::good();
    spec["certificate"]["template"] = Value::Null;
    spec["workloads"] = json!([{"kind": "Deployment", "name": "postfix", "selector": null}]);
    kube.create_dry(&object("MailDomain", "nulls", &spec)).unwrap();
    let mut spec = crate::certificate::good();
    spec["commonName"] = Value::Null;
    spec["duration"] = Value::Null;
    spec["privateKey"] = json!({"algorithm": "Ed25519", "size": null});
    spec["renewal"] = json!({"before": "720h", "beforePercentage": null});
    kube.create_dry(&object("MailCertificate", "nulls", &spec)).unwrap();
}

fn acme() -> Value {
    json!({"acme": {"server": "LetsEncryptStaging", "solvers": [{"http01": {"service": {}}}]}})
}

fn server(url: &str) -> Value {
    json!({"acme": {"server": url}})
}

#[test]
fn acme_servers_are_names_or_https_urls() {
    let pattern = Some("spec.acme.server in body should match");
    check(
        "MailIssuer",
        &acme(),
        &[
            ("the name", server("LetsEncrypt"), None),
            ("a URL", server("https://acme.example.com/directory"), None),
            ("plain HTTP", server("http://acme.example.com/directory"), pattern),
            ("another name", server("ZeroSSL"), pattern),
            ("a blank", server("https://acme.example.com/a b"), pattern),
            ("empty", server(""), Some("spec.acme.server")),
            ("too long", server(&format!("https://{}", "a".repeat(520))), Some("Too long")),
            ("no server", json!({"acme": {"server": null}}), Some("spec.acme.server: Required")),
            ("six contacts", json!({"acme": {"contact": vec!["a@example.com"; 6]}}), Some("Too many")),
            ("a contact", json!({"acme": {"contact": ["postmaster@example.com"]}}), None),
            (
                "no mail address",
                json!({"acme": {"contact": ["postmaster"]}}),
                Some("spec.acme.contact[0] in body should match"),
            ),
            (
                "a bundle beyond 64 KiB",
                json!({"acme": {"caBundle": "x".repeat(65_537)}}),
                Some("spec.acme.caBundle: Too long"),
            ),
        ],
    );
}

fn http01(solver: Value) -> Value {
    json!({"acme": {"solvers": [{"http01": solver}]}})
}

#[test]
fn exactly_one_way_to_the_challenges() {
    let gateway = |refs: Value| http01(json!({"gatewayHTTPRoute": {"parentRefs": refs}}));
    check(
        "MailIssuer",
        &acme(),
        &[
            ("none", http01(json!({})), Some(ONE_WAY)),
            ("two", http01(json!({"service": {}, "ingress": {}})), Some(ONE_WAY)),
            ("an Ingress", http01(json!({"ingress": {"className": "nginx"}})), None),
            ("a Gateway", gateway(json!([{"name": "public", "sectionName": "http"}])), None),
            ("no Gateway", gateway(json!([])), Some("parentRefs")),
            ("a skipped self-check", http01(json!({"service": {}, "selfCheck": "Skip"})), None),
            ("an unknown self-check", http01(json!({"service": {}, "selfCheck": "Maybe"})), Some("Unsupported value")),
            ("no solver", json!({"acme": {"solvers": []}}), Some("spec.acme.solvers")),
            (
                "two solvers",
                json!({"acme": {"solvers": [{"http01": {"service": {}}}, {"http01": {"service": {}}}]}}),
                Some("spec.acme.solvers: Too many"),
            ),
        ],
    );
}

#[test]
fn a_selector_goes_with_selector_only() {
    let selector = json!({"matchLabels": {"mail": "yes"}});
    check(
        "MailIssuer",
        &json!({"selfSigned": {}}),
        &[
            ("all", json!({"allowedNamespaces": {"from": "All"}}), None),
            ("selected", json!({"allowedNamespaces": {"from": "Selector", "selector": selector}}), None),
            ("no selector", json!({"allowedNamespaces": {"from": "Selector"}}), Some(SELECTOR)),
            ("a selector for all", json!({"allowedNamespaces": {"from": "All", "selector": selector}}), Some(SELECTOR)),
            ("a selector alone", json!({"allowedNamespaces": {"selector": selector}}), Some(SELECTOR)),
            ("another word", json!({"allowedNamespaces": {"from": "Some"}}), Some("Unsupported value")),
        ],
    );
}

#[test]
fn defaults_are_filled_in_and_names_are_short() {
    let kube = Kube::new(cluster());
    let made = kube.create_dry(&object("MailIssuer", "good", &acme())).unwrap();
    assert_eq!(made["spec"]["allowedNamespaces"], json!({"from": "Same"}));
    assert_eq!(made["spec"]["acme"]["termsOfServiceAgreed"], json!(false));
    assert_eq!(made["spec"]["acme"]["solvers"][0]["http01"]["selfCheck"], json!("Required"));

    for (kind, spec) in [
        ("MailIssuer", json!({"selfSigned": {}})),
        ("MailCertificate", crate::certificate::good()),
        ("MailDomain", crate::domain::good()),
    ] {
        kube.create_dry(&object(kind, &"n".repeat(63), &spec)).unwrap();
        let refused = kube.create_dry(&object(kind, &"n".repeat(64), &spec)).unwrap_err();
        assert!(refused.contains(&format!("the name of a {kind} has at most 63 characters")), "{refused}");
    }
}
