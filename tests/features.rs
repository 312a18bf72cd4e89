//! The operator with exactly the permissions that the chart grants when features are on: external-dns, cert-manager. On a
//! cluster of its own.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the helpers here are tests too")]

mod common;
mod helm;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use common::{Kube, Operator, Path, cluster, create, namespace, wait_for, wait_ready};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use mailcert::issuers::cert_manager;
use mailcert::operating::client::from_config;
use mailcert::solvers::dns01::dns_endpoint::{self, Endpoint};
use mailcert_testenv::published::{CERTIFICATE_REQUEST_CRD, DNS_ENDPOINT_CRD};
use serde_json::json;

const SYSTEM: &str = "mailcert-system";

/// Installs the chart with these values set, and makes a kubeconfig of its ServiceAccount.
fn install(helm: &std::path::Path, values: &str) -> String {
    let manifest =
        helm::template(helm, &["--namespace", SYSTEM, "--set", "crds.enabled=false", "--set", values]).unwrap();
    let _ = cluster().kubectl(&["create", "namespace", SYSTEM]);
    cluster().kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &manifest).unwrap();
    let token = cluster().kubectl(&["create", "token", "mailcert", "-n", SYSTEM]).unwrap();
    let admin = fs::read_to_string(cluster().kubeconfig()).unwrap();
    let tokens = fs::read_to_string(cluster().dir().join("tokens.csv")).unwrap();
    let restricted = cluster().dir().join("restricted.kubeconfig");
    fs::write(&restricted, admin.replace(tokens.split(',').next().unwrap(), token.trim())).unwrap();
    restricted.to_string_lossy().into_owned()
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
    let values = format!("{}=true,{}=true", dns_endpoint::CHART_VALUE, cert_manager::CHART_VALUE);
    let kubeconfig = install(&helm, &values);
    let ns = namespace(&kube, "features");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { external_dns(&client(&kubeconfig).await, &ns).await });
    cert_manager_requests(&kube, &ns, &kubeconfig);
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
fn cert_manager_requests(kube: &Kube, ns: &str, kubeconfig: &str) {
    let flags = [format!("--kubeconfig={kubeconfig}"), format!("--operator-namespace={SYSTEM}")];
    let operator = Operator::start(cluster(), &[], &[&flags[0], &flags[1]]);
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
    let log = operator.log();
    assert!(!log.contains("orbidden") && !log.contains("a permission is missing"), "{log}");
}
