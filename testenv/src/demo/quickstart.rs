//! `examples/quickstart`, as it is or with what the demo's cluster needs otherwise.

use mailcert_testenv::{Error, Result};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is changed in the quick start.
pub struct Quickstart {
    /// The namespace.
    pub namespace: &'static str,
    /// The issuer's new fields (JSON patch).
    pub issuer: Value,
    /// The mail server's image, or no mail server at all.
    pub mail: Option<String>,
    /// Where to connect in place of the external URL's host, for a mail server that has no external address.
    pub address: Option<String>,
}

/// The checkout that this program was built from.
pub fn checkout() -> PathBuf {
    let testenv = Path::new(env!("CARGO_MANIFEST_DIR"));
    testenv.parent().unwrap_or(testenv).to_owned()
}

impl Quickstart {
    /// The issuer's patch for an ACME server at `url` whose HTTPS certificate comes from `ca_pem`.
    pub fn acme(url: &str, ca_pem: &str) -> Value {
        json!([
            {"op": "replace", "path": "/spec/acme/server", "value": url},
            {"op": "add", "path": "/spec/acme/caBundle", "value": ca_pem},
        ])
    }

    /// The issuer's patch for a CA key pair in the Secret `name`.
    pub fn ca(name: &str) -> Value {
        json!([{"op": "replace", "path": "/spec", "value": {"ca": {"secretRef": {"name": name}}}}])
    }

    /// Copies the quick start to `dir`, which is created, with a kustomization that changes it.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let wrap = |error: std::io::Error| Error::new(format!("cannot write {}: {error}", dir.display()));
        let base = dir.join("quickstart");
        fs::create_dir_all(&base).map_err(wrap)?;
        for name in ["kustomization.yaml", "issuer.yaml", "mail.yaml", "domain.yaml"] {
            let from = checkout().join("examples/quickstart").join(name);
            fs::copy(&from, base.join(name))
                .map_err(|error| Error::new(format!("cannot copy {}: {error}", from.display())))?;
        }
        // JSON is YAML.
        fs::write(dir.join("kustomization.yaml"), format!("{:#}", self.kustomization())).map_err(wrap)
    }

    fn kustomization(&self) -> Value {
        let mut patches = vec![patch("MailIssuer", &self.issuer)];
        let domain = match (&self.mail, &self.address) {
            (None, _) => {
                ["workloads", "endpoints"].map(|f| json!({"op": "remove", "path": format!("/spec/{f}")})).to_vec()
            }
            (Some(_), None) => Vec::new(),
            (Some(_), Some(address)) => {
                let add = |i| json!({"op": "add", "path": format!("/spec/endpoints/{i}/address"), "value": address});
                (0..8).map(add).collect()
            }
        };
        if !domain.is_empty() {
            patches.push(patch("MailDomain", &Value::Array(domain)));
        }
        if self.address.is_some() {
            let internal = json!([{"op": "replace", "path": "/spec/type", "value": "ClusterIP"}]);
            patches.push(patch("Service", &internal));
        }
        if self.mail.is_none() {
            for kind in ["Deployment", "Service", "ConfigMap"] {
                let gone = json!({"$patch": "delete", "apiVersion": if kind == "Deployment" { "apps/v1" } else { "v1" },
                    "kind": kind, "metadata": {"name": "mail"}});
                patches.push(json!({"patch": gone.to_string()}));
            }
        }
        let image = self.mail.iter().map(|image| {
            let (name, tag) = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, "latest"));
            json!({"name": "localhost/mail", "newName": name, "newTag": tag})
        });
        json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.namespace,
            "resources": ["quickstart"],
            "images": image.collect::<Vec<_>>(),
            "patches": patches,
        })
    }
}

fn patch(kind: &str, operations: &Value) -> Value {
    json!({"target": {"kind": kind}, "patch": operations.to_string()})
}
