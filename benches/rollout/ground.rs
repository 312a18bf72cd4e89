//! The cluster, the operator, a CA, and the quick start's mail server.

use crate::dane::Zone;
use mailcert_testenv::{Cluster, MailClient, images, pki::Ca};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MAIL: &str = "mail";
pub const HOST: &str = "mail.example.com";
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(10, 210, 0, 10);
const LIMIT: Duration = Duration::from_secs(300);
/// Looks in a row that have to show the new certificate: with two replicas one look proves little.
const IN_A_ROW: usize = 8;

/// How the servers take a new certificate up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `postfix reload`, and the command for Dovecot that cuts off no login, in one pod.
    Exec,
    /// `postfix reload` and `doveadm reload` in one pod.
    Presets,
    /// Two replicas, replaced one after the other.
    Restart,
}

impl Way {
    pub fn title(self) -> &'static str {
        match self {
            Self::Exec => "exec, 1 replica",
            Self::Presets => "presets, 1 replica",
            Self::Restart => "restart, 2 replicas",
        }
    }
}

pub struct Ground {
    pub cluster: Cluster,
    pub ca: Ca,
    pub zone: Zone,
    client: MailClient,
    operator: Child,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = self.operator.kill();
        let _ = self.operator.wait();
    }
}

impl Ground {
    pub fn ready() -> Self {
        let cluster = Cluster::node_or_skip().expect("it needs a node: root on Linux");
        cluster.load_image(&images::mail().unwrap()).unwrap();
        let zone = Zone::start(&cluster);
        let ca = Ca::new("Bench CA").unwrap();
        let client = MailClient::new(&ca.cert_pem, HOST).unwrap();
        let operator = operator(&cluster, &zone);
        let ground = Self { cluster, ca, zone, client, operator };
        ground.apply();
        ground
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(args).unwrap()
    }

