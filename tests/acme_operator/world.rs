//! One operator with its namespaces, its Pebble and a proxy between them, on the API server that all tests share.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use mailcert::api::{MailCertificate, MailIssuer};
use mailcert_testenv::{Cluster, Pebble, PebbleOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::proxy::Proxy;

/// Long enough for a busy machine; only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// So many of a hundred good nonces are refused in every test.
pub const NONCE_ERRORS: u8 = 20;

static NUMBER: AtomicUsize = AtomicUsize::new(0);

pub struct World {
    operator: Option<Child>,
    flags: Vec<String>,
    hosts: Option<PathBuf>,
    log: PathBuf,
    cluster: &'static Cluster,
    pub client: Client,
    pub pebble: Pebble,
    pub proxy: Proxy,
    /// Where the objects are.
    pub namespace: String,
    /// Where the operator is.
    pub home: String,
}

/// The shared control plane, with mailcert's kinds.
fn cluster() -> &'static Cluster {
    static READY: OnceLock<()> = OnceLock::new();
    let cluster = Cluster::shared();
    READY.get_or_init(|| {
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
        cluster.kubectl(&["apply", "-f", crds]).unwrap();
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", crds]).unwrap();
    });
    cluster
}

impl World {
    /// An operator that answers challenges where this Pebble looks for them.
    pub async fn start(name: &str, flags: &[&str]) -> Self {
        let mut world = Self::prepare(name, flags, PebbleOptions::default()).await;
        world.start_operator();
        world
    }

    /// As [`World::start`], without a running operator.
    pub async fn prepare(name: &str, flags: &[&str], options: PebbleOptions) -> Self {
        let options = PebbleOptions { nonce_reject_percent: NONCE_ERRORS, ..options };
        let cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
        let pebble = tokio::task::spawn_blocking(move || Pebble::start(&options).unwrap()).await.unwrap();
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (namespace, home) = (format!("{name}-{number}"), format!("{name}-{number}-operator"));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for name in [&namespace, &home] {
            let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            namespaces.create(&PostParams::default(), &object).await.unwrap();
        }
        let log = cluster.dir().join(format!("operator-{namespace}.log"));
        File::create(&log).unwrap();
        Self {
            operator: None,
            flags: flags.iter().map(ToString::to_string).collect(),
            hosts: None,
            log,
            cluster,
            client,
            proxy: Proxy::start(&pebble).await,
            pebble,
            namespace,
            home,
        }
    }

    /// The operator resolves names by this file, in a mount namespace of its own.
    pub fn with_hosts(&mut self, hosts: PathBuf) {
        self.hosts = Some(hosts);
    }

    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    pub fn start_operator(&mut self) {
        let mut command = match &self.hosts {
            None => Command::new(env!("CARGO_BIN_EXE_mailcert")),
            Some(hosts) => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#]).arg(hosts);
                command.arg(env!("CARGO_BIN_EXE_mailcert"));
                command
            }
        };
        let log = File::options().append(true).open(&self.log).unwrap();
        command
            .args(["operator", "--namespaces", &self.namespace, "--operator-namespace", &self.home])
            .args(["--leader-elect=false", "--health-listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"])
            .args(["--log-format=text", "--log-filter=info,mailcert=debug"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if !self.flags.iter().any(|flag| flag.starts_with("--challenge-listen")) {
            command.arg(format!("--challenge-listen=127.0.0.1:{}", self.pebble.http_port()));
        }
        if !self.flags.iter().any(|flag| flag.starts_with("--challenge-tls-listen")) {
            command.arg(format!("--challenge-tls-listen=127.0.0.1:{}", self.pebble.tls_port()));
        }
        if !self.flags.iter().any(|flag| flag.starts_with("--dns-resolvers")) {
            command.arg(format!("--dns-resolvers={}", self.pebble.dns_address()));
        }
        // Ended by the cluster's reaper when this process is killed.
        self.operator = Some(self.cluster.exec(command).unwrap());
    }

    /// SIGKILL.
    pub fn kill_operator(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            let _ = operator.kill();
            let _ = operator.wait();
        }
    }

