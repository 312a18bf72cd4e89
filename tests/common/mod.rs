//! What tests with the operator's binary share: the API server with the CRDs, namespaces of their own, a client, the
//! operator as a child process, and waiting for conditions.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers panic as the tests that call them do")]
#![allow(dead_code, unused_imports, reason = "every test binary takes its part")]

mod authority;
mod kube_client;
mod operator;
mod stage;

pub use authority::{Authority, leaf, signed_by, spki_of_key};
pub use kube_client::{Kube, Path};
pub use operator::Operator;
pub use stage::{Stage, create};

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use mailcert_testenv::Cluster;
use serde_json::{Value, json};

/// Generous, for machines that do much else: only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The control plane that all tests of this binary share, with the CRDs established.
pub fn cluster() -> &'static Cluster {
    static READY: OnceLock<&'static Cluster> = OnceLock::new();
    READY.get_or_init(|| {
        let cluster = Cluster::shared();
        install_crds(cluster);
        cluster
    })
}

/// Applies the CRDs and waits until they are served.
pub fn install_crds(cluster: &Cluster) {
    let crds = mailcert::cli::crds::all();
    let yaml: String = crds.iter().map(|crd| format!("---\n{}", mailcert::cli::crds::yaml(crd).unwrap())).collect();
    cluster.kubectl_with(&["apply", "--server-side", "-f", "-"], &yaml).unwrap();
    let names: Vec<String> = crds.iter().map(|crd| format!("crd/{}", crd.metadata.name.as_deref().unwrap())).collect();
    let mut args = vec!["wait", "--for=condition=Established", "--timeout=60s"];
    args.extend(names.iter().map(String::as_str));
    cluster.kubectl(&args).unwrap();
}

/// A kubeconfig with the rights of a ServiceAccount.
pub fn kubeconfig(namespace: &str, account: &str) -> String {
    let token = cluster().kubectl(&["create", "token", account, "-n", namespace]).unwrap();
    let admin = fs::read_to_string(cluster().kubeconfig()).unwrap();
    let tokens = fs::read_to_string(cluster().dir().join("tokens.csv")).unwrap();
    let path = cluster().dir().join(format!("{namespace}-{account}.kubeconfig"));
    fs::write(&path, admin.replace(tokens.split(',').next().unwrap(), token.trim())).unwrap();
    path.to_string_lossy().into_owned()
}

/// A new namespace that no other test of this binary has.
pub fn namespace(kube: &Kube, prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    kube.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).unwrap();
    name
}

/// Looks until there is an answer, and panics with `what` when none comes.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The condition of that type on an object: status, reason, message.
pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|c| c["type"] == type_)?;
    Some((found["status"].as_str()?, found["reason"].as_str()?, found["message"].as_str().unwrap_or_default()))
}

/// Waits until the condition has that status and reason, of the spec as it is now. Returns the object.
pub fn wait_condition(kube: &Kube, at: &Path, type_: &str, status: &str, reason: &str) -> Value {
    let mut last = Value::Null;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        last = kube.get(at).unwrap_or_default();
        let current = last["status"]["observedGeneration"] == last["metadata"]["generation"];
        if current && condition(&last, type_).is_some_and(|(s, r, _)| s == status && r == reason) {
            return last;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{at}: {type_} never became {status} ({reason}); last:\n{:#}", last["status"]);
}

/// Waits until the object is Ready. Returns it.
pub fn wait_ready(kube: &Kube, at: &Path) -> Value {
    let found = wait_for_object(kube, at, "to be Ready", |object| {
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        current && condition(object, "Ready").is_some_and(|(status, ..)| status == "True")
    });
    assert!(condition(&found, "Stalled").is_none(), "{:#}", found["status"]);
    found
}

/// Waits until the object is as asked; shows its status when it never is. Returns it.
pub fn wait_for_object(kube: &Kube, at: &Path, what: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        last = kube.get(at).unwrap_or_default();
        if !last.is_null() && is(&last) {
            return last;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{at}: waited in vain for it {what}; last status:\n{:#}", last["status"]);
}

/// A Secret's data, decoded, as text.
pub fn data(secret: &Value) -> BTreeMap<String, String> {
    let entries = secret["data"].as_object().into_iter().flatten();
    let decode = |v: &Value| String::from_utf8(BASE64_STANDARD.decode(v.as_str().unwrap()).unwrap()).unwrap();
    entries.map(|(key, value)| (key.clone(), decode(value))).collect()
}

/// The object's resourceVersion.
pub fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

/// The Events about an object, oldest first: type, reason, note.
pub fn events(kube: &Kube, namespace: &str, name: &str) -> Vec<(String, String, String)> {
    let mut events = kube.list(&format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"));
    events.retain(|event| event["regarding"]["name"] == name);
    events.sort_by_key(|event| event["metadata"]["creationTimestamp"].as_str().unwrap().to_owned());
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    events.iter().map(|e| (text(e, "type"), text(e, "reason"), text(e, "note"))).collect()
}
