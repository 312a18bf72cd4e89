//! What is known about TLSA records, what can be done about them, and what doing it brings to light.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::jiff::Timestamp;

use crate::api::solver::DnsServer;

/// The chart's value that grants what the ConfigMap of mode `Show` needs.
pub const CONFIG_MAP_VALUE: &str = "dane.configMap.enabled";

/// What is known about a MailDomain's TLSA records besides its status. Lives in memory: after a restart it is empty, and
/// every record is looked at anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// What DNS showed last, by the records' name.
    pub looks: BTreeMap<String, Look>,
    /// The last update of a DNS server, by the records' name.
    pub updates: BTreeMap<String, Attempt>,
    /// The last write of the DNSEndpoint.
    pub endpoint: Option<Attempt>,
    /// The last write of the ConfigMap.
    pub shown: Option<Attempt>,
    /// Name and value of records that other MailDomains of the namespace want as well. Handed in by the observer.
    pub others: BTreeSet<(String, String)>,
    /// Name and value of records that they want as soon as their endpoints are seen to serve their keys. Handed in as well.
    pub held: BTreeSet<(String, String)>,
    /// The shortest TTL that they want at a name, in seconds: the records of a name have one. Handed in as well.
    pub ttls: BTreeMap<String, u32>,
    /// Why the key for the server's updates cannot be had any more. Handed in by the observer, where the MailDomain is
    /// being deleted.
    pub keyless: Option<String>,
}

/// A look at the TLSA records of one name, as it is remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// Looks in a row that found the same, before this one.
    pub same: u32,
    /// What was found, or why nothing was.
    pub found: Result<Sighting, String>,
}

/// What DNS says about the TLSA records of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Where the aliases (CNAMEs) of the name lead: where the records are. The name itself when it has none.
    pub owner: String,
    /// The zone that `owner` is in.
    pub zone: String,
    /// What each authoritative server says. At least one.
    pub servers: Vec<Server>,
    /// Set when the host is an alias, below which clients look first (RFC 7671, section 7).
    pub alias: Option<Alias>,
}

/// What one authoritative server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// What it says at all of its addresses, or why it says nothing.
    pub answer: Result<Answer, String>,
}

/// The TLSA records that a server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The records, as `3 1 1 <hex>`.
    pub values: BTreeSet<String>,
    /// Their time to live in seconds; 0 when there are none.
    pub ttl: u32,
    /// What DNSSEC says of them, or of their absence.
    pub trust: Trust,
}

/// What DNSSEC says of an answer (RFC 4035, section 4.3). The order is from worst to best.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// It should be signed, and is not or not validly: why.
    Bogus(String),
    /// It could not be found out: why.
    Unknown(String),
    /// The zone is not signed.
    Insecure,
    /// It is signed, and the signatures lead to a trust anchor.
    Secure,
}

/// Where the aliases of a host lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The end of the aliases.
    pub end: String,
    /// The TLSA records there.
    pub values: BTreeSet<String>,
}

/// Something that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// Failures in a row, with this one.
    pub failures: u32,
    /// How often in a row the same was asked for and done, before this one.
    pub repeats: u32,
    /// What was asked for.
    pub what: String,
    /// Why it failed, if it did.
    pub problem: Option<String>,
}

/// Something to do about TLSA records.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Look at the records of a name, at every authoritative server.
    Look {
        /// The name (`_25._tcp.mail.example.com`).
        name: String,
        /// The host in it.
        host: String,
    },
    /// Change the records of a name in one update of a DNS server. Others are left alone.
    Update(Update),
    /// Write the DNSEndpoint, or delete it when it shall have no records.
    Endpoint {
        /// Names, and the values of each.
        records: BTreeMap<String, BTreeSet<String>>,
        /// Time to live in seconds.
        ttl: u32,
        /// Labels for the object.
        labels: BTreeMap<String, String>,
    },
    /// Write the ConfigMap with these lines of a zone file, or delete it when there are none.
    Show(String),
}

/// A change of the records of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The server that takes it.
    pub server: DnsServer,
    /// The records' name, as the status has it.
    pub name: String,
    /// Where they are, after every alias.
    pub owner: String,
    /// Values to be there afterwards.
    pub add: BTreeSet<String>,
    /// Values not to be there afterwards.
    pub remove: BTreeSet<String>,
    /// Time to live in seconds.
    pub ttl: u32,
}

/// What a step brought to light.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Of [`Step::Look`].
    Looked {
        /// The name.
        name: String,
        /// When.
        at: Timestamp,
        /// What was found, or why nothing was.
        found: Result<Sighting, String>,
    },
    /// Of any other step.
    Done {
        /// The step.
        step: Step,
        /// When.
        at: Timestamp,
        /// Why it failed, if it did.
        problem: Option<String>,
    },
}

impl Step {
    /// What it asks for: the same text for the same.
    pub(super) fn digest(&self) -> String {
        format!("{self:?}")
    }
}

impl Memory {
    /// Takes in what a step brought to light.
    pub(in crate::decide::domain) fn learn(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Looked { name, at, found } => {
                let before = self.looks.get(&name).filter(|look| look.found == found);
                let same = before.map_or(0, |look| look.same.saturating_add(1));
                self.looks.insert(name, Look { at, same, found });
            }
            Outcome::Done { step, at, problem } => {
                let what = step.digest();
                let place = match &step {
                    Step::Update(update) => self.updates.get(&update.name).cloned(),
                    Step::Endpoint { .. } => self.endpoint.clone(),
                    Step::Show(_) => self.shown.clone(),
                    Step::Look { .. } => return,
                };
                let before = place.as_ref().map_or(0, |attempt| attempt.failures);
                let failures = if problem.is_some() { before.saturating_add(1) } else { 0 };
                let same = place.filter(|last| last.problem.is_none() && problem.is_none() && last.what == what);
                let repeats = same.map_or(0, |last| last.repeats.saturating_add(1));
                let attempt = Attempt { at, failures, repeats, what, problem };
                match step {
                    Step::Update(update) => drop(self.updates.insert(update.name, attempt)),
                    Step::Endpoint { .. } => self.endpoint = Some(attempt),
                    Step::Show(_) => self.shown = Some(attempt),
                    Step::Look { .. } => {}
                }
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Look { name, .. } => write!(f, "look at the TLSA records of {name}"),
            Self::Update(update) => write!(f, "update the TLSA records of {} at {}", update.name, update.server.server),
            Self::Endpoint { records, .. } => {
                write!(f, "write the DNSEndpoint with the TLSA records of {}", records.len())
            }
            Self::Show(_) => write!(f, "write the ConfigMap with the TLSA records"),
        }
    }
}
