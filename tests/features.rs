//! The operator with exactly the permissions that the chart grants when features are on: external-dns, cert-manager, DANE.
//! On a cluster of its own.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the helpers here are tests too")]

mod common;
mod helm;
#[path = "domains/server.rs"]
#[allow(dead_code, reason = "it is the domains' too")]
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Kube, Operator, Path, cluster, create, data, kubeconfig, namespace, wait_for, wait_ready};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use mailcert::decide::domain::tlsa;
use mailcert::issuers::cert_manager;
use mailcert::operating::client::from_config;
use mailcert::solvers::dns01::dns_endpoint::{self, Endpoint};
use mailcert_testenv::published::{CERTIFICATE_REQUEST_CRD, DNS_ENDPOINT_CRD};
use serde_json::{Value, json};
use server::{Identity, Manner, Server};

const SYSTEM: &str = "mailcert-system";

/// Installs the chart with these values set, and makes a kubeconfig of its ServiceAccount.
fn install(helm: &std::path::Path, values: &str) -> String {
    let manifest =
        helm::template(helm, &["--namespace", SYSTEM, "--set", "crds.enabled=false", "--set", values]).unwrap();
    let _ = cluster().kubectl(&["create", "namespace", SYSTEM]);
    cluster().kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &manifest).unwrap();
    kubeconfig(SYSTEM, "mailcert")
}

async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    from_config(config, Duration::from_secs(30), None).unwrap()
}

#[test]
fn what_the_chart_grants_a_feature_is_enough() {
    let Some(helm) = helm::find() else { return };
    let kube = Kube::new(cluster());
    let crds = [CERTIFICATE_REQUEST_CRD, DNS_ENDPOINT_CRD].map(|published| published.read().unwrap()).join("\n---\n");
    cluster().kubectl_with(&["apply", "--server-side", "-f", "-"], &crds).unwrap();
    for crd in ["certificaterequests.cert-manager.io", "dnsendpoints.externaldns.k8s.io"] {
        cluster().kubectl(&["wait", "--for=condition=Established", &format!("crd/{crd}"), "--timeout=60s"]).unwrap();
    }
    let on = [dns_endpoint::CHART_VALUE, cert_manager::CHART_VALUE, tlsa::CONFIG_MAP_VALUE];
    let values = on.map(|value| format!("{value}=true")).join(",");
    let kubeconfig = install(&helm, &values);
    let ns = namespace(&kube, "features");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { external_dns(&client(&kubeconfig).await, &ns).await });
    let flags = [format!("--kubeconfig={kubeconfig}"), format!("--operator-namespace={SYSTEM}")];
    let operator = Operator::start(cluster(), &[], &[&flags[0], &flags[1]]);
    cert_manager_requests(&kube, &ns);
    tlsa_records(&kube, &ns);
    let log = operator.log();
    assert!(!log.contains("orbidden") && !log.contains("a permission is missing"), "{log}");
}

/// Created, changed, swept (which lists) and deleted.
async fn external_dns(client: &Client, namespace: &str) {
    let endpoint = |value: &str| Endpoint {
        namespace: namespace.to_owned(),
        fqdn: "_acme-challenge.example.com".to_owned(),
        value: value.to_owned(),
        ttl: 60,
        quoted: true,
        owner: format!("{namespace}/mail"),
        labels: BTreeMap::new(),
    };
    let (one, two) = (endpoint(&"a".repeat(43)), endpoint(&"b".repeat(43)));
    dns_endpoint::present(client, &one).await.unwrap();
    dns_endpoint::present(client, &two).await.unwrap();
    dns_endpoint::clean_up(client, &one).await.unwrap();
    assert_eq!(dns_endpoint::sweep(client, namespace, |_, _| false).await.unwrap(), 1);
    assert_eq!(dns_endpoint::sweep(client, namespace, |_, _| false).await.unwrap(), 0, "nothing is left");
}

