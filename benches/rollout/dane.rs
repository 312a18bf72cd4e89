//! The mail domain's zone, signed, and DANE clients of others that judge its TLSA records once a second.

use crate::ground::{EXTERNAL, HOST};
use mailcert_testenv::dane::{self, Program, Verdict};
use mailcert_testenv::{Bind, BindOptions, BindZone, Cluster};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Of the TLSA records, in seconds: a new key is put to use two of them after its record was seen everywhere.
const TTL: u32 = 2;

/// Signed, on two name servers and with a validating resolver, on the loopback interface of the node.
pub struct Zone {
    bind: Bind,
    resolver: SocketAddr,
    /// The root's key.
    anchor: String,
}

impl Zone {
    pub fn start(cluster: &Cluster) -> Self {
        let zone = BindZone::new("example.com").signed().records(&format!("mail A {EXTERNAL}"));
        let options = BindOptions { zones: vec![zone], secondary: true, notify: true };
        let started = cluster.inside(|| {
            let mut bind = Bind::start(&options).unwrap();
            let resolver = bind.resolver().unwrap();
            let anchor = bind.anchor();
            Self { bind, resolver, anchor }
        });
        started.unwrap()
    }

    /// What the operator must be told of it.
    pub fn flags(&self) -> [String; 2] {
        let (address, anchor) = (self.bind.address(), &self.anchor);
        [format!("--dns-resolvers={address}"), format!("--dnssec-trust-anchors={anchor}")]
    }

    /// `spec.dns.tlsa` of a MailDomain in it.
    pub fn tlsa(&self) -> Value {
        json!({"mode": "RFC2136", "ttl": TTL, "rfc2136": {"server": self.bind.address().to_string(),
            "tsigKeyName": self.bind.key("hmac-sha256").0, "tsigSecretRef": {"name": "tsig", "key": "secret"}}})
    }

    /// The Secret that it names.
    pub fn secret(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tsig"},
            "stringData": {"secret": self.bind.key("hmac-sha256").1}})
    }

    /// Has the servers judged from now on.
    pub fn watch(&self, cluster: &Cluster) -> Watch {
        let asked = [(Program::LdnsDane, 993), (Program::Danetool, 465), (Program::Posttls, 25)];
        let start = |one: (Program, u16)| {
            let judges = dane::Judges::new(self.resolver, &self.anchor).unwrap();
            judges.watch(vec![(one.0, HOST.to_owned(), one.1)], Duration::from_secs(1))
        };
        // Threads that a thread inside starts are inside as well.
        let threads = cluster.inside(|| asked.map(start)).unwrap();
        Watch { threads, started: SystemTime::now() }
    }
}

/// `ldns-dane` at IMAPS, `danetool` at Submissions and `posttls-finger` at SMTP, each once a second.
pub struct Watch {
    threads: [dane::Watch; 3],
    started: SystemTime,
}

/// What came of it.
pub struct Verdicts {
    pub count: usize,
    /// When, and why.
    pub invalid: Vec<(Duration, String)>,
}

impl Watch {
    pub fn stop(self) -> Verdicts {
        let all: Vec<_> = self.threads.into_iter().flat_map(dane::Watch::end).collect();
        let invalid = |one: &dane::Judgement| match &one.verdict {
            Verdict::Valid => None,
            Verdict::Invalid(words) => {
                let at = one.at.duration_since(self.started).unwrap_or_default();
                Some((at, format!("{} at port {}: {words}", one.program, one.port)))
            }
        };
        Verdicts { count: all.len(), invalid: all.iter().filter_map(invalid).collect() }
    }
}
