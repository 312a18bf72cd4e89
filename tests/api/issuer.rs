//! MailIssuers.

use serde_json::{Value, json};

use crate::{
    common::{Kube, cluster},
    table::{check, object},
};

const ONE_OF: &str = "exactly one of acme, ca, selfSigned and certManager must be set";
const ONE_KIND: &str = "exactly one of http01, tlsAlpn01, dns01 and dnsPersist01 must be set";
const ONE_PROVIDER: &str = "exactly one of rfc2136, webhook and dnsEndpoint must be set";
const ONE_NAME: &str = "dnsNames or dnsZones must be set";
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
            (
                "cert-manager",
                json!({"selfSigned": null, "certManager": {"issuerRef": {"name": "vault", "kind": "ClusterIssuer"}}}),
                None,
            ),
            ("cert-manager and another", json!({"certManager": {"issuerRef": {"name": "vault"}}}), Some(ONE_OF)),
            (
                "cert-manager without a name",
                json!({"selfSigned": null, "certManager": {"issuerRef": {}}}),
                Some("spec.certManager.issuerRef.name: Required"),
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
        ],
    );
}

fn solvers(list: Value) -> Value {
    json!({"acme": {"solvers": list}})
}

fn rfc2136(change: &Value) -> Value {
    let mut provider = json!({"server": "ns1.example.com", "tsigKeyName": "mailcert",
        "tsigSecretRef": {"name": "tsig", "key": "secret"}});
    for (key, value) in change.as_object().unwrap() {
        provider[key] = value.clone();
    }
    solvers(json!([{"dns01": {"rfc2136": provider}}]))
}

#[test]
fn every_solver_is_of_exactly_one_kind() {
    let http = json!({"service": {}});
    let webhook = json!({"groupName": "acme.example.com", "solverName": "one"});
    check(
        "MailIssuer",
        &acme(),
        &[
            ("none", solvers(json!([{}])), Some(ONE_KIND)),
            ("none, with a selector", solvers(json!([{"selector": {"dnsZones": ["example.com"]}}])), Some(ONE_KIND)),
            ("two kinds", solvers(json!([{"http01": http, "tlsAlpn01": {}}])), Some(ONE_KIND)),
            ("the second of two", solvers(json!([{"http01": http}, {}])), Some("spec.acme.solvers[1]")),
            ("TLS-ALPN-01", solvers(json!([{"tlsAlpn01": {}}])), None),
            ("DNS-PERSIST-01", solvers(json!([{"dnsPersist01": {"persistUntil": "2030-01-01T00:00:00Z"}}])), None),
            ("no time", solvers(json!([{"dnsPersist01": {"persistUntil": "next year"}}])), Some("date-time")),
            ("no provider", solvers(json!([{"dns01": {}}])), Some(ONE_PROVIDER)),
            ("two providers", solvers(json!([{"dns01": {"webhook": webhook, "dnsEndpoint": {}}}])), Some(ONE_PROVIDER)),
            ("a webhook", solvers(json!([{"dns01": {"webhook": webhook}}])), None),
            ("external-dns", solvers(json!([{"dns01": {"dnsEndpoint": {"labels": {"a": "b"}}}}])), None),
            ("sixteen", solvers(json!(vec![json!({"tlsAlpn01": {}}); 16])), None),
            ("seventeen", solvers(json!(vec![json!({"tlsAlpn01": {}}); 17])), Some("spec.acme.solvers: Too many")),
        ],
    );
}

#[test]
fn a_solver_selects_by_something() {
    let selected =
        |selector: Value| solvers(json!([{"tlsAlpn01": {}, "selector": selector}, {"http01": {"service": {}}}]));
    check(
        "MailIssuer",
        &acme(),
        &[
            ("nothing", selected(json!({})), Some(ONE_NAME)),
            ("no names", selected(json!({"dnsNames": []})), Some("dnsNames")),
            ("no zones", selected(json!({"dnsZones": []})), Some("dnsZones")),
            ("a wildcard", selected(json!({"dnsNames": ["*.example.com"]})), None),
            ("both", selected(json!({"dnsNames": ["mail.example.com"], "dnsZones": ["example.org"]})), None),
            (
                "a wildcard zone",
                selected(json!({"dnsZones": ["*.example.com"]})),
                Some("dnsZones[0] in body should match"),
            ),
            ("an empty name", selected(json!({"dnsNames": [""]})), Some("dnsNames[0]")),
            ("101 names", selected(json!({"dnsNames": vec!["mail.example.com"; 101]})), Some("Too many")),
        ],
    );
}

