//! Many mail domains on one server: which certificate for which name, and the Secret that says so.
//!
//! All MailDomains of a namespace that name the same Secret are a group. The one whose name comes first writes it; all
//! come to the same plan, so that each knows whether what is written is what it waits for.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::domain::{Sni, SniStatus};
use crate::api::reasons::domain as reason;
use crate::decide::conditions::State;
use crate::pki::{Fingerprint, covers};

use super::first_three;
use super::status::Said;
use super::world::{Action, World};

/// As many as a Secret has room for.
const MOST: usize = 100;
/// The table for Postfix.
pub const POSTFIX: &str = "postfix-sni";
/// The snippet for Dovecot 2.3.
pub const DOVECOT: &str = "dovecot-sni.conf";
/// The snippet for Dovecot 2.4, whose settings have other names.
pub const DOVECOT_24: &str = "dovecot24-sni.conf";

/// What is known of the group in a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The MailDomains of the group, by name, with this one.
    pub members: Vec<Member>,
    /// The Secret, as far as it is known; the writer alone looks.
    pub secret: SniSecret,
    /// What the writer's status says.
    pub written: Option<SniStatus>,
    /// A certificate's Secret is not yet as its status says.
    pub waits: Option<String>,
}

/// A MailDomain of the group.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub sni: Sni,
    /// The names that are its own, legacy ones among them, in A-labels.
    pub names: BTreeSet<String>,
    /// Its active certificate.
    pub certificate: Option<Source>,
}

/// An active certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The Secret that holds it.
    pub secret_name: String,
    /// The leaf's fingerprint.
    pub fingerprint: String,
    /// Its DNS names.
    pub dns_names: Vec<String>,
}

/// The group's Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SniSecret {
    /// It is as the status knows it.
    Unchanged,
    /// It may have changed.
    #[default]
    NotRead,
    /// There is none.
    Absent,
    /// It belongs to something else; to what, and what to do.
    Foreign(String),
    /// It is ours.
    Ours {
        /// Precondition of the next write.
        version: String,
        /// What it says it was made from; `None`: its content is not what was written.
        digest: Option<String>,
        /// The keys in it.
        keys: BTreeSet<String>,
    },
}

/// What the group's Secret shall hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files with key and chain, and where they come from.
    pub files: BTreeMap<String, Source>,
    /// The tables.
    pub tables: BTreeMap<String, String>,
    /// Identifies all of it.
    pub digest: String,
    /// Name to the MailDomain whose certificate is served for it.
    served: BTreeMap<String, String>,
    /// MailDomain to what is not as it asks.
    problems: BTreeMap<String, Vec<String>>,
}

/// The key of a MailDomain's certificate in its group's Secret.
pub fn file(domain: &str) -> String {
    format!("{domain}.pem")
}

/// What all members come to.
pub fn plan(members: &[Member]) -> Plan {
    let mut plan = Plan::default();
    let Some(first) = members.first() else { return plan };
    for member in members {
        let Some(source) = &member.certificate else {
            plan.problem(member, "it has no certificate yet, and is left out of the tables".to_owned());
            continue;
        };
        plan.files.insert(file(&member.name), source.clone());
        if member.sni.mount_path != first.sni.mount_path {
            let message = format!(
                "spec.sni.mountPath is {}, but that of MailDomain {} counts for the group, which is {}",
                member.sni.mount_path, first.name, first.sni.mount_path
            );
            plan.problem(member, message);
        }
        // A domain's own names first: what another certificate covers besides is no claim.
        for name in member.names.iter().filter(|n| source.dns_names.iter().any(|have| covers(have, n))) {
            plan.claim(member, name);
        }
    }
    for member in members {
        for name in member.certificate.iter().flat_map(|c| &c.dns_names) {
            plan.served.entry(name.clone()).or_insert_with(|| member.name.clone());
        }
    }
    plan.tables = tables(&plan.served, &first.sni.mount_path);
    let mut text = String::new();
    for (file, source) in &plan.files {
        text.push_str(&format!("{file} {} {}\n", source.secret_name, source.fingerprint));
    }
    plan.tables.values().for_each(|table| text.push_str(table));
    plan.digest = Fingerprint::of(text.as_bytes()).to_string();
    plan
}

