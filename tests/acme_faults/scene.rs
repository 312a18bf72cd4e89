//! One operator for all faults. Each has a server, an issuer and a certificate of its own, and they run side by side.

use std::thread;
use std::time::{Duration, Instant};

use mailcert_testenv::acme::{AcmeServer, Entry, Kind, Script};
use serde_json::{Value, json};

use crate::common::{Kube, Operator, PATIENCE, Path, Stage, cluster, condition, create, namespace, version};

/// What an issuer for a server says.
pub fn issuer(server: &AcmeServer) -> Value {
    json!({"acme": {
        "server": server.directory_url(), "termsOfServiceAgreed": true, "caBundle": server.ca_pem(),
        "solvers": [{"http01": {"service": {}, "selfCheck": "Skip"}}],
    }})
}

/// A namespace with an operator with these flags.
pub fn stage(prefix: &str, flags: &[&str]) -> Stage {
    let kube = Kube::new(cluster());
    let ns = namespace(&kube, prefix);
    let operator = Operator::start(cluster(), &[&ns], flags);
    Stage { kube, ns, operator }
}

/// A namespace, by a client. The operator there may be killed meanwhile.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub kube: &'a Kube,
    pub ns: &'a str,
}

impl Place<'_> {
    pub fn issuer(&self, name: &str, spec: &Value) {
        create(self.kube, "MailIssuer", self.ns, name, spec);
    }
}

/// A certificate that has been issued once by a server of its own.
pub struct Scene<'a> {
    place: Place<'a>,
    pub server: AcmeServer,
    pub name: String,
    at: Path,
}

impl<'a> Scene<'a> {
    /// Starts the server and its issuer, and waits for the first certificate.
    pub fn issued(place: Place<'a>, name: &str, script: Script) -> Self {
        let scene = Self::unissued(place, name, script);
        scene.certificate();
        scene.wait("to be issued", |o| ready(o) && revision(o) == 1);
        scene
    }

    /// As [`Scene::issued`], with nothing but the server.
    pub fn server(place: Place<'a>, name: &str, script: Script) -> Self {
        let server = AcmeServer::start(script).unwrap();
        Self { place, server, name: name.to_owned(), at: Path::certificate(place.ns, name) }
    }

    /// As [`Scene::issued`], up to the issuer.
    pub fn unissued(place: Place<'a>, name: &str, script: Script) -> Self {
        let scene = Self::server(place, name, script);
        place.issuer(name, &issuer(&scene.server));
        look_until(place, &Path::issuer(place.ns, name), "to be ready", ready);
        scene
    }

    /// Creates the MailCertificate.
    pub fn certificate(&self) {
        let spec = json!({
            "issuerRef": {"name": self.name}, "secretName": format!("{}-tls", self.name), "dnsNames": self.names(),
        });
        create(self.place.kube, "MailCertificate", self.place.ns, &self.name, &spec);
    }

    pub fn names(&self) -> Vec<String> {
        ["mail", "imap"].map(|host| format!("{host}.{}.test", self.name)).to_vec()
    }

    pub fn object(&self) -> Value {
        self.place.kube.get(&self.at).unwrap()
    }

    pub fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        look_until(self.place, &self.at, what, is)
    }

    pub fn renew(&self, value: &str) {
        self.place.kube.annotate(&self.at, "mailcert.dev/renew", value);
    }

    pub fn secret(&self) -> Value {
        self.place.kube.get(&Path::secret(self.place.ns, &format!("{}-tls", self.name))).unwrap()
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
pub fn look_until(place: Place<'_>, at: &Path, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let object = place.kube.get(at).unwrap_or_default();
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