#[test]
fn dns_providers_have_what_they_need() {
    let webhook = |change: Value| {
        let mut provider = json!({"groupName": "acme.example.com", "solverName": "one"});
        provider.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        solvers(json!([{"dns01": {"webhook": provider}}]))
    };
    let endpoint = |provider: Value| solvers(json!([{"dns01": {"dnsEndpoint": provider}}]));
    let labels: serde_json::Map<String, Value> = (0..21).map(|i| (format!("l{i}"), json!("x"))).collect();
    check(
        "MailIssuer",
        &acme(),
        &[
            ("all that is needed", rfc2136(&json!({})), None),
            ("a port", rfc2136(&json!({"server": "[2001:db8::53]:5353", "transport": "UDP"})), None),
            ("no server", rfc2136(&json!({"server": null})), Some("rfc2136.server")),
            (
                "a URL",
                rfc2136(&json!({"server": "https://ns1.example.com"})),
                Some("rfc2136.server in body should match"),
            ),
            ("no key", rfc2136(&json!({"tsigSecretRef": {"name": "tsig"}})), Some("tsigSecretRef.key: Required")),
            ("an old algorithm", rfc2136(&json!({"tsigAlgorithm": "hmac-md5"})), Some("Unsupported value")),
            ("no time to live", rfc2136(&json!({"ttl": 0})), Some("ttl in body should be greater than or equal to 1")),
            ("two days to live", rfc2136(&json!({"ttl": 172_800})), Some("less than or equal to 86400")),
            ("any config", webhook(json!({"config": {"token": {"name": "a", "key": "b"}, "list": [1, "two"]}})), None),
            ("a config that is a word", webhook(json!({"config": "token"})), Some("must be of type object")),
            ("no group", webhook(json!({"groupName": "a/b"})), Some("groupName in body should match")),
            ("a path", webhook(json!({"solverName": "../pods"})), Some("solverName in body should match")),
            ("unquoted", endpoint(json!({"quoted": false, "ttl": 300})), None),
            ("too many labels", endpoint(json!({"labels": labels})), Some("Too many")),
        ],
    );
}

#[test]
fn what_an_acme_server_is_asked_is_bounded() {
    let with = |field: &str, value: Value| json!({"acme": {field: value}});
    let limits = |limits: Value| json!({"acme": {"limits": limits}});
    let binding = |change: Value| {
        let mut binding = json!({"keyID": "kid-1", "keySecretRef": {"name": "eab", "key": "hmac"}});
        binding.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"acme": {"externalAccountBinding": binding}})
    };
    check(
        "MailIssuer",
        &acme(),
        &[
            ("a profile", with("profile", json!("tlsserver")), None),
            ("no profile", with("profile", json!("")), Some("spec.acme.profile")),
            ("a chain", with("preferredChain", json!("ISRG Root X2")), None),
            ("anchors beyond 64 KiB", with("trustAnchors", json!("x".repeat(65_537))), Some("Too long")),
            ("resolvers", with("resolvers", json!(["192.0.2.53", "[2001:db8::53]:5353", "2001:db8::53"])), None),
            (
                "a resolver's name",
                with("resolvers", json!(["dns.example.com"])),
                Some("resolvers[0] in body should match"),
            ),
            ("nine resolvers", with("resolvers", json!(vec!["192.0.2.53"; 9])), Some("Too many")),
            ("a CAA check", with("caaCheck", json!("Report")), None),
            ("another CAA check", with("caaCheck", json!("Never")), Some("Unsupported value")),
            ("limits", limits(json!({"perNameSet": 1, "perDomain": 100_000, "concurrent": 1000})), None),
            ("no order at all", limits(json!({"perNameSet": 0})), Some("perNameSet in body should be greater")),
            ("a limit beyond sense", limits(json!({"failedAuthorizations": 1001})), Some("less than or equal to 1000")),
            ("a binding", binding(json!({"algorithm": "HS512"})), None),
            ("a binding without its key", binding(json!({"keySecretRef": null})), Some("keySecretRef")),
            ("a binding by RSA", binding(json!({"algorithm": "RS256"})), Some("Unsupported value")),
        ],
    );
}

#[test]
fn defaults_of_solvers_and_limits_are_filled_in() {
    let kube = Kube::new(cluster());
    let mut spec = acme();
    spec["acme"]["solvers"] = json!([
        {"tlsAlpn01": {}}, {"dnsPersist01": {}}, {"dns01": {"dnsEndpoint": {}}}, rfc2136(&json!({}))["acme"]["solvers"][0],
    ]);
    spec["acme"]["externalAccountBinding"] = json!({"keyID": "kid-1", "keySecretRef": {"name": "eab", "key": "hmac"}});
    let made = kube.create_dry(&object("MailIssuer", "good", &spec)).unwrap();
    let acme = &made["spec"]["acme"];
    assert_eq!(
        acme["limits"],
        json!({"perNameSet": 4, "perDomain": 40, "perAccount": 250, "failedAuthorizations": 4, "concurrent": 60})
    );
    assert_eq!(acme["caaCheck"], "Required");
    assert_eq!(acme["externalAccountBinding"]["algorithm"], "HS256");
    let solvers = &acme["solvers"];
    assert_eq!(solvers[0]["tlsAlpn01"], json!({"selfCheck": "Required"}));
    assert_eq!(solvers[1]["dnsPersist01"], json!({"selfCheck": "Required"}));
    assert_eq!(solvers[2]["dns01"], json!({"dnsEndpoint": {"quoted": true, "ttl": 60}, "selfCheck": "Required"}));
    let rfc2136 = &solvers[3]["dns01"]["rfc2136"];
    assert_eq!((&rfc2136["transport"], &rfc2136["tsigAlgorithm"]), (&json!("TCP"), &json!("hmac-sha256")));
    assert_eq!(rfc2136["ttl"], 60);

    let through = json!({"certManager": {"issuerRef": {"name": "vault"}}});
    let made = kube.create_dry(&object("MailIssuer", "good", &through)).unwrap();
    let reference = json!({"name": "vault", "kind": "Issuer", "group": "cert-manager.io"});
    assert_eq!(made["spec"]["certManager"]["issuerRef"], reference);
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
