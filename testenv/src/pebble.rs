//! Pebble, the ACME test server, and the DNS server that it believes.

use crate::{
    cluster::{Cluster, NODE_ADDRESS},
    dns::Dns,
    error::{Context, Error, Result},
    http::Client,
    instance::Instance,
    netns::Netns,
    pki,
    ports::{self, Port},
    tools,
};
use serde_json::{Value, json};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(60);

/// How Pebble behaves.
#[derive(Clone, Debug)]
pub struct PebbleOptions {
    /// The port to which HTTP-01 validation connects; a free one when `None` (see [`Pebble::http_port`]).
    pub http_port: Option<u16>,
    /// The port to which TLS-ALPN-01 validation connects; a free one when `None`.
    pub tls_port: Option<u16>,
    /// How many of a hundred good nonces are refused all the same. Pebble's own default is 5: clients must retry.
    pub nonce_reject_percent: u8,
    /// How many of a hundred authorizations a new order finds valid already.
    pub authorization_reuse_percent: u8,
    /// Key identifiers and base64url MAC keys; when there are any, an account needs one.
    pub external_accounts: Vec<(String, String)>,
    /// How many alternate chains are offered besides the default one.
    pub alternate_roots: u8,
    /// Names that are always refused.
    pub blocked_names: Vec<String>,
    /// Retry-After of pending authorizations and orders, seconds.
    pub retry_after: (u32, u32),
    /// Profiles by name, with their certificates' lifetime in seconds.
    pub profiles: Vec<(String, u64)>,
    /// What the DNS server answers to an A query for a name that it does not know; nothing when `None`.
    pub default_ip: Option<Ipv4Addr>,
    /// Another DNS server for validation to ask than the one that comes with Pebble.
    pub dns_server: Option<SocketAddr>,
    /// More environment variables (`PEBBLE_…`) for Pebble.
    pub environment: Vec<(String, String)>,
}

impl Default for PebbleOptions {
    fn default() -> Self {
        Self {
            http_port: None,
            tls_port: None,
            nonce_reject_percent: 5,
            authorization_reuse_percent: 0,
            external_accounts: Vec::new(),
            alternate_roots: 0,
            blocked_names: Vec::new(),
            retry_after: (1, 1),
            profiles: vec![("default".to_owned(), 90 * 86_400), ("shortlived".to_owned(), 6 * 86_400)],
            default_ip: None,
            dns_server: None,
            environment: Vec::new(),
        }
    }
}

/// A running Pebble with its DNS server.
#[derive(Debug)]
pub struct Pebble {
    /// Its own when it runs on loopback; with a cluster it ends with that.
    _instance: Option<Instance>,
    _ports: Vec<Port>,
    netns: Option<Netns>,
    at: Addresses,
    dns: Dns,
    ca_pem: String,
    root_pem: String,
    log: PathBuf,
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    acme: SocketAddr,
    management: SocketAddr,
    http_port: u16,
    tls_port: u16,
}

impl Pebble {
    /// Starts it on free ports of 127.0.0.1. It ends with this value, or with this process at the latest.
    pub fn start(options: &PebbleOptions) -> Result<Self> {
        let instance = Instance::temporary()?;
        let ports = (0..6).map(|_| ports::claim()).collect::<Result<Vec<_>>>()?;
        let local = |i: usize| SocketAddr::from((Ipv4Addr::LOCALHOST, ports[i].number));
        let at = Addresses {
            acme: local(0),
            management: local(1),
            http_port: options.http_port.unwrap_or(ports[4].number),
            tls_port: options.tls_port.unwrap_or(ports[5].number),
        };
        let dns = Dns::start(&instance, local(2), local(3))?;
        let pebble = Self::up(&instance, at, dns, options)?;
        Ok(Self { _instance: Some(instance), _ports: ports, ..pebble })
    }

    /// Starts it on the node's address inside the cluster's namespace, on port 14000. It asks the node's DNS server.
    /// Validation connects to ports 80 and 443 by default. It ends with the cluster.
    pub fn start_in(cluster: &Cluster, options: &PebbleOptions) -> Result<Self> {
        let dns = cluster.dns()?;
        let node = |port| SocketAddr::from((NODE_ADDRESS, port));
        let at = Addresses {
            acme: node(14_000),
            management: node(15_000),
            http_port: options.http_port.unwrap_or(80),
            tls_port: options.tls_port.unwrap_or(443),
        };
        Self::up(&cluster.instance, at, dns, options)
    }

