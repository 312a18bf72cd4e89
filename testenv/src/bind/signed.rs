//! Signed zones (DNSSEC) below a signed root, and a resolver that validates.

use super::{Bind, BindOptions, BindZone, LIMIT, Signing, claim, run};
use crate::error::{Context, Error, Result};
use std::{fs, net::SocketAddr, process::Command};

/// How zones are signed: at once, with one key each, and for long enough that nothing is signed anew during a test.
pub(super) const POLICIES: &str = "dnssec-policy \"tests\" { keys { csk lifetime unlimited algorithm ecdsap256sha256; }; \
     dnskey-ttl 1; max-zone-ttl 1209600; parent-ds-ttl 1; zone-propagation-delay 1; };\n";
/// A line of a zone that is signed so.
pub(super) const POLICY: &str = "dnssec-policy \"tests\"; ";

impl BindOptions {
    pub(super) fn is_signed(&self) -> bool {
        self.zones.iter().any(|zone| zone.signing != Signing::No)
    }
}

impl Bind {
    /// The root's key, as a line of a zone file: where trust begins.
    ///
    /// # Panics
    /// When no zone is signed.
    pub fn anchor(&self) -> String {
        let key = self.ask(".", "DNSKEY").expect("the server answers");
        let key = key.lines().next().expect("the root is signed");
        // dig splits the key into blocks.
        let mut parts = key.split_whitespace();
        let head: Vec<&str> = parts.by_ref().take(3).collect();
        format!(". 3600 IN DNSKEY {} {}", head.join(" "), parts.collect::<String>())
    }

    /// A resolver that validates from [`Bind::anchor`] on, at an address of its own, for programs that believe what it
    /// says. As resolvers do, it keeps what it was told for its TTL; but for no longer than a minute.
    pub fn resolver(&mut self) -> Result<SocketAddr> {
        let address = claim(&self.instance)?;
        let ip = address.ip;
        let dir = self.instance.dir().join("resolver");
        fs::create_dir_all(&dir).context(|| format!("cannot create {}", dir.display()))?;
        let folder = dir.display();
        let hints = dir.join("hints");
        let text = format!(". 3600 NS ns1.\nns1. 3600 A {}\n", self.primary.ip);
        fs::write(&hints, text).context(|| format!("cannot write {}", hints.display()))?;
        let anchor = self.anchor();
        let key: Vec<&str> = anchor.split_whitespace().skip(4).collect();
        let [flags, protocol, algorithm, data] = key.as_slice() else {
            return Err(Error::new(format!("the root's key is not as expected: {anchor}")));
        };
        let config = format!(
            "options {{ directory \"{folder}\"; listen-on port 53 {{ {ip}; }}; listen-on-v6 {{ none; }};\n\
             pid-file none; lock-file none; session-keyfile \"{folder}/session.key\"; empty-zones-enable no;\n\
             query-source address {ip}; allow-query {{ any; }}; recursion yes; dnssec-validation yes;\n\
             max-cache-ttl 60; max-ncache-ttl 1; }};\ncontrols {{ }};\n\
             trust-anchors {{ . static-key {flags} {protocol} {algorithm} \"{data}\"; }};\n\
             zone \".\" {{ type hint; file \"{}\"; }};\n",
            hints.display()
        );
        let path = dir.join("named.conf");
        fs::write(&path, config).context(|| format!("cannot write {}", path.display()))?;
        let mut command = Command::new(self.program()?);
        command.args(["-g", "-n", "1", "-c"]).arg(path);
        self.instance.serve("resolver", command)?;
        let ready = || {
            let mut command = Command::new("dig");
            command.args(["+norecurse", "+tries=1", "+time=2", ".", "NS", &format!("@{ip}")]);
            run(command, "").is_ok_and(|text| text.contains("status: "))
        };
        self.instance.wait("the resolver", LIMIT, ready)?;
        self.others.push(address);
        Ok((ip, 53).into())
    }

    /// Delegates every zone in the root, those that are signed with a DS record.
    pub(super) fn delegate(&self, options: &BindOptions) -> Result<()> {
        let has_key = |apex: &str| self.ask(apex, "DNSKEY").is_ok_and(|text| !text.trim().is_empty());
        let signed = options.zones.iter().filter(|zone| zone.signing != Signing::No);
        let mut apexes: Vec<&str> = signed.map(|zone| zone.apex.as_str()).collect();
        apexes.push(".");
        self.instance.wait("BIND's keys", LIMIT, || apexes.iter().all(|apex| has_key(apex)))?;
        let mut lines = String::from("zone .\n");
        for zone in &options.zones {
            let apex = &zone.apex;
            lines.push_str(&format!("add {apex}. 1 NS ns1.{apex}.\nadd ns1.{apex}. 1 A {}\n", self.primary.ip));
            if let Some(secondary) = &self.secondary {
                lines.push_str(&format!("add {apex}. 1 NS ns2.{apex}.\nadd ns2.{apex}. 1 A {}\n", secondary.ip));
            }
            if zone.signing != Signing::No {
                lines.push_str(&format!("add {apex}. 1 DS {}\n", self.ds(zone)?));
            }
        }
        self.update(&lines)?;
        let is_signed = |apex: &str| {
            let mut command = Command::new("dig");
            command.args(["+short", "+norecurse", "+dnssec", "+tries=1", apex, "SOA"]);
            command.arg(format!("@{}", self.primary.ip));
            run(command, "").is_ok_and(|text| text.lines().count() > 1)
        };
        self.instance.wait("signatures", LIMIT, || apexes.iter().all(|apex| is_signed(apex)))?;
        if self.secondary.is_none() {
            return Ok(());
        }
        let follows = |apex: &&&str| self.tell(apex).is_ok() && self.in_step(apex);
        let zones = &apexes[..apexes.len() - 1];
        self.instance.wait("the secondary", LIMIT, || zones.iter().all(|apex| follows(&apex)))
    }

    /// The DS record of a zone's key.
    fn ds(&self, zone: &BindZone) -> Result<String> {
        let key = format!("{}. 3600 IN DNSKEY {}\n", zone.apex, self.ask(&zone.apex, "DNSKEY")?.trim());
        let mut command = Command::new("dnssec-dsfromkey");
        command.args(["-2", "-f", "/dev/stdin", &zone.apex]);
        let text = run(command, &key)?;
        let parts: Vec<&str> = text.split_whitespace().skip_while(|part| *part != "DS").skip(1).collect();
        let [tag, algorithm, digest_type, digest @ ..] = parts.as_slice() else {
            return Err(Error::new(format!("dnssec-dsfromkey printed no DS record: {text}")));
        };
        let digest = match zone.signing {
            Signing::Broken => digest.concat().chars().rev().collect(),
            Signing::Yes | Signing::No => digest.concat(),
        };
        Ok(format!("{tag} {algorithm} {digest_type} {digest}"))
    }

    /// What the primary has at a name, as `dig +short` prints it.
    pub fn ask(&self, name: &str, kind: &str) -> Result<String> {
        let mut command = Command::new("dig");
        command.args(["+short", "+norecurse", "+tries=1", "+time=2", name, kind, &format!("@{}", self.primary.ip)]);
        run(command, "")
    }
}