    /// The quick start, with a CA of its own in place of Let's Encrypt, a new key for each certificate, and TLSA records.
    fn apply(&self) {
        self.kubectl(&["create", "namespace", MAIL]);
        let read = |name: &str| fs::read_to_string(checkout().join("examples/quickstart").join(name)).unwrap();
        let mut domain: Value = serde_yaml::from_str(&read("domain.yaml")).unwrap();
        domain["spec"]["certificate"]["template"]["issuerRef"]["name"] = json!("ca");
        domain["spec"]["certificate"]["template"]["privateKey"] = json!({"rotation": {"policy": "Always"}});
        domain["spec"]["dns"] = json!({"tlsa": self.zone.tlsa()});
        for endpoint in domain["spec"]["endpoints"].as_array_mut().unwrap() {
            endpoint["address"] = json!(EXTERNAL.to_string());
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca"}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": self.ca.cert_pem, "tls.key": self.ca.key_pem}});
        let issuer = json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": "MailIssuer", "metadata": {"name": "ca"},
            "spec": {"ca": {"secretRef": {"name": "ca"}}}});
        for manifest in [
            self.zone.secret().to_string(),
            secret.to_string(),
            issuer.to_string(),
            read("mail.yaml"),
            domain.to_string(),
        ] {
            self.cluster.kubectl_with(&["apply", "-n", MAIL, "-f", "-"], &manifest).unwrap();
        }
        self.cluster.set_load_balancer_ip(MAIL, "mail", EXTERNAL).unwrap();
    }

    /// Sets how the servers take a certificate up, and waits until all is at rest.
    pub fn prepare(&self, way: Way) {
        let one = |reload: Value| json!({"kind": "Deployment", "name": "mail", "reload": reload});
        let (replicas, workloads) = match way {
            Way::Exec => {
                let path = checkout().join("examples/reload-dovecot/domain.yaml");
                let example: Value = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
                (1, example["spec"]["workloads"].clone())
            }
            Way::Presets => (1, json!([one(json!({"preset": "postfix"})), one(json!({"preset": "dovecot"}))])),
            Way::Restart => (2, json!([one(json!({"restart": {}}))])),
        };
        self.kubectl(&["scale", "-n", MAIL, "deployment/mail", &format!("--replicas={replicas}")]);
        let patch = json!({"spec": {"workloads": workloads}}).to_string();
        self.kubectl(&["patch", "-n", MAIL, "maildomain/mail", "--type=merge", "-p", &patch]);
        self.kubectl(&["-n", MAIL, "rollout", "status", "deployment/mail", "--timeout=180s"]);
        self.wait("the MailDomain to be Ready", || self.is_served(&self.fingerprint()).then_some(()));
        self.wait("the TLSA records", || is_true(&self.get("maildomain/mail"), "DNSReady").then_some(()));
    }

    fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", "-o", "json", "-n", MAIL, object])).unwrap()
    }

    fn fingerprint(&self) -> String {
        let certificate = self.get("mailcertificate/mail");
        certificate["status"]["active"]["fingerprintSHA256"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the operator says that every endpoint serves the certificate.
    fn is_served(&self, fingerprint: &str) -> bool {
        let domain = self.get("maildomain/mail");
        !fingerprint.is_empty()
            && is_true(&domain, "Ready")
            && domain["status"]["observedGeneration"] == domain["metadata"]["generation"]
            && domain["status"]["certificate"]["fingerprintSHA256"] == fingerprint
    }

    /// One renewal; how long it took from the new Secret until both servers serve it for good.
    pub fn renew(&self, way: Way, number: usize) -> Duration {
        let before = self.fingerprint();
        let value = format!("mailcert.dev/renew={way:?}-{number}");
        self.kubectl(&["annotate", "-n", MAIL, "--overwrite", "mailcertificate/mail", &value]);
        let new = self.wait("another certificate", || Some(self.fingerprint()).filter(|f| *f != before));
        let start = Instant::now();
        let (mut row, mut first) = (0, Duration::ZERO);
        while row < IN_A_ROW {
            let look = |port, protocol| {
                let seen =
                    self.cluster.inside(|| self.client.fingerprint(SocketAddr::from((EXTERNAL, port)), protocol));
                seen.ok().and_then(Result::ok)
            };
            let served = look(465, "Submissions").as_ref() == Some(&new) && look(993, "IMAPS").as_ref() == Some(&new);
            if !served {
                row = 0;
            } else {
                if row == 0 {
                    first = start.elapsed();
                }
                row += 1;
            }
            assert!(start.elapsed() < LIMIT, "revision {new} was never served");
            thread::sleep(Duration::from_millis(50));
        }
        self.wait("the proof", || self.is_served(&new).then_some(()));
        self.wait("the records of the key before to go", || {
            let domain = self.get("maildomain/mail");
            let records = domain["status"]["dns"]["tlsa"]["records"].as_array()?;
            (!records.iter().any(|record| record["purpose"] == "Previous")).then_some(())
        });
        eprintln!("  {}: {:.1} s", number + 1, first.as_secs_f32());
        first
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(start.elapsed() < LIMIT, "waited in vain for {what}\n{:#}", self.get("maildomain/mail")["status"]);
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The operator, outside of any pod: it asks the name servers of this zone, which live on the node's loopback.
fn operator(cluster: &Cluster, zone: &Zone) -> Child {
    let binary = env!("CARGO_BIN_EXE_mailcert");
    let crds = Command::new(binary).arg("crds").output().unwrap();
    cluster.apply(&String::from_utf8(crds.stdout).unwrap()).unwrap();
    let log = File::create(cluster.dir().join("operator.log")).unwrap();
    let mut command = Command::new(binary);
    command.args(["operator", "--leader-elect=false", "--operator-namespace=default"]).args(zone.flags());
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    cluster.exec(command).unwrap()
}

fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == condition && c["status"] == "True")
}

fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