    fn up(instance: &Instance, at: Addresses, dns: Dns, options: &PebbleOptions) -> Result<Self> {
        let dir = instance.dir().join("acme");
        fs::create_dir_all(&dir).context(|| format!("cannot create {}", dir.display()))?;
        let ca = pki::Ca::new("testenv-acme-ca")?;
        let server = ca.issue("pebble", &["localhost", "127.0.0.1", &NODE_ADDRESS.to_string()], None)?;
        pki::write(&dir.join("ca.crt"), &ca.cert_pem)?;
        pki::write(&dir.join("server.crt"), &server.cert_pem)?;
        pki::write(&dir.join("server.key"), &server.key_pem)?;
        let config_path = dir.join("pebble.json");
        pki::write(&config_path, &config(&dir, at, options).to_string())?;

        let mut acme = Command::new(tools::PEBBLE.path()?);
        let asked = options.dns_server.unwrap_or(dns.address());
        acme.arg("-config").arg(config_path).arg(format!("-dnsserver={asked}")).env("PEBBLE_VA_NOSLEEP", "1");
        acme.env("PEBBLE_WFE_NONCEREJECT", options.nonce_reject_percent.to_string());
        acme.env("PEBBLE_AUTHZREUSE", options.authorization_reuse_percent.to_string());
        acme.env("PEBBLE_ALTERNATE_ROOTS", options.alternate_roots.to_string());
        acme.envs(options.environment.iter().map(|(name, value)| (name, value)));
        instance.serve("pebble", acme)?;

        let netns = instance.netns().cloned();
        let front = Client::new(at.acme, netns.clone()).tls(&ca.cert_pem)?;
        instance.wait("Pebble", LIMIT, || dns.ready() && matches!(front.get("/dir"), Ok((200, _))))?;
        if options.default_ip.is_some() {
            dns.set_default(options.default_ip)?;
        }
        let (ca_pem, root_pem) = (ca.cert_pem, String::new());
        let log = instance.dir().join("pebble.log");
        let pebble = Self { _instance: None, _ports: Vec::new(), netns, at, dns, ca_pem, root_pem, log };
        let root_pem = pebble.alternate_root_pem(0)?;
        Ok(Self { root_pem, ..pebble })
    }

    /// The ACME directory's URL, as seen from where Pebble runs.
    pub fn directory_url(&self) -> String {
        format!("https://{}/dir", self.at.acme)
    }

    /// Where ACME is served, for [`Cluster::relay`]: Pebble builds its URLs from the request's Host header, and its
    /// certificate is good for 127.0.0.1 too.
    pub fn address(&self) -> SocketAddr {
        self.at.acme
    }

    /// The CA of Pebble's own HTTPS certificate, PEM: an issuer's `caBundle`.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The root of the certificates that Pebble issues, PEM. A new one with every start.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root of the `number`th alternate chain, PEM; 0 is the default chain's.
    pub fn alternate_root_pem(&self, number: u8) -> Result<String> {
        let client = Client::new(self.at.management, self.netns.clone()).tls(&self.ca_pem)?;
        match client.get(&format!("/roots/{number}"))? {
            (200, body) => Ok(String::from_utf8_lossy(&body).into_owned()),
            (status, _) => Err(Error::new(format!("Pebble has no root {number} (HTTP {status})"))),
        }
    }

    /// How many requests it has had, by what its log says: those for its readiness included, those for what is nowhere
    /// left out.
    pub fn requests(&self) -> Result<usize> {
        let log = fs::read(&self.log).context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&log).matches(" -> calling handler()").count())
    }

    /// Lets renewal information (RFC 9773) about a certificate, PEM, be `answer`, which may make no sense.
    pub fn set_renewal_info(&self, certificate_pem: &str, answer: &str) -> Result<()> {
        let client = Client::new(self.at.management, self.netns.clone()).tls(&self.ca_pem)?;
        let body = json!({"Certificate": certificate_pem, "ARIResponse": answer}).to_string();
        match client.post("/set-renewal-info/", &body)? {
            (200, _) => Ok(()),
            (status, _) => Err(Error::new(format!("Pebble took no renewal information (HTTP {status})"))),
        }
    }

    /// What it says of a certificate that it has issued, by the serial number in hex: `Status` (`Valid`, `Revoked`),
    /// and the revocation's `Reason` as a number.
    pub fn status_of(&self, serial: &str) -> Result<Value> {
        let client = Client::new(self.at.management, self.netns.clone()).tls(&self.ca_pem)?;
        match client.get(&format!("/cert-status-by-serial/{serial}"))? {
            (200, body) => serde_json::from_slice(&body).context(|| format!("Pebble's words about {serial}")),
            (status, _) => Err(Error::new(format!("Pebble knows no certificate {serial} (HTTP {status})"))),
        }
    }

    /// The port to which HTTP-01 validation connects.
    pub fn http_port(&self) -> u16 {
        self.at.http_port
    }

    /// The port to which TLS-ALPN-01 validation connects.
    pub fn tls_port(&self) -> u16 {
        self.at.tls_port
    }

    /// The DNS server that comes with it, which validation asks unless the options name another one.
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// Where the DNS server answers, on UDP and TCP.
    pub fn dns_address(&self) -> SocketAddr {
        self.dns.address()
    }

    /// Makes `host` resolve to `ip` alone.
    pub fn set_a(&self, host: &str, ip: Ipv4Addr) -> Result<()> {
        self.dns.set_a(host, ip)
    }
}

fn config(dir: &Path, at: Addresses, options: &PebbleOptions) -> Value {
    let map = |pairs: &[(String, String)]| {
        pairs.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<_, _>>()
    };
    let profile =
        |(name, seconds): &(String, u64)| (name.clone(), json!({"description": name, "validityPeriod": seconds}));
    json!({"pebble": {
        "listenAddress": at.acme,
        "managementListenAddress": at.management,
        "certificate": dir.join("server.crt"),
        "privateKey": dir.join("server.key"),
        "httpPort": at.http_port,
        "tlsPort": at.tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": !options.external_accounts.is_empty(),
        "externalAccountMACKeys": map(&options.external_accounts),
        "domainBlocklist": options.blocked_names,
        "retryAfter": {"authz": options.retry_after.0, "order": options.retry_after.1},
        "keyAlgorithm": "ecdsa",
        "profiles": options.profiles.iter().map(profile).collect::<serde_json::Map<_, _>>(),
    }})
}
