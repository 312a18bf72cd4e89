//! The chart: what each mode grants, what it refuses, and that its README lists every value.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod helm;

#[path = "chart/alerts.rs"]
mod alerts;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use mailcert::controller::trust_bundle;
use mailcert::decide::domain::{tlsa::CONFIG_MAP_VALUE, world};
use mailcert::issuers::cert_manager;
use mailcert::solvers::dns01::dns_endpoint;
use serde_json::Value;

/// The objects that the chart makes with these settings.
fn objects(helm: &Path, args: &[&str]) -> Vec<Value> {
    let args = [&["--namespace", "ops", "--set", "crds.enabled=false"], args].concat();
    let text = helm::template(helm, &args).unwrap();
    let parsed = text.split("\n---\n").map(|doc| serde_yaml::from_str::<Value>(doc).unwrap());
    parsed.filter(Value::is_object).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|o| o["kind"] == kind).collect()
}

fn names(objects: &[&Value]) -> BTreeSet<String> {
    let name = |o: &&Value| {
        let part = |key: &str| o["metadata"][key].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", part("namespace"), part("name"))
    };
    objects.iter().map(name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// `resource: verbs` of a role's rules.
fn rules(role: &Value) -> BTreeSet<String> {
    let strings = |v: &Value| v.as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let rules = role["rules"].as_array().unwrap().iter();
    rules
        .flat_map(|r| {
            let verbs = strings(&r["verbs"]).join(",");
            strings(&r["resources"]).into_iter().map(move |resource| format!("{resource}: {verbs}"))
        })
        .collect()
}

fn operator_args(objects: &[Value]) -> Vec<String> {
    let args = &of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    args.as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()).collect()
}

#[test]
fn by_default_every_namespace_works_at_once() {
    let Some(helm) = helm::find() else { return };
    let objects = objects(&helm, &[]);
    let bindings = names(&of_kind(&objects, "ClusterRoleBinding"));
    assert_eq!(bindings, set(&["/mailcert", "/mailcert-namespaced"]));
    assert_eq!(names(&of_kind(&objects, "RoleBinding")), set(&["ops/mailcert-operator"]));
    assert!(!operator_args(&objects).iter().any(|a| a.starts_with("--namespaces")));
}

#[test]
fn narrowed_secrets_and_workloads_are_bound_only_where_told() {
    let Some(helm) = helm::find() else { return };
    let objects = objects(&helm, &["--set", "bind.namespaces={mail,more}"]);
    assert_eq!(names(&of_kind(&objects, "ClusterRoleBinding")), set(&["/mailcert"]));
    let bindings = names(&of_kind(&objects, "RoleBinding"));
    assert_eq!(bindings, set(&["mail/mailcert-namespaced", "more/mailcert-namespaced", "ops/mailcert-operator"]));
    let roles = of_kind(&objects, "ClusterRole");
    let everywhere = roles.iter().find(|r| r["metadata"]["name"] == "mailcert").unwrap();
    assert_eq!(
        rules(everywhere),
        set(&[
            "events: create,patch",
            "mailcertificates/status: patch",
            "mailcertificates: list,watch,create,patch,delete",
            "maildomains/status: patch",
            "maildomains: list,watch,patch",
            "mailissuers/status: patch",
            "mailissuers: list,watch",
            "mailtrustbundles/status: patch",
            "mailtrustbundles: list,watch,patch",
            "namespaces: get",
        ])
    );
}

#[test]
fn namespaced_mode_needs_nothing_that_is_cluster_wide() {
    let Some(helm) = helm::find() else { return };
    let objects = objects(&helm, &["--set", "watchNamespaces={a,b}"]);
    assert!(of_kind(&objects, "ClusterRole").is_empty() && of_kind(&objects, "ClusterRoleBinding").is_empty());
    let expected = set(&["a/mailcert", "b/mailcert", "ops/mailcert-operator"]);
    assert_eq!(names(&of_kind(&objects, "Role")), expected);
    assert_eq!(names(&of_kind(&objects, "RoleBinding")), expected);
    assert!(operator_args(&objects).contains(&"--namespaces=a,b".to_owned()));
}

/// `group/resource verb` of every rule of a role.
fn grants(role: &Value) -> BTreeSet<String> {
    let strings = |v: &Value| v.as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut grants = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                grants.extend(strings(&rule["verbs"]).iter().map(|verb| format!("{group}/{resource} {verb}")));
            }
        }
    }
    grants
}

