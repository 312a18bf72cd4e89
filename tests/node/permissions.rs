//! What the chart grants is what the operator calls, and nothing it calls is refused.

use crate::ground::{Ground, SYSTEM};
use serde_json::Value;
use std::collections::BTreeSet;

/// Verb and resource.
pub type Calls = BTreeSet<(String, String)>;

/// Granted, and called only in cases that this story does not have.
const SELDOM: &[(&str, &str, &str)] = &[
    ("delete", "secrets", "revisions beyond history.revisions, deletionPolicy Delete"),
    ("patch", "mailcertificates", "a MailDomain whose names or template change"),
    ("patch", "maildomains", "a MailDomain whose TLSA records are published by dynamic updates"),
    ("get", "statefulsets", "a MailDomain that names one"),
    ("patch", "statefulsets", "a MailDomain that names one"),
    ("get", "daemonsets", "a MailDomain that names one"),
    ("patch", "daemonsets", "a MailDomain that names one"),
    ("create", "pods/exec", "an API server of 1.35 or later"),
    ("delete", "configmaps", "a MailTrustBundle with deletionPolicy Delete"),
    ("patch", "mailtrustbundles", "a MailTrustBundle with deletionPolicy Delete"),
    ("list", "namespaces", "a MailTrustBundle that selects namespaces"),
    ("watch", "namespaces", "a MailTrustBundle that selects namespaces"),
    ("patch", "events", "an Event that comes again"),
    ("get", "namespaces", "an issuer whose allowedNamespaces has a selector"),
];

/// What the operator has called since it started, out of its own metrics.
pub fn calls(ground: &Ground) -> Calls {
    let metrics = ground.metrics();
    let label = |line: &str, name: &str| {
        let rest = line.split_once(&format!("{name}=\"")).unwrap().1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    let lines = metrics.lines().filter(|line| line.starts_with("mailcert_api_requests_total{"));
    let calls: Calls = lines.map(|line| (label(line, "verb"), label(line, "resource"))).collect();
    assert!(!calls.is_empty(), "{metrics}");
    calls
}

/// The chart's rules as they stand in the cluster.
fn granted(ground: &Ground) -> Calls {
    let roles = ["clusterrole/mailcert", "clusterrole/mailcert-namespaced", "role/mailcert-operator"];
    let rules = roles.map(|role| ground.get(SYSTEM, &[role])["rules"].as_array().unwrap().clone()).concat();
    let strings =
        |list: &Value| list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let pairs = |rule: &Value| {
        let (verbs, resources) = (strings(&rule["verbs"]), strings(&rule["resources"]));
        let pair = |verb: &String| resources.iter().map(|r| (verb.clone(), r.clone())).collect::<Vec<_>>();
        verbs.iter().flat_map(pair).collect::<Vec<_>>()
    };
    rules.iter().flat_map(pairs).collect()
}

/// Every rule is used, or is known to be for another story; and nothing is used that no rule grants.
pub fn what_is_granted_is_called(ground: &Ground, calls: &Calls) {
    let granted = granted(ground);
    let seldom: Calls = SELDOM.iter().map(|(verb, resource, _)| ((*verb).to_owned(), (*resource).to_owned())).collect();
    let idle: Vec<_> = granted.difference(calls).filter(|one| !seldom.contains(*one)).collect();
    assert!(idle.is_empty(), "granted and never called: {idle:?}\ncalled: {calls:?}");
    let useless: Vec<_> = seldom.difference(&granted).collect();
    assert!(useless.is_empty(), "named as seldom, and not even granted: {useless:?}");
    // Every account may ask about its own rights. Whether routes were left behind is asked with the feature off, too.
    let open = |resource: &str| ["selfsubjectaccessreviews", "ingresses", "httproutes"].contains(&resource);
    let beyond: Vec<_> = calls.difference(&granted).filter(|(_, resource)| !open(resource)).collect();
    assert!(beyond.is_empty(), "called and not granted: {beyond:?}");
}

/// No answer 403, and no permission missed at start.
pub fn nothing_was_refused(ground: &Ground) {
    let log = ground.log();
    assert!(log.contains("leading"), "{log}");
    let refused = |line: &&str| ["orbidden", " 403", "a permission is missing"].iter().any(|word| line.contains(word));
    assert_eq!(log.lines().filter(refused).collect::<Vec<_>>(), Vec::<&str>::new());
}
