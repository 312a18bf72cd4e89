//! A namespace with a CA, and what the tests do in it.

use std::sync::Arc;

use mailcert_testenv::pki::Ca;
use serde_json::{Value, json};

use crate::common::{Kube, Path, cluster, condition, data, namespace, wait_for_object, wait_ready};
use crate::server::Identity;

/// A namespace with a CA and its issuer `ca`.
pub struct Scene {
    pub kube: Arc<Kube>,
    pub ns: String,
    pub ca: Ca,
}

impl Scene {
    pub fn new(prefix: &str) -> Self {
        let kube = Arc::new(Kube::new(cluster()));
        let ns = namespace(&kube, prefix);
        let ca = Ca::new("Test CA").unwrap();
        let scene = Self { kube, ns, ca };
        let data = json!({"tls.crt": scene.ca.cert_pem, "tls.key": scene.ca.key_pem});
        scene.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca"},
            "type": "kubernetes.io/tls", "stringData": data}));
        scene.create(own("MailIssuer", "ca", json!({"ca": {"secretRef": {"name": "ca"}}})));
        scene
    }

    /// Creates an object in the namespace.
    pub fn create(&self, mut object: Value) -> Value {
        object["metadata"]["namespace"] = json!(self.ns);
        self.kube.create(&object).unwrap()
    }

    /// A MailCertificate `name` with the Secret `name-tls`.
    pub fn certificate(&self, name: &str, dns_names: &[&str]) {
        let spec = json!({"issuerRef": {"name": "ca"}, "secretName": format!("{name}-tls"), "dnsNames": dns_names});
        self.create(own("MailCertificate", name, spec));
    }

    /// A MailDomain `name` of `example.com`. `spec` is laid over one with a template and no endpoints.
    pub fn domain(&self, name: &str, spec: Value) -> Path {
        let mut whole = json!({"domain": "example.com", "externalURL": "https://mail.example.com"});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        if whole["certificate"].is_null() {
            whole["certificate"] = json!({"template": {"issuerRef": {"name": "ca"}}});
        }
        self.create(own("MailDomain", name, whole));
        self.at_domain(name)
    }

    pub fn at_domain(&self, name: &str) -> Path {
        Path::domain(&self.ns, name)
    }

    pub fn at_certificate(&self, name: &str) -> Path {
        Path::certificate(&self.ns, name)
    }

    /// A Deployment, StatefulSet or DaemonSet. With `replicas` 0 its rollouts are over at once, since no pod runs here.
    pub fn workload(&self, kind: &str, name: &str, labels: Value, more: Value) -> Path {
        let selector = json!({"app": name});
        let mut spec = json!({
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": selector},
                "spec": {"containers": [{"name": "mail", "image": "mail"}]},
            },
        });
        if kind != "DaemonSet" {
            spec["replicas"] = json!(0);
        }
        if kind == "StatefulSet" {
            spec["serviceName"] = json!(name);
        }
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let metadata = json!({"name": name, "labels": labels});
        self.create(json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}));
        Path::new(&format!("{}s.apps", kind.to_ascii_lowercase()), &self.ns, name)
    }

    /// Says of every pod what a kubelet would say of one that runs: there is none here.
    pub fn pods_get_ready(&self) {
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        for pod in self.kube.list_in("pods", &self.ns) {
            let at = Path::new("pods", &self.ns, pod["metadata"]["name"].as_str().unwrap());
            // It may have been replaced meanwhile.
            let _ = self.kube.patch_status(&at, &ready);
        }
    }

    /// What the Secret holds now.
    pub fn identity(&self, secret: &str) -> Identity {
        let secret = self.kube.get(&Path::secret(&self.ns, secret)).expect("the Secret exists");
        let data = data(&secret);
        Identity::from_pem(&data["tls.crt"], &data["tls.key"])
    }

    /// Has the certificate renewed, and waits until the new revision is active. Returns its fingerprint.
    pub fn renew(&self, certificate: &str) -> String {
        let at = self.at_certificate(certificate);
        let before = fingerprint(&wait_ready(&self.kube, &at));
        self.kube.annotate(&at, "mailcert.dev/renew", &before[..16]);
        let renewed = wait_for_object(&self.kube, &at, "to be renewed", |object| {
            let active = &object["status"]["active"]["fingerprintSHA256"];
            active.is_string() && *active != json!(before)
        });
        fingerprint(&renewed)
    }
}

/// An object of mailcert.
pub fn own(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The active fingerprint of a MailCertificate.
pub fn fingerprint(certificate: &Value) -> String {
    certificate["status"]["active"]["fingerprintSHA256"].as_str().unwrap().to_owned()
}

/// The message of a condition.
pub fn message(object: &Value, type_: &str) -> String {
    condition(object, type_).unwrap().2.to_owned()
}