#[test]
fn the_chart_grants_exactly_what_the_operator_asks_for() {
    let Some(helm) = helm::find() else { return };
    let mut needed = BTreeSet::new();
    for (group, resource, subresource, verbs, _) in mailcert::controller::NEEDED {
        let slash = if subresource.is_empty() { "" } else { "/" };
        needed.extend(verbs.iter().map(|verb| format!("{group}/{resource}{slash}{subresource} {verb}")));
    }
    let namespaced = objects(&helm, &["--set", "watchNamespaces={a}"]);
    let role = of_kind(&namespaced, "Role").into_iter().find(|r| r["metadata"]["namespace"] == "a").unwrap();
    assert_eq!(grants(role), needed);
    let cluster = objects(&helm, &[]);
    let roles = of_kind(&cluster, "ClusterRole");
    let operators = ["mailcert", "mailcert-namespaced"];
    let granted = roles.iter().filter(|r| operators.iter().any(|name| r["metadata"]["name"] == *name));
    assert_eq!(granted.flat_map(|r| grants(r)).collect::<BTreeSet<_>>(), needed);
}

#[test]
fn a_feature_that_is_off_is_not_granted() {
    let Some(helm) = helm::find() else { return };
    let operator = |args: &[&str]| {
        let objects = objects(&helm, args);
        rules(of_kind(&objects, "Role")[0])
    };
    let leases = ["leases: create", "leases: get,update"];
    assert_eq!(operator(&[]), set(&[leases[0], leases[1], "ingresses: list,create,delete"]));
    let gateway = operator(&["--set", "http01.ingress.enabled=false,http01.gateway.enabled=true"]);
    assert_eq!(gateway, set(&[leases[0], leases[1], "httproutes: list,create,delete"]));
}

#[test]
fn kinds_of_others_are_granted_where_certificates_and_issuers_are() {
    let Some(helm) = helm::find() else { return };
    let role = |args: &[&str]| {
        let objects = objects(&helm, &[&["--set", "watchNamespaces={a}"], args].concat());
        let role = of_kind(&objects, "Role").into_iter().find(|r| r["metadata"]["namespace"] == "a").unwrap().clone();
        grants(&role)
    };
    let without = role(&[]);
    let endpoints = "externaldns.k8s.io/dnsendpoints";
    let requests = "cert-manager.io/certificaterequests";
    for (value, resource, verbs) in [
        (dns_endpoint::CHART_VALUE, endpoints, &["get", "list", "create", "update", "delete"][..]),
        (cert_manager::CHART_VALUE, requests, &["get", "create", "delete"]),
        (trust_bundle::CHART_VALUE, "/configmaps", &["get", "list", "watch", "create", "patch", "delete"]),
        (CONFIG_MAP_VALUE, "/configmaps", &["get", "create", "update", "delete"]),
        (mailcert::controller::JOBS_CHART_VALUE, "batch/jobs", &["get", "create", "delete"]),
    ] {
        let expected: BTreeSet<_> = verbs.iter().map(|verb| format!("{resource} {verb}")).collect();
        let more = role(&["--set", &format!("{value}=true")]);
        assert_eq!(more.difference(&without).cloned().collect::<BTreeSet<_>>(), expected, "{value}");
        assert!(without.is_subset(&more));
    }
}

