//! Sources, and MailCertificates that import from them.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::openssl::{Ca, Made};
use crate::common::{Path, Stage, data, leaf, wait_for_object, wait_ready};

/// Creates or replaces a Secret of type Opaque.
pub fn put(stage: &Stage, name: &str, files: &[(&str, &[u8])]) -> Value {
    let encoded = files.iter().map(|(file, bytes)| ((*file).to_owned(), json!(BASE64_STANDARD.encode(bytes))));
    let data: serde_json::Map<String, Value> = encoded.collect();
    let at = Path::secret(&stage.ns, name);
    if let Some(there) = stage.kube.get(&at) {
        let mut patch: serde_json::Map<String, Value> =
            there["data"].as_object().into_iter().flatten().map(|(file, _)| (file.clone(), Value::Null)).collect();
        patch.extend(data);
        return stage.kube.patch(&at, &json!({"data": patch})).unwrap();
    }
    let metadata = json!({"name": name, "namespace": stage.ns});
    stage.kube.create(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})).unwrap()
}

/// The usual three files.
pub fn put_pem(stage: &Stage, name: &str, made: &Made, ca: &Ca) -> Value {
    let root = ca.root();
    let files: [(&str, &[u8]); 3] =
        [("tls.crt", made.certificate.as_bytes()), ("tls.key", made.key.as_bytes()), ("ca.crt", root.as_bytes())];
    put(stage, name, &files)
}

/// Creates a MailCertificate that imports from the Secret `<name>-source` into `<name>-tls`, and trusts that CA.
pub fn import(stage: &Stage, name: &str, ca: &Ca, more: Value) -> Path {
    let mut import = json!({"secretRef": {"name": format!("{name}-source")}, "trustAnchors": ca.root()});
    import.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.create("MailCertificate", name, &json!({"import": import, "secretName": format!("{name}-tls")}));
    Path::certificate(&stage.ns, name)
}

/// Waits until that certificate is active, and looks whether the Secret for pods holds it, its key and the root.
pub fn wait_active(stage: &Stage, at: &Path, made: &Made, ca: &Ca) -> Value {
    let wanted = leaf(&made.certificate);
    wait_for_object(&stage.kube, at, "to have imported it", |o| {
        let secret = o["spec"]["secretName"].as_str().unwrap();
        let Some(found) = stage.kube.get(&Path::secret(&stage.ns, secret)) else { return false };
        leaf(&data(&found)["tls.crt"]).der == wanted.der
            && o["status"]["active"]["secretResourceVersion"] == found["metadata"]["resourceVersion"]
            && o["status"]["import"]["problem"].is_null()
    });
    let object = wait_ready(&stage.kube, at);
    let files = data(&stage.secret(object["spec"]["secretName"].as_str().unwrap()));
    assert_eq!(crate::common::spki_of_key(&files["tls.key"]), wanted.spki_der);
    assert_eq!(leaf(&files["ca.crt"]).der, leaf(&ca.root()).der);
    assert!(files["tls-combined.pem"].contains(files["tls.crt"].trim()));
    object
}