impl Plan {
    fn problem(&mut self, member: &Member, message: String) {
        self.problems.entry(member.name.clone()).or_default().push(message);
    }

    fn claim(&mut self, member: &Member, name: &str) {
        match self.served.get(name).cloned() {
            Some(other) => {
                let message =
                    format!("{name} is a name of MailDomain {other}, too, whose certificate is served for it");
                self.problem(member, message);
            }
            None => drop(self.served.insert(name.to_owned(), member.name.clone())),
        }
    }

    /// Every key that the Secret shall have.
    pub fn keys(&self) -> BTreeSet<String> {
        self.files.keys().chain(self.tables.keys()).cloned().collect()
    }
}

fn tables(served: &BTreeMap<String, String>, folder: &str) -> BTreeMap<String, String> {
    let (wildcards, exact): (Vec<_>, Vec<_>) = served.iter().partition(|(name, _)| name.starts_with("*."));
    let mut postfix = format!("# Written by mailcert. In main.cf: tls_server_sni_maps = texthash:{folder}/{POSTFIX}\n");
    for (name, domain) in &exact {
        postfix.push_str(&format!("{name} {folder}/{domain}.pem\n"));
    }
    // Postfix asks for the name first, then for its parents, with a dot in front.
    for (name, domain) in &wildcards {
        postfix.push_str(&format!("{} {folder}/{domain}.pem\n", &name[1..]));
    }
    let block = |(name, domain): &(&String, &String), cert: &str, key: &str| {
        format!("local_name {name} {{\n  {cert}{folder}/{domain}.pem\n  {key}{folder}/{domain}.pem\n}}\n")
    };
    let head = |file: &str| format!("# Written by mailcert. In dovecot.conf: !include {folder}/{file}\n");
    // Of several blocks that match, 2.3 takes the first and 2.4 the last.
    let mut dovecot = head(DOVECOT);
    for entry in exact.iter().chain(&wildcards) {
        dovecot.push_str(&block(entry, "ssl_cert = <", "ssl_key = <"));
    }
    let mut dovecot24 = head(DOVECOT_24);
    for entry in wildcards.iter().chain(&exact) {
        dovecot24.push_str(&block(entry, "ssl_server_cert_file = ", "ssl_server_key_file = "));
    }
    [(POSTFIX, postfix), (DOVECOT, dovecot), (DOVECOT_24, dovecot24)].map(|(k, v)| (k.to_owned(), v)).into()
}

/// The group as this pass sees it.
pub(super) struct Group<'a> {
    world: &'a World,
    view: &'a View,
    sni: &'a Sni,
    plan: Plan,
    name: String,
}

impl<'a> Group<'a> {
    /// None where the MailDomain is in no group.
    pub fn of(world: &'a World) -> Option<Self> {
        let (view, sni) = (world.sni.as_ref()?, world.object.spec.sni.as_ref()?);
        let name = world.object.metadata.name.clone().unwrap_or_default();
        Some(Self { world, view, sni, plan: plan(&view.members), name })
    }

    fn writer(&self) -> &str {
        self.view.members.first().map_or("", |m| m.name.as_str())
    }

    fn writes(&self) -> bool {
        self.writer() == self.name
    }

    fn is_too_large(&self) -> bool {
        self.view.members.len() > MOST
    }

    /// Whether the Secret holds what the plan says.
    fn is_written(&self) -> bool {
        let known = self.view.written.as_ref().filter(|w| w.secret_name == self.sni.secret_name);
        let as_known = known.and_then(|w| w.digest_sha256.as_ref()) == Some(&self.plan.digest);
        match &self.view.secret {
            _ if !self.writes() => as_known,
            SniSecret::Unchanged => as_known,
            SniSecret::Ours { digest, .. } => digest.as_ref() == Some(&self.plan.digest),
            SniSecret::NotRead | SniSecret::Absent | SniSecret::Foreign(_) => false,
        }
    }

