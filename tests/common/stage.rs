//! A namespace of its own with an operator for it, and the objects that tests make there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Authority, Kube, Operator, Path, cluster, data, namespace, wait_for, wait_ready};

/// A namespace, its operator and a client.
pub struct Stage {
    pub kube: Kube,
    pub ns: String,
    pub operator: Operator,
}

impl Stage {
    pub fn new(prefix: &str) -> Self {
        let kube = Kube::new(cluster());
        let ns = namespace(&kube, prefix);
        let operator = Operator::start(cluster(), &[&ns], &[]);
        Self { kube, ns, operator }
    }

    /// With a self-signed issuer `self` that is ready.
    pub fn self_signed(prefix: &str) -> Self {
        let stage = Self::new(prefix);
        stage.create("MailIssuer", "self", &json!({"selfSigned": {}}));
        wait_ready(&stage.kube, &Path::issuer(&stage.ns, "self"));
        stage
    }

    /// With an issuer `ca` whose Secret `ca-key-pair` holds that CA, and which is ready.
    pub fn with_ca(prefix: &str, ca: &Authority) -> Self {
        let stage = Self::new(prefix);
        stage.tls_secret("ca-key-pair", &ca.cert_pem, &ca.key_pem);
        stage.create("MailIssuer", "ca", &json!({"ca": {"secretRef": {"name": "ca-key-pair"}}}));
        wait_ready(&stage.kube, &Path::issuer(&stage.ns, "ca"));
        stage
    }

    /// Creates an object of ours.
    pub fn create(&self, kind: &str, name: &str, spec: &Value) -> Value {
        create(&self.kube, kind, &self.ns, name, spec)
    }

    /// Creates a MailCertificate for `mail.example.com` in the Secret `<name>-tls`, with more of a spec.
    pub fn certificate(&self, name: &str, issuer: &str, more: Value) -> Path {
        let mut spec = json!({"issuerRef": {"name": issuer}, "secretName": format!("{name}-tls"),
            "dnsNames": ["mail.example.com"]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.create("MailCertificate", name, &spec);
        Path::certificate(&self.ns, name)
    }

    /// As [`Stage::certificate`], and waits until it is Ready. Returns its path and the active Secret.
    pub fn issued(&self, name: &str, issuer: &str, more: Value) -> (Path, Value) {
        let at = self.certificate(name, issuer, more);
        let made = wait_ready(&self.kube, &at);
        (at, self.secret(made["spec"]["secretName"].as_str().unwrap()))
    }

    /// A Secret that exists.
    pub fn secret(&self, name: &str) -> Value {
        self.kube.get(&Path::secret(&self.ns, name)).unwrap_or_else(|| panic!("there is no Secret {name}"))
    }

    /// Creates or replaces the data of a Secret of type kubernetes.io/tls.
    pub fn tls_secret(&self, name: &str, cert: &str, key: &str) {
        let at = Path::secret(&self.ns, name);
        let text = json!({"tls.crt": cert, "tls.key": key});
        if self.kube.get(&at).is_some() {
            self.kube.patch(&at, &json!({"stringData": text})).unwrap();
            return;
        }
        let metadata = json!({"name": name, "namespace": self.ns});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
            "type": "kubernetes.io/tls", "stringData": text});
        self.kube.create(&secret).unwrap();
    }

    /// The revision Secrets of a MailCertificate by number.
    pub fn revisions(&self, certificate: &str) -> BTreeMap<i64, Value> {
        let secrets = self.kube.list_in("secrets", &self.ns).into_iter();
        let owned = secrets.filter(|s| s["metadata"]["labels"]["mailcert.dev/certificate-name"] == certificate);
        let numbered = owned.filter_map(|s| {
            let number = s["metadata"]["labels"]["mailcert.dev/revision"].as_str()?.parse().ok()?;
            Some((number, s))
        });
        numbered.collect()
    }

    /// Asks for a renewal and waits until a later revision is Ready. Returns the object.
    pub fn renew(&self, at: &Path, value: &str) -> Value {
        self.kube.annotate(at, "mailcert.dev/renew", value);
        self.wait_renewed(at, value)
    }

    /// Waits until that renewal is done.
    pub fn wait_renewed(&self, at: &Path, value: &str) -> Value {
        let what = format!("to be renewed as {value}");
        super::wait_for_object(&self.kube, at, &what, |object| {
            object["status"]["lastRenewRequest"] == value && object["status"]["attempt"].is_null()
        })
    }

    /// Waits until a pass over a kind has ended since `before`, which is what this returned last (0 at first).
    pub fn passed(&self, kind: &str, before: f64) -> f64 {
        let label = format!("kind=\"{kind}\"");
        wait_for(&format!("a pass over a {kind}"), || {
            let count = self.operator.metric("mailcert_reconcile_duration_seconds_count", &[&label]);
            (count > before).then_some(count)
        })
    }

    /// Every object of the namespace that the operator could write, with its resourceVersion.
    pub fn versions(&self) -> BTreeMap<String, String> {
        let kinds = ["secrets", "mailissuers", "mailcertificates", "maildomains"];
        let objects =
            kinds.iter().flat_map(|kind| self.kube.list_in(kind, &self.ns).into_iter().map(move |o| (kind, o)));
        objects.map(|(kind, o)| (format!("{kind}/{}", o["metadata"]["name"]), super::version(&o).to_owned())).collect()
    }

    /// Every private key that the namespace's Secrets hold, PEM.
    pub fn private_keys(&self) -> Vec<String> {
        self.kube.list_in("secrets", &self.ns).iter().filter_map(|s| data(s).remove("tls.key")).collect()
    }
}

/// Creates an object of ours.
pub fn create(kube: &Kube, kind: &str, ns: &str, name: &str, spec: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": ns});
    let object = json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    kube.create(&object).unwrap()
}
