//! What cert-manager's approver and a signing controller do to CertificateRequests, as a test wants it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use mailcert_testenv::published::CERTIFICATE_REQUEST_CRD;
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::common::{Authority, Kube, Path, Stage, cluster, wait_ready};

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nobody looks at them.
    Ignore,
    /// Approved, and the signer is not done.
    Slow,
    Sign,
    Deny,
    Invalidate,
    Fail,
    WrongKey,
}

/// The signer, and the namespace that it serves.
pub struct Signer {
    pub ca: Arc<Authority>,
    fate: Arc<Mutex<Fate>>,
    /// Every request that was seen, by its UID, as it was first.
    seen: Arc<Mutex<HashMap<String, Value>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// cert-manager's own definition.
pub fn install() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let yaml = CERTIFICATE_REQUEST_CRD.read().unwrap();
        cluster().kubectl_with(&["apply", "--server-side", "-f", "-"], &yaml).unwrap();
        let name = "crd/certificaterequests.cert-manager.io";
        cluster().kubectl(&["wait", "--for=condition=Established", "--timeout=60s", name]).unwrap();
    });
}

/// A namespace with a ready issuer `vault` of kind certManager, and its signer.
pub fn stage(prefix: &str, fate: Fate) -> (Stage, Signer) {
    install();
    let stage = Stage::new(prefix);
    let reference = json!({"name": "vault", "kind": "VaultIssuer", "group": "vault.example"});
    stage.create("MailIssuer", "vault", &json!({"certManager": {"issuerRef": reference}}));
    wait_ready(&stage.kube, &Path::issuer(&stage.ns, "vault"));
    let signer = Signer::start(&stage.ns, fate);
    (stage, signer)
}

/// The requests of a namespace.
pub fn requests(stage: &Stage) -> Vec<Value> {
    stage.kube.list_in("certificaterequests.cert-manager.io", &stage.ns)
}

impl Signer {
    fn start(ns: &str, fate: Fate) -> Self {
        let mut signer = Self {
            ca: Arc::new(Authority::new("vault CA")),
            fate: Arc::new(Mutex::new(fate)),
            seen: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (ca, fate, seen, stop) = (signer.ca.clone(), signer.fate.clone(), signer.seen.clone(), signer.stop.clone());
        let ns = ns.to_owned();
        let thread = std::thread::spawn(move || {
            let kube = Kube::new(cluster());
            while !stop.load(Ordering::Relaxed) {
                for request in kube.list_in("certificaterequests.cert-manager.io", &ns) {
                    let uid = request["metadata"]["uid"].as_str().unwrap().to_owned();
                    seen.lock().unwrap().entry(uid).or_insert_with(|| request.clone());
                    let fate = *fate.lock().unwrap();
                    handle(&kube, &request, fate, &ca);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        signer.thread = Some(thread);
        signer
    }

    pub fn let_it(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    /// Every request that there ever was.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().values().cloned().collect()
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2030-01-01T00:00:00Z"})
}

/// One step: what stands in its status already is not done again.
fn handle(kube: &Kube, request: &Value, fate: Fate, ca: &Authority) {
    let conditions = request["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let has = |type_: &str, reason: &str| conditions.iter().any(|c| c["type"] == type_ && c["reason"] == reason);
    let approved = condition("Approved", "True", "cert-manager.io", "by the test");
    let failure = json!("2030-01-01T00:00:00Z");
    let (done, status) = match fate {
        Fate::Ignore => return,
        Fate::Slow => {
            let pending = condition("Ready", "False", "Pending", "Vault is sealed");
            (has("Ready", "Pending"), json!({"conditions": [approved, pending]}))
        }
        Fate::Deny => {
            let denied = condition("Denied", "True", "policy", "no policy lets this namespace have this name");
            let ready =
                condition("Ready", "False", "Denied", "The CertificateRequest was denied by an approval controller");
            (has("Denied", "policy"), json!({"conditions": [denied, ready], "failureTime": failure}))
        }
        Fate::Invalidate => {
            let invalid = condition("InvalidRequest", "True", "TooManyNames", "at most 10 names are signed");
            (has("InvalidRequest", "TooManyNames"), json!({"conditions": [approved, invalid]}))
        }
        Fate::Fail => {
            let failed = condition("Ready", "False", "Failed", "Vault says: the role does not exist");
            (has("Ready", "Failed"), json!({"conditions": [approved, failed], "failureTime": failure}))
        }
        Fate::Sign | Fate::WrongKey => {
            let ready = condition("Ready", "True", "Issued", "Certificate fetched from issuer successfully");
            let certificate = sign(request, ca, fate == Fate::WrongKey);
            let encode = |text: &str| BASE64_STANDARD.encode(text);
            let status = json!({"conditions": [approved, ready], "certificate": encode(&certificate), "ca": encode(&ca.cert_pem)});
            (has("Ready", "Issued"), status)
        }
    };
    if !done {
        let (ns, name) = (&request["metadata"]["namespace"], &request["metadata"]["name"]);
        let at = Path::new("certificaterequests.cert-manager.io", ns.as_str().unwrap(), name.as_str().unwrap());
        // Deleted meanwhile is fine.
        let _ = kube.patch_status(&at, &json!({"status": status}));
    }
}

/// The request's CSR, PEM.
pub fn csr_of(request: &Value) -> String {
    String::from_utf8(BASE64_STANDARD.decode(request["spec"]["request"].as_str().unwrap()).unwrap()).unwrap()
}

fn sign(request: &Value, ca: &Authority, wrong_key: bool) -> String {
    let mut csr = CertificateSigningRequestParams::from_pem(&csr_of(request)).unwrap();
    let now = OffsetDateTime::now_utc();
    (csr.params.not_before, csr.params.not_after) = (now - time::Duration::hours(1), now + time::Duration::days(90));
    let issuer = Issuer::from_ca_cert_pem(&ca.cert_pem, KeyPair::from_pem(&ca.key_pem).unwrap()).unwrap();
    match wrong_key {
        false => csr.signed_by(&issuer).unwrap().pem(),
        true => csr.params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem(),
    }
}

/// What cert-manager's webhook checks: the usages of the CSR are those of the spec, no more and no fewer.
pub fn usages_agree(request: &Value) -> bool {
    let csr = CertificateSigningRequestParams::from_pem(&csr_of(request)).unwrap();
    let key = csr.params.key_usages.iter().map(|usage| match usage {
        KeyUsagePurpose::DigitalSignature => "digital signature",
        KeyUsagePurpose::KeyEncipherment => "key encipherment",
        other => panic!("{other:?}"),
    });
    let extended = csr.params.extended_key_usages.iter().map(|usage| match usage {
        ExtendedKeyUsagePurpose::ServerAuth => "server auth",
        ExtendedKeyUsagePurpose::ClientAuth => "client auth",
        other => panic!("{other:?}"),
    });
    let mut asked: Vec<&str> = key.chain(extended).collect();
    let mut given: Vec<&str> =
        request["spec"]["usages"].as_array().unwrap().iter().map(|u| u.as_str().unwrap()).collect();
    asked.sort_unstable();
    given.sort_unstable();
    asked == given
}