    /// Why the Secret cannot be written, where it takes a person.
    fn obstacle(&self) -> Option<String> {
        if self.is_too_large() {
            return Some(format!(
                "{} MailDomains share the Secret {}, which has room for {MOST}: give some of them another \
                 spec.sni.secretName",
                self.view.members.len(),
                self.sni.secret_name
            ));
        }
        match &self.view.secret {
            SniSecret::Foreign(why) if self.writes() => Some(why.clone()),
            _ => None,
        }
    }

    /// Whether pods that are restarted now would find what they are restarted for. Where that takes a person, nobody
    /// waits for it.
    pub fn lets_roll(&self) -> bool {
        let writer_is_stuck = self.view.written.as_ref().is_some_and(|w| w.digest_sha256.is_none());
        self.is_written() || self.obstacle().is_some() || (!self.writes() && writer_is_stuck)
    }

    /// The next step of the writer.
    pub fn step(&self) -> Option<Action> {
        if !self.writes() || self.world.forbidden.is_some() || self.obstacle().is_some() || self.view.waits.is_some() {
            return None;
        }
        if self.is_written() {
            return None;
        }
        let name = self.sni.secret_name.clone();
        let (over, stale) = match &self.view.secret {
            SniSecret::Unchanged | SniSecret::NotRead => return Some(Action::ReadSni { name }),
            SniSecret::Foreign(_) => return None,
            SniSecret::Absent => (None, BTreeSet::new()),
            SniSecret::Ours { version, keys, .. } => (Some(version.clone()), &self.plan.keys() ^ keys),
        };
        let stale = stale.into_iter().filter(|key| !self.plan.keys().contains(key)).collect();
        Some(Action::WriteSni { name, plan: Box::new(self.plan.clone()), stale, over })
    }

    /// What the status says.
    pub fn status(&self) -> SniStatus {
        let mut status = SniStatus {
            secret_name: self.sni.secret_name.clone(),
            writer: self.writer().to_owned(),
            names: self.plan.served.iter().filter(|(_, who)| **who == self.name).map(|(n, _)| n.clone()).collect(),
            ..SniStatus::default()
        };
        if !self.writes() || self.obstacle().is_some() {
            return status;
        }
        match &self.view.secret {
            SniSecret::Ours { version, digest, .. } => {
                (status.digest_sha256, status.secret_resource_version) = (digest.clone(), Some(version.clone()));
            }
            SniSecret::Unchanged | SniSecret::NotRead => {
                let known = self.view.written.clone().filter(|w| w.secret_name == self.sni.secret_name);
                let known = known.unwrap_or_default();
                status.digest_sha256 = known.digest_sha256;
                status.secret_resource_version = known.secret_resource_version;
            }
            SniSecret::Absent | SniSecret::Foreign(_) => {}
        }
        status
    }

    /// `SNIReady`.
    pub fn said(&self) -> Said {
        let secret = &self.sni.secret_name;
        if let Some(message) = self.obstacle() {
            return Said::new(State::False, reason::SNI_CONFLICT, message).stalled_if(true);
        }
        if !self.is_written() {
            let message = match &self.view.waits {
                Some(why) => why.clone(),
                None if self.writes() => format!("the tables in the Secret {secret} are to be written"),
                None => format!("MailDomain {} is to write the tables in the Secret {secret}", self.writer()),
            };
            return Said::new(State::False, reason::SNI_PENDING, message);
        }
        if let Some(problems) = self.plan.problems.get(&self.name) {
            return Said::new(State::False, reason::SNI_INCOMPLETE, first_three(problems, "; "));
        }
        let names = self.status().names;
        let message = format!("the tables in the Secret {secret} have {}", first_three(&names, ", "));
        Said::new(State::True, reason::SNI_WRITTEN, message)
    }
}