/// Made, looked at, and deleted when another issuer is wanted.
fn cert_manager_requests(kube: &Kube, ns: &str) {
    create(kube, "MailIssuer", ns, "vault", &json!({"certManager": {"issuerRef": {"name": "vault"}}}));
    create(kube, "MailIssuer", ns, "self", &json!({"selfSigned": {}}));
    let spec = json!({"issuerRef": {"name": "vault"}, "secretName": "mail-tls", "dnsNames": ["mail.example.com"]});
    create(kube, "MailCertificate", ns, "mail", &spec);
    let at = Path::certificate(ns, "mail");
    let requests = || {
        let names = cluster().kubectl(&["get", "certificaterequests.cert-manager.io", "-n", ns, "-o", "name"]).unwrap();
        names.lines().count()
    };
    wait_for("what the request waits for", || {
        let object = kube.get(&at).unwrap();
        let said = common::condition(&object, "Ready")?;
        (said.1 == "RequestPending" && said.2.contains("waits for approval")).then_some(())
    });
    assert_eq!(requests(), 1);
    kube.patch(&at, &json!({"spec": {"issuerRef": {"name": "self"}}})).unwrap();
    wait_ready(kube, &at);
    wait_for("the end of the request", || (requests() == 0).then_some(()));
}

/// The ConfigMap and the DNSEndpoint are made, changed and deleted, and the finalizer is put on and taken off. DNS itself
/// does not answer here.
fn tlsa_records(kube: &Kube, ns: &str) {
    let (reader, namespace) = (Kube::new(cluster()), ns.to_owned());
    let identity = move || {
        let secret = data(&reader.get(&Path::secret(&namespace, "mail-tls")).unwrap());
        Identity::from_pem(&secret["tls.crt"], &secret["tls.key"])
    };
    let port = Server::start(Manner::Implicit("* OK ready\r\n"), identity).port;
    let at = Path::domain(ns, "mail");
    let endpoint = json!({"protocol": "IMAPS", "address": "127.0.0.1", "port": port});
    let spec = json!({"domain": "example.com", "externalURL": "https://mail.example.com",
        "certificate": {"ref": {"name": "mail"}}, "endpoints": [endpoint], "dns": {"tlsa": {"mode": "Show"}}});
    create(kube, "MailDomain", ns, "mail", &spec);
    let turn = |tlsa: Value| kube.patch(&at, &json!({"spec": {"dns": {"tlsa": tlsa}}})).unwrap();
    let map = || kube.get(&Path::new("configmaps", ns, "mail-tlsa"));
    let endpoint = || {
        let args = ["get", "dnsendpoints", "mail-tlsa", "-n", ns, "-o", "json", "--ignore-not-found"];
        serde_json::from_str::<Value>(&cluster().kubectl(&args).unwrap()).ok()
    };
    let shows = |ttl: u32| {
        let map = map()?;
        let lines = map["data"]["tlsa.zone"].as_str().unwrap();
        lines.contains(&format!("_{port}._tcp.mail.example.com. {ttl} IN TLSA 3 1 1 ")).then_some(())
    };
    wait_for("the ConfigMap", || shows(3600));
    turn(json!({"ttl": 600}));
    wait_for("the change of the ConfigMap", || shows(600));

    turn(json!({"mode": "DNSEndpoint"}));
    wait_for("the end of the ConfigMap", || map().is_none().then_some(()));
    wait_for("the DNSEndpoint", || (endpoint()?["spec"]["endpoints"][0]["recordTTL"] == 600).then_some(()));
    turn(json!({"ttl": 300}));
    wait_for("its change", || (endpoint()?["spec"]["endpoints"][0]["recordTTL"] == 300).then_some(()));

    let server = json!({"server": "127.0.0.1:9", "tsigKeyName": "mailcert",
        "tsigSecretRef": {"name": "no-such-secret", "key": "secret"}});
    turn(json!({"mode": "RFC2136", "rfc2136": server}));
    wait_for("the end of the DNSEndpoint", || endpoint().is_none().then_some(()));
    let held = |object: &Value| object["metadata"]["finalizers"] == json!(["mailcert.dev/tlsa-records"]);
    common::wait_for_object(kube, &at, "to be held", held);
    // There never was a key to publish with, so a deletion waits for nothing.
    kube.delete(&at);
    wait_for("the MailDomain to go", || kube.get(&at).is_none().then_some(()));
    wait_for("its Event", || common::events(kube, ns, "mail").into_iter().find(|e| e.1 == "TLSALeftBehind"));
}