    /// The end of the operator's log.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// The operator's memory, in MiB: now and at its highest.
    pub fn memory(&self) -> (u64, u64) {
        let pid = self.operator.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
            line.trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// These names lead to the operator, as far as Pebble knows.
    pub fn resolve(&self, names: &[&str]) {
        for name in names {
            self.pebble.set_a(name, Ipv4Addr::LOCALHOST).unwrap();
        }
    }

    pub async fn create<K>(&self, name: &str, spec: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize,
        K: std::fmt::Debug,
    {
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec,
        });
        self.api().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    /// An issuer at the proxy, whose challenges are answered without a self-check.
    pub fn issuer_spec(&self) -> Value {
        json!({"acme": {
            "server": self.proxy.directory(), "termsOfServiceAgreed": true, "caBundle": self.proxy.ca_pem(),
            "solvers": [{"http01": {"service": {}, "selfCheck": "Skip"}}],
        }})
    }

    /// As [`World::issuer_spec`], with another solver.
    pub fn issuer_spec_with(&self, http01: Value) -> Value {
        let mut spec = self.issuer_spec();
        spec["acme"]["solvers"][0]["http01"] = http01;
        spec
    }

    /// Makes an issuer and waits until it is ready.
    pub async fn issuer(&self, name: &str, spec: Value) -> MailIssuer {
        self.create::<MailIssuer>(name, spec).await;
        self.wait_issuer(name, "ready", |i| is(&issuer_condition(i, "Ready"), "True", "Registered")).await
    }

    /// Makes a MailCertificate of issuer `ca`, whose Secret has its name and `-tls`.
    pub async fn certificate(&self, name: &str, names: &[&str]) -> MailCertificate {
        self.create(name, certificate_spec(name, "ca", names)).await
    }

    /// Waits until it is Ready and nothing is under way.
    pub async fn issued(&self, name: &str) -> MailCertificate {
        self.wait(name, "issued", |c| {
            is(&condition(c, "Ready"), "True", "Active") && c.status.as_ref().is_some_and(|s| s.attempt.is_none())
        })
        .await
    }

    /// Waits until `Issuing` gives this reason.
    pub async fn issuing(&self, name: &str, reason: &str) -> MailCertificate {
        self.wait(name, reason, |c| condition(c, "Issuing").is_some_and(|c| c.reason == reason)).await
    }

    pub async fn wait(&self, name: &str, what: &str, is: impl Fn(&MailCertificate) -> bool) -> MailCertificate {
        self.wait_object(name, what, is).await
    }

    pub async fn wait_issuer(&self, name: &str, what: &str, is: impl Fn(&MailIssuer) -> bool) -> MailIssuer {
        self.wait_object(name, what, is).await
    }

    async fn wait_object<K>(&self, name: &str, what: &str, is: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize,
        K: std::fmt::Debug,
    {
        let api = self.api::<K>();
        let begin = Instant::now();
        loop {
            let object = api.get(name).await.unwrap();
            if is(&object) {
                return object;
            }
            if begin.elapsed() > PATIENCE {
                let status = serde_json::to_value(&object).unwrap()["status"].take();
                panic!("{name} is not {what} within {PATIENCE:?}: {status:#}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for anything else.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(begin.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks for a renewal.
    pub async fn renew(&self, name: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {"mailcert.dev/renew": value}}});
        let api = self.api::<MailCertificate>();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn secret(&self, name: &str) -> Secret {
        self.api::<Secret>().get(name).await.unwrap()
    }

    /// Reasons of the Events about an object.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let events = self.api::<Event>().list(&Default::default()).await.unwrap();
        let about = events.items.into_iter().filter(|e| {
            let regarding = e.regarding.as_ref();
            regarding.and_then(|r| r.name.as_deref()) == Some(name)
        });
        about.filter_map(|e| e.reason).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_operator();
        if std::thread::panicking() {
            eprintln!("the operator's log ends so:\n{}", self.log());
        }
    }
}

pub fn certificate_spec(name: &str, issuer: &str, names: &[&str]) -> Value {
    json!({"issuerRef": {"name": issuer}, "secretName": format!("{name}-tls"), "dnsNames": names})
}

fn find(conditions: &[Condition], kind: &str) -> Option<Condition> {
    conditions.iter().find(|c| c.type_ == kind).cloned()
}

pub fn condition(object: &MailCertificate, kind: &str) -> Option<Condition> {
    find(&object.status.as_ref()?.conditions, kind)
}

pub fn issuer_condition(object: &MailIssuer, kind: &str) -> Option<Condition> {
    find(&object.status.as_ref()?.conditions, kind)
}

pub fn is(condition: &Option<Condition>, status: &str, reason: &str) -> bool {
    condition.as_ref().is_some_and(|c| c.status == status && c.reason == reason)
}

pub fn revision(object: &MailCertificate) -> i64 {
    object.status.as_ref().and_then(|s| s.active.as_ref()).map_or(0, |r| r.revision)
}
