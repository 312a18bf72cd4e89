//! One operator for all faults. Each has a server, an issuer and a certificate of its own, and they run side by side.

use std::thread;
use std::time::{Duration, Instant};

use mailcert_testenv::acme::{AcmeServer, Entry, Kind, Script};
use serde_json::{Value, json};

use crate::common::{Kube, Operator, PATIENCE, Path, Stage, cluster, condition, namespace, version};

/// What an issuer for a server says.
pub fn issuer(server: &AcmeServer) -> Value {
    json!({"acme": {
        "server": server.directory_url(), "termsOfServiceAgreed": true, "caBundle": server.ca_pem(),
        "solvers": [{"http01": {"service": {}, "selfCheck": "Skip"}}],
    }})
}

/// A namespace with its operator, whose patience with servers is short.
pub fn stage(prefix: &str) -> Stage {
    let kube = Kube::new(cluster());
    let ns = namespace(&kube, prefix);
    // A request to an ACME server may take a quarter of that.
    let flags = ["--reconcile-timeout=20s", "--probe-timeout=5s", "--concurrency=32"];
    let operator = Operator::start(cluster(), &[&ns], &flags);
    Stage { kube, ns, operator }
}

/// A certificate that has been issued once by a server of its own.
pub struct Scene<'a> {
    pub stage: &'a Stage,
    pub server: AcmeServer,
    pub name: String,
    at: Path,
}

impl<'a> Scene<'a> {
    /// Starts the server and its issuer, and waits for the first certificate.
    pub fn issued(stage: &'a Stage, name: &str, script: Script) -> Self {
        let scene = Self::unissued(stage, name, script);
        scene.certificate();
        scene.wait("to be issued", |o| ready(o) && revision(o) == 1);
        scene
    }

    /// As [`Scene::issued`], with nothing but the server.
    pub fn server(stage: &'a Stage, name: &str, script: Script) -> Self {
        let server = AcmeServer::start(script).unwrap();
        Self { stage, server, name: name.to_owned(), at: Path::certificate(&stage.ns, name) }
    }

    /// As [`Scene::issued`], up to the issuer.
    pub fn unissued(stage: &'a Stage, name: &str, script: Script) -> Self {
        let scene = Self::server(stage, name, script);
        stage.create("MailIssuer", name, &issuer(&scene.server));
        look_until(stage, &Path::issuer(&stage.ns, name), "to be ready", ready);
        scene
    }

    /// Creates the MailCertificate.
    pub fn certificate(&self) {
        let names = json!({"dnsNames": self.names()});
        self.stage.certificate(&self.name, &self.name, names);
    }

    pub fn names(&self) -> Vec<String> {
        ["mail", "imap"].map(|host| format!("{host}.{}.test", self.name)).to_vec()
    }

    pub fn object(&self) -> Value {
        self.stage.kube.get(&self.at).unwrap()
    }

    pub fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        look_until(self.stage, &self.at, what, is)
    }

    pub fn renew(&self, value: &str) {
        self.stage.kube.annotate(&self.at, "mailcert.dev/renew", value);
    }

    pub fn secret(&self) -> Value {
        self.stage.secret(&format!("{}-tls", self.name))
    }

    pub fn secret_version(&self) -> String {
        version(&self.secret()).to_owned()
    }

    /// Requests about orders since so many requests.
    pub fn asked(&self, since: usize) -> Vec<Entry> {
        let aside = [Kind::Directory, Kind::NewNonce, Kind::RenewalInfo];
        self.server.log().requests.split_off(since).into_iter().filter(|r| !aside.contains(&r.kind)).collect()
    }
}

/// As the helper of other tests, but seldom: many look at the same time here.
pub fn look_until(stage: &Stage, at: &Path, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let object = stage.kube.get(at).unwrap_or_default();
        if is(&object) {
            return object;
        }
        assert!(begin.elapsed() < PATIENCE, "{at}: waited in vain for it {what}; last status:\n{:#}", object["status"]);
        thread::sleep(Duration::from_millis(200));
    }
}

pub fn ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|(status, ..)| status == "True")
}

pub fn revision(object: &Value) -> i64 {
    object["status"]["active"]["revision"].as_i64().unwrap_or(0)
}
