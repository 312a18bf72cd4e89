//! Kubernetes, as far as the operator needs it: MailCertificates with their statuses, their Secrets, and the ledger.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use mailcert::api::{MailCertificate, MailCertificateStatus};
use mailcert::decide::certificate::world::{ActiveSecret, Fact, KeyPair, Origin, RevisionSecret, SecretView};

/// The active Secret.
struct Stored {
    version: u64,
    revision: i64,
    pair: KeyPair,
    origin: Origin,
}

/// A MailCertificate, and what belongs to it.
pub struct Cell {
    pub object: MailCertificate,
    secret: Option<Stored>,
    pub revisions: BTreeMap<i64, (String, RevisionSecret)>,
    pub wake: Timestamp,
    pub history: History,
}

/// How it went with the certificate in the active Secret.
#[derive(Default)]
pub struct History {
    pub first: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub activations: usize,
    /// The longest time without a valid certificate after the first one.
    pub gap: SignedDuration,
    /// The least time that a certificate had left when the next took its place.
    pub least_left: Option<SignedDuration>,
}

impl History {
    fn activated(&mut self, now: Timestamp, until: Timestamp) {
        if let Some(before) = self.until {
            let left = before.duration_since(now);
            self.least_left = Some(self.least_left.map_or(left, |least| least.min(left)));
        }
        self.look(now);
        self.first.get_or_insert(now);
        self.until = Some(until);
        self.activations += 1;
    }

    /// Notes a gap up to now.
    pub fn look(&mut self, now: Timestamp) {
        if let Some(before) = self.until {
            self.gap = self.gap.max(now.duration_since(before));
        }
    }
}

/// Everything that outlives the operator.
pub struct Cluster {
    pub now: Timestamp,
    pub cells: Vec<Cell>,
    /// The ledger as it is stored.
    pub ledger: Vec<u8>,
    versions: u64,
}

impl Cluster {
    /// With objects that were just created.
    pub fn new(objects: Vec<MailCertificate>, now: Timestamp) -> Self {
        let cell =
            |object| Cell { object, secret: None, revisions: BTreeMap::new(), wake: now, history: History::default() };
        Self { now, cells: objects.into_iter().map(cell).collect(), ledger: Vec::new(), versions: 0 }
    }

    /// Whose turn it is next, and when.
    pub fn next(&self) -> Option<(usize, Timestamp)> {
        self.cells.iter().enumerate().map(|(number, cell)| (number, cell.wake)).min_by_key(|(_, wake)| *wake)
    }

    /// A new resourceVersion.
    fn version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    pub fn write_active(
        &mut self,
        number: usize,
        revision: i64,
        pair: KeyPair,
        origin: Origin,
        over: Option<&str>,
    ) -> Fact {
        let (version, now) = (self.version(), self.now);
        let cell = &mut self.cells[number];
        if cell.secret.as_ref().map(|s| s.version.to_string()).as_deref() != over {
            return Fact::Overtaken;
        }
        let leaf = pair.chain.leaf();
        let renewed = cell.secret.as_ref().is_none_or(|s| s.pair.chain.leaf().fingerprint != leaf.fingerprint);
        assert!(leaf.spki_der() == pair.key.spki_der(), "key and certificate do not belong together");
        if renewed {
            cell.history.activated(now, leaf.not_after);
        }
        cell.secret = Some(Stored { version, revision, pair: KeyPair { canonical: true, ..pair }, origin });
        Fact::Activated(revision, version.to_string())
    }
}

impl Cell {
    pub fn status(&self) -> MailCertificateStatus {
        self.object.status.clone().unwrap_or_default()
    }

    /// As the API server keeps it: through JSON.
    pub fn set_status(&mut self, status: MailCertificateStatus) {
        let json = serde_json::to_value(status).expect("a status has a JSON form");
        self.object.status = Some(serde_json::from_value(json).expect("a status is read as it was written"));
    }

    /// The active Secret as a watch of metadata shows it.
    pub fn watched(&self) -> SecretView {
        let known = self.status().active.and_then(|a| a.secret_resource_version);
        match &self.secret {
            None => SecretView::Absent,
            Some(secret) if known == Some(secret.version.to_string()) => SecretView::Unchanged,
            Some(_) => SecretView::NotRead,
        }
    }

    pub fn read(&self) -> SecretView {
        let Some(secret) = &self.secret else { return SecretView::Absent };
        SecretView::Ours(ActiveSecret {
            resource_version: secret.version.to_string(),
            revision: Some(secret.revision),
            content: Ok(secret.pair.clone()),
            origin: secret.origin.clone(),
            outputs: BTreeSet::new(),
        })
    }

    pub fn store(&mut self, revision: i64, name: String, exists: bool, secret: RevisionSecret) -> Fact {
        if self.revisions.contains_key(&revision) != exists {
            return Fact::Overtaken;
        }
        self.revisions.insert(revision, (name.clone(), secret.clone()));
        Fact::Stored(revision, name, secret)
    }
}