#[test]
fn namespaces_are_listed_only_for_trust_bundles_and_only_in_cluster_mode() {
    let Some(helm) = helm::find() else { return };
    let values = ["--set", "trustBundles.enabled=true,trustBundles.from={tenants,tenants}"];
    let cluster = objects(&helm, &values);
    let roles = of_kind(&cluster, "ClusterRole");
    let role = roles.iter().find(|r| r["metadata"]["name"] == "mailcert").unwrap();
    assert!(rules(role).contains("namespaces: list,watch"), "{role:#}");
    assert!(operator_args(&cluster).contains(&"--trust-bundles-from=tenants".to_owned()));
    let namespaced = objects(&helm, &[&["--set", "watchNamespaces={a}"], &values[..]].concat());
    assert!(of_kind(&namespaced, "Role").iter().all(|r| !rules(r).contains("namespaces: list,watch")));
}

#[test]
fn pods_are_granted_as_far_as_they_are_used() {
    let Some(helm) = helm::find() else { return };
    let role = |args: &[&str]| {
        let objects = objects(&helm, &[&["--set", "watchNamespaces={a}"], args].concat());
        let role = of_kind(&objects, "Role").into_iter().find(|r| r["metadata"]["namespace"] == "a").unwrap().clone();
        grants(&role)
    };
    let without = role(&[]);
    let exec = ["/pods list", "/pods patch", "/pods/exec get", "/pods/exec create"];
    let both = format!("{}=true,{}=true", world::RELOAD_VALUE, world::PER_POD_VALUE);
    for (values, grants) in [
        (format!("{}=true", world::RELOAD_VALUE), &exec[..]),
        (format!("{}=true", world::PER_POD_VALUE), &["/pods list"]),
        (both, &exec[..]),
        (format!("{}=true", world::BUDGETS_VALUE), &["policy/poddisruptionbudgets list"]),
    ] {
        let more = role(&["--set", &values]);
        assert_eq!(more.difference(&without).cloned().collect::<BTreeSet<_>>(), set(grants), "{values}");
    }
}

/// A solver of a webhook has no namespace: no Role could grant it.
#[test]
fn webhooks_are_granted_one_by_one_in_every_mode() {
    let Some(helm) = helm::find() else { return };
    let values = "dns01.webhooks[0].groupName=acme.example.com,dns01.webhooks[0].solverName=one,\
                  dns01.webhooks[1].groupName=acme.example.org,dns01.webhooks[1].solverName=two";
    for mode in ["bind.namespaces={mail}", "watchNamespaces={mail}"] {
        let objects = objects(&helm, &["--set", mode, "--set", values]);
        let named = |kind: &str| {
            let found = of_kind(&objects, kind).into_iter().find(|o| o["metadata"]["name"] == "mailcert-webhooks");
            found.unwrap_or_else(|| panic!("{mode}: no {kind} mailcert-webhooks")).clone()
        };
        let expected = set(&["acme.example.com/one create", "acme.example.org/two create"]);
        assert_eq!(grants(&named("ClusterRole")), expected);
        let binding = named("ClusterRoleBinding");
        assert_eq!(binding["roleRef"]["name"], "mailcert-webhooks");
        assert_eq!(binding["subjects"][0]["namespace"], "ops");
    }
}

#[test]
fn both_kinds_of_challenges_reach_the_pod() {
    let Some(helm) = helm::find() else { return };
    let objects = objects(&helm, &["--set", "networkPolicy.enabled=true,challengeService.tlsNodePort=30443"]);
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let port = |name: &str| {
        let found = pod["ports"].as_array().unwrap().iter().find(|p| p["name"] == name);
        found.unwrap_or_else(|| panic!("no port {name}"))["containerPort"].as_u64().unwrap()
    };
    let args = operator_args(&objects);
    let services = of_kind(&objects, "Service");
    let service = services.iter().find(|s| s["metadata"]["name"] == "mailcert-challenges").unwrap();
    let policy = of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"].to_string();
    for (name, flag, outside) in
        [("challenges", "--challenge-listen", 80), ("tls-challenges", "--challenge-tls-listen", 443)]
    {
        assert!(args.contains(&format!("{flag}=[::]:{}", port(name))), "{args:?}");
        let way = service["spec"]["ports"].as_array().unwrap().iter().find(|p| p["targetPort"] == name).unwrap();
        assert_eq!(way["port"], outside);
        assert!(policy.contains(&format!("{{\"port\":\"{name}\"}}")), "{policy}");
    }
    assert_eq!(service["spec"]["ports"][1]["nodePort"], 30443);
}

