//! A real signed zone of BIND, an operator that asks it, and mail servers with TLSA records in it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use mailcert_testenv::dane::{Judges, Program};
use mailcert_testenv::{Bind, BindOptions, BindZone, packages};
use serde_json::{Value, json};

use crate::common::{Operator, Path, cluster};
use crate::scene::{Scene, own};
use crate::server::{Identity, Manner, SMTP, Server};

/// Not below `test`, of which libunbound (in danetool) knows that it does not exist.
pub const APEX: &str = "dane.example";
pub const HOST: &str = "mail.dane.example";
/// Who judges, and which of the two servers: IMAPS, SMTP.
const JUDGES: [(Program, usize); 4] =
    [(Program::LdnsDane, 0), (Program::Danetool, 0), (Program::DanetoolSmtp, 1), (Program::Posttls, 1)];

/// BIND with signed zones, or nothing with a message.
pub fn bind(zones: Vec<BindZone>, secondary: bool) -> Option<Bind> {
    if let Err(error) = packages::require(&packages::DANE) {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI=true and no tools: {error}");
        eprintln!("skipped, since it needs programs that judge TLSA records: {error}");
        return None;
    }
    Bind::start_or_skip(&BindOptions { zones, secondary, notify: false })
}

pub fn zone(apex: &str) -> BindZone {
    BindZone::new(apex).records("mail A 127.0.0.1")
}

/// An operator that asks this BIND, and trusts its root.
pub fn operator(scene: &Scene, bind: &Bind) -> Operator {
    let resolvers = format!("--dns-resolvers={}", bind.address());
    let anchors = format!("--dnssec-trust-anchors={}", bind.anchor());
    Operator::start(cluster(), &[&scene.ns], &[&resolvers, &anchors])
}

/// `dns.tlsa` by updates, with the key in the Secret `tsig`, and a TTL of 2 s.
pub fn tlsa(scene: &Scene, bind: &Bind, secret: &str) -> Value {
    let name = bind.key("hmac-sha256").0;
    scene.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tsig"},
        "stringData": {"secret": secret}}));
    json!({"mode": "RFC2136", "ttl": 2, "rfc2136": {"server": bind.address().to_string(), "tsigKeyName": name,
        "tsigSecretRef": {"name": "tsig", "key": "secret"}}})
}

/// `spec.certificate` with that rotation policy.
pub fn template(policy: &str) -> Value {
    json!({"template": {"issuerRef": {"name": "ca"}, "privateKey": {"rotation": {"policy": policy}}}})
}

/// A MailDomain with an IMAPS and an SMTP server.
pub struct Mail {
    pub at: Path,
    /// Of IMAPS and SMTP.
    pub ports: [u16; 2],
    /// What the IMAPS server serves in place of the Secret.
    imaps: Arc<Mutex<Option<Identity>>>,
    scene: Arc<Scene>,
}

impl Mail {
    /// The MailDomain `mail` of that domain, whose servers load the Secret `mail-tls` for each client.
    pub fn served(scene: &Arc<Scene>, apex: &str, certificate: &Value, tlsa: &Value) -> Self {
        let imaps: Arc<Mutex<Option<Identity>>> = Arc::default();
        let load = |held: Arc<Mutex<Option<Identity>>>| {
            let scene = scene.clone();
            move || held.lock().unwrap().clone().unwrap_or_else(|| scene.identity("mail-tls"))
        };
        let servers = [
            Server::start(Manner::Implicit("* OK ready\r\n"), load(imaps.clone())),
            Server::start(SMTP, load(Arc::default())),
        ];
        let endpoint = |protocol, port| json!({"protocol": protocol, "address": "127.0.0.1", "port": port});
        let ports = servers.map(|server| server.port);
        scene.create(own(
            "MailDomain",
            "mail",
            json!({
                "domain": apex, "externalURL": format!("https://mail.{apex}"), "certificate": certificate,
                "endpoints": [endpoint("IMAPS", ports[0]), endpoint("SMTP", ports[1])],
                "dns": {"tlsa": tlsa},
            }),
        ));
        Self { at: scene.at_domain("mail"), ports, imaps, scene: scene.clone() }
    }

    /// The IMAPS server takes up nothing new from now on.
    pub fn hold_imaps(&self) {
        let now = self.scene.identity("mail-tls");
        *self.imaps.lock().unwrap() = Some(now);
    }

    /// It loads the Secret again.
    pub fn release_imaps(&self) {
        *self.imaps.lock().unwrap() = None;
    }

    /// What the programs are asked about.
    pub fn asked(&self) -> Vec<(Program, String, u16)> {
        JUDGES.map(|(program, place)| (program, HOST.to_owned(), self.ports[place])).to_vec()
    }

    /// Every program says of its server that it is, or is not, as its records say.
    pub fn assert_judged(&self, judges: &Judges, valid: bool) {
        for (program, host, port) in self.asked() {
            let verdict = judges.judge(program, &host, port);
            assert_eq!(verdict.is_valid(), valid, "{program} says of port {port}: {verdict}");
        }
    }

    /// The keys (SPKI, SHA-256) that the primary has records of at each of the ports.
    pub fn keys(&self, bind: &Bind) -> [BTreeSet<String>; 2] {
        self.ports.map(|port| {
            let text = bind.ask(&format!("_{port}._tcp.{HOST}"), "TLSA").unwrap().to_ascii_lowercase();
            // dig splits the hash into blocks.
            let hash = |line: &str| Some(line.strip_prefix("3 1 1 ")?.replace(' ', ""));
            text.lines().map(|line| hash(line).unwrap_or_else(|| panic!("a record of nobody's: {line}"))).collect()
        })
    }
}

/// Whether every TLSA record of a MailDomain can be relied on.
pub fn all_ready(domain: &Value) -> bool {
    let records = domain["status"]["dns"]["tlsa"]["records"].as_array().cloned().unwrap_or_default();
    !records.is_empty() && records.iter().all(|record| record["state"] == "Ready")
}
