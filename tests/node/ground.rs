//! The cluster, the ACME server, the operator from its chart, and ways to look at them.

use mailcert_testenv::{Cluster, MailClient, Pebble, PebbleOptions, images, packages, tools};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub const SYSTEM: &str = "mailcert-system";
pub const MAIL: &str = "mail";
/// Mail and challenges share it, on different ports.
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(10, 210, 0, 10);
const LIMIT: Duration = Duration::from_secs(180);

pub struct Ground {
    pub cluster: Cluster,
    /// The ACME server's root.
    pub root_pem: String,
    client: MailClient,
}

impl Ground {
    /// With the operator running, or none where this machine can have no node.
    pub fn ready() -> Option<Self> {
        if let Err(error) = packages::require(&[packages::NODE.as_slice(), &packages::IMAGES].concat()) {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true and no node: {error}");
            eprintln!("skipped, since it needs a node: {error}");
            return None;
        }
        let cluster = Cluster::node_or_skip()?;
        cluster.load_image(&images::mail().unwrap()).unwrap();
        cluster.load_image(&images::operator(Path::new(env!("CARGO_BIN_EXE_mailcert"))).unwrap()).unwrap();
        // Three times as many refused nonces as Pebble's default.
        let options = PebbleOptions { nonce_reject_percent: 15, ..PebbleOptions::default() };
        let acme = Pebble::start_in(&cluster, &options).unwrap();
        acme.set_a("mail.example.com", EXTERNAL).unwrap();
        let client = MailClient::new(acme.root_pem(), "mail.example.com").unwrap();
        let ground = Self { cluster, root_pem: acme.root_pem().to_owned(), client };
        ground.install();
        ground.quickstart(&acme);
        Some(ground)
    }

    fn install(&self) {
        let enforce = "pod-security.kubernetes.io/enforce=restricted";
        self.kubectl(&["create", "namespace", MAIL]);
        self.kubectl(&["create", "namespace", SYSTEM]);
        self.kubectl(&["label", "namespace", SYSTEM, enforce]);
        let mut helm = Command::new(tools::HELM.path().unwrap());
        helm.args(["upgrade", "--install", "mailcert"]).arg(checkout().join("charts/mailcert"));
        helm.args(["--namespace", SYSTEM, "--set-string", "image.tag=1", "--set"]).arg(
            "image.repository=localhost/mailcert,image.pullPolicy=Never,challengeService.type=LoadBalancer,\
             http01.ingress.enabled=false,bind.namespaces={mail},reload.exec.enabled=true,\
             trustBundles.enabled=true,activation.jobs.enabled=true",
        );
        helm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = self.cluster.exec(helm);
        let output = child.unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.cluster.set_load_balancer_ip(SYSTEM, "mailcert-challenges", EXTERNAL).unwrap();
        self.kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/mailcert", "--timeout=120s"]);
    }

    /// The example as it is, but for the ACME server.
    fn quickstart(&self, acme: &Pebble) {
        let read = |name: &str| fs::read_to_string(checkout().join("examples/quickstart").join(name)).unwrap();
        let mut issuer: Value = serde_yaml::from_str(&read("issuer.yaml")).unwrap();
        issuer["spec"]["acme"]["server"] = json!(acme.directory_url());
        issuer["spec"]["acme"]["caBundle"] = json!(acme.ca_pem());
        // More renewals of one certificate than a public CA would stand.
        issuer["spec"]["acme"]["limits"] = json!({"perNameSet": 100});
        for manifest in [issuer.to_string(), read("mail.yaml"), read("domain.yaml")] {
            self.cluster.kubectl_with(&["apply", "-n", MAIL, "-f", "-"], &manifest).unwrap();
        }
        self.cluster.set_load_balancer_ip(MAIL, "mail", EXTERNAL).unwrap();
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(args).unwrap()
    }

    pub fn get(&self, namespace: &str, args: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json", "-n", namespace], args].concat());
        serde_json::from_str(&text).unwrap()
    }

    pub fn domain(&self) -> Value {
        self.get(MAIL, &["maildomain/mail"])
    }

    /// The active revision's fingerprint.
    pub fn fingerprint(&self) -> String {
        // Empty before the MailDomain has made it.
        let found = self.kubectl(&["get", "-n", MAIL, "mailcertificates", "-o", "json"]);
        let list: Value = serde_json::from_str(&found).unwrap();
        let own = list["items"].as_array().unwrap().iter().find(|one| one["metadata"]["name"] == "mail");
        own.map(|one| text(one, "/status/active/fingerprintSHA256")).unwrap_or_default()
    }

    /// The leaf that a port serves, as a client sees it that trusts the CA and wants `mail.example.com`.
    pub fn served(&self, protocol: &str, port: u16) -> String {
        let look = || self.client.fingerprint(SocketAddr::from((EXTERNAL, port)), protocol);
        self.cluster.inside(look).unwrap().unwrap_or_else(|error| error.to_string())
    }

    /// UIDs of the mail pods that are not ending.
    pub fn mail_pods(&self) -> BTreeSet<String> {
        let pods = self.get(MAIL, &["pods", "-l", "app=mail"]);
        let alive = pods["items"].as_array().unwrap().iter();
        alive.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).map(|p| text(p, "/metadata/uid")).collect()
    }

    /// The operator's one pod that is not ending.
    pub fn operator(&self) -> Option<Value> {
        let pods = self.get(SYSTEM, &["pods", "-l", "app.kubernetes.io/name=mailcert"]);
        let mut alive = pods["items"].as_array()?.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        alive.next().cloned()
    }

    pub fn log(&self) -> String {
        self.kubectl(&["logs", "-n", SYSTEM, "deployment/mailcert"])
    }

    /// The operator's metrics; empty while it does not answer.
    pub fn metrics(&self) -> String {
        let pod = self.operator().map(|pod| text(&pod, "/metadata/name")).unwrap_or_default();
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:9402/proxy/metrics");
        self.cluster.kubectl(&["get", "--raw", &path]).unwrap_or_default()
    }

    /// Waits until `look` returns something, and shows the objects and the log when it never does.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            if start.elapsed() > LIMIT {
                let objects =
                    self.kubectl(&["get", "-n", MAIL, "mailcertificate,maildomain,mailissuer,pods", "-o", "wide"]);
                panic!("waited in vain for {what}\n{objects}\n{:#}\n{}", self.domain()["status"], self.log());
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until every endpoint is proven to serve the certificate with `fingerprint`.
    pub fn wait_served(&self, fingerprint: &str) -> Value {
        self.wait("every endpoint to serve the certificate", || {
            let domain = self.domain();
            let current = text(&domain, "/status/certificate/fingerprintSHA256") == fingerprint;
            let ready = ["Ready", "Served", "RolledOut"].iter().all(|kind| condition(&domain, kind).0 == "True");
            (current && ready).then_some(domain)
        })
    }
}

fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn text(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A condition's status, reason and message.
pub fn condition(object: &Value, kind: &str) -> (String, String, String) {
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|one| one["type"] == kind).cloned().unwrap_or_default();
    (text(&found, "/status"), text(&found, "/reason"), text(&found, "/message"))
}