#[test]
fn resolvers_are_handed_on() {
    let Some(helm) = helm::find() else { return };
    let dns =
        |objects: &[Value]| operator_args(objects).into_iter().filter(|a| a.starts_with("--dns-")).collect::<Vec<_>>();
    assert_eq!(dns(&objects(&helm, &[])), Vec::<String>::new());
    let set = "operator.dnsResolvers={192.0.2.53,[2001:db8::53]:5353},operator.dnsRecursiveOnly=true";
    let expected = ["--dns-resolvers=192.0.2.53,[2001:db8::53]:5353", "--dns-recursive-only"];
    assert_eq!(dns(&objects(&helm, &["--set", set])), expected);
    let anchor = ". IN DNSKEY 257 3 13 AAAA";
    let two = objects(&helm, &["--set", &format!("operator.dnssecTrustAnchors={{{anchor},a{anchor}}}")]);
    assert!(operator_args(&two).contains(&format!("--dnssec-trust-anchors={anchor}\na{anchor}")), "{two:#?}");
}

#[test]
fn the_pod_fits_the_restricted_standard() {
    let Some(helm) = helm::find() else { return };
    let objects = objects(&helm, &[]);
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    assert!(container["resources"]["limits"]["memory"].is_string());
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let Some(helm) = helm::find() else { return };
    for (values, complaint) in [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("replicas=2,leaderElection.enabled=false", "leaderElection.enabled must be true"),
        ("bind.namespaces={*,mail}", "write \"*\" alone"),
        ("watchNamespaces={a},bind.namespaces={b}", "bind.namespaces has no meaning with watchNamespaces"),
        ("serviceAccount.create=false", "serviceAccount.name must be set"),
        ("dns01.webhooks[0].groupName=acme.example.com", "solverName"),
        ("dns01.webhooks[0].groupName=acme.example.com,dns01.webhooks[0].solverName=*", "does not match pattern"),
        ("operator.dnsResolvers={dns.example.com}", "does not match pattern"),
        ("metrics.service.enabled=false,metrics.serviceMonitor.enabled=true", "needs metrics.service.enabled"),
    ] {
        let error = helm::template(&helm, &["--set", values]).unwrap_err();
        assert!(error.contains(complaint), "{values}: {error}");
    }
}

#[test]
fn lint_is_silent() {
    let Some(helm) = helm::find() else { return };
    let mut command = Command::new(helm);
    let output = command.args(["lint", "--strict", "--kube-version", "1.33.0"]).arg(helm::chart()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Paths of all values (`image.tag`); a list, or a map that is empty by default, is one value.
fn paths(prefix: &str, value: &Value, found: &mut Vec<String>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => map.iter().for_each(|(key, value)| paths(&format!("{prefix}.{key}"), value, found)),
        None => found.push(prefix.trim_start_matches('.').to_owned()),
    }
}

#[test]
fn the_readme_lists_every_value() {
    let chart = helm::chart();
    let values: Value = serde_yaml::from_str(&fs::read_to_string(chart.join("values.yaml")).unwrap()).unwrap();
    let readme = fs::read_to_string(chart.join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<_> = rows.map(str::to_owned).collect();
    let mut actual = Vec::new();
    paths("", &values, &mut actual);
    // Kubernetes' own types are documented as a whole.
    let whole = ["strategy", "resources", "podSecurityContext", "securityContext"];
    let name =
        |path: String| whole.iter().find(|w| path.starts_with(&format!("{w}."))).map_or(path, |w| (*w).to_owned());
    let actual: BTreeSet<_> = actual.into_iter().map(name).collect();
    assert_eq!(documented, actual);
}
