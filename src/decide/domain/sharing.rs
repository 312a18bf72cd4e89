//! Workloads that several MailDomains name: one of them decides, and all want the same.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::certificate::{Finding, MailCertificate, MailCertificateStatus};
use crate::api::domain::{MailDomain, Reload, Rollout, WorkloadStatus};
use crate::api::reasons::domain_finding as reason;

use super::certificate::Certificate;
use super::pods::Mount;
use super::sni;
use super::world::{WorkloadView, World};

/// A revision that was active before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Former {
    /// Its number.
    pub revision: i64,
    /// Its fingerprint.
    pub fingerprint: String,
    /// From when to when it is valid.
    pub valid: (Timestamp, Timestamp),
}

impl Former {
    /// Those of a MailCertificate.
    pub fn all(status: &MailCertificateStatus) -> Vec<Self> {
        let one = |r: &crate::api::certificate::Revision| Self {
            revision: r.revision,
            fingerprint: r.fingerprint_sha256.clone(),
            valid: (r.not_before.0, r.not_after.0),
        };
        status.former().map(one).collect()
    }
}

/// Another MailDomain that names the same workload, and has a certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Sharer {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The Secret of its certificate.
    pub secret: String,
    /// The Secret of its group of names, where it is in one (`spec.sni`).
    pub sni: Option<String>,
    /// The active fingerprint.
    pub fingerprint: String,
    /// The number of the active revision.
    pub revision: i64,
    /// What was active before.
    pub former: Vec<Former>,
    /// From when to when that certificate is valid.
    pub valid: (Timestamp, Timestamp),
    /// How it wants the workload's pods to load a certificate.
    pub reloads: Vec<Reload>,
    /// Its rollout policy.
    pub rollout: Rollout,
    /// What it says of the workload.
    pub status: Option<WorkloadStatus>,
}

impl Sharer {
    /// What another MailDomain has to do with the workload of that title. `None` while it has no certificate.
    pub fn of(other: &MailDomain, certificate: &MailCertificate, title: &str, reloads: Vec<Reload>) -> Option<Self> {
        let its = certificate.status.as_ref()?;
        let active = its.active.as_ref()?;
        let used = other.status.as_ref().and_then(|s| s.certificate.as_ref());
        let copy = used.filter(|c| c.system && c.name == certificate.name_any()).map(|c| &c.secret_name);
        let entry = |s: &&WorkloadStatus| s.workload == title;
        Some(Self {
            name: other.name_any(),
            created: other.creation_timestamp().map(|t| t.0),
            secret: copy.unwrap_or(&certificate.spec.secret_name).clone(),
            sni: other.spec.sni.as_ref().map(|sni| sni.secret_name.clone()),
            fingerprint: active.fingerprint_sha256.clone(),
            revision: active.revision,
            former: Former::all(its),
            valid: (active.not_before.0, active.not_after.0),
            reloads,
            rollout: other.spec.rollout.clone(),
            status: other.status.as_ref().and_then(|s| s.workloads.iter().find(entry)).cloned(),
        })
    }
}

/// A certificate that a workload shall serve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    pub secret: String,
    /// The Secret of a group of names that holds it as well, and the key in that.
    pub sni: Option<(String, String)>,
    pub fingerprint: String,
    pub is_valid: bool,
    /// The number of its revision.
    pub revision: i64,
    /// What was active before it.
    pub former: Vec<Former>,
}

impl Member {
    /// The Secrets that hold it.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        [Some(self.secret.as_str()), self.sni.as_ref().map(|(secret, _)| secret.as_str())].into_iter().flatten()
    }

    /// The file in which a container has it by a Secret's mount.
    pub fn file(&self, secret: &str, mount: &Mount) -> Option<String> {
        match &self.sni {
            Some((sni, key)) if sni == secret => mount.file(key),
            _ if self.secret == secret => mount.certificate(),
            _ => None,
        }
    }
}

/// What is wanted of a workload by all the MailDomains that name it, and who decides how.
pub(super) struct Wanted<'a> {
    /// The certificates.
    pub members: Vec<Member>,
    /// The value of the annotation: their fingerprints.
    pub value: String,
    /// The MailDomain that decides, when it is another one.
    pub decider: Option<&'a Sharer>,
    /// How the one that decides wants the pods to load it.
    pub reloads: &'a [Reload],
}

impl<'a> Wanted<'a> {
    /// `None` while this MailDomain has no certificate.
    pub fn of(world: &'a World, certificate: &Certificate<'_>, view: &'a WorkloadView) -> Option<Self> {
        let active = certificate.active?;
        let object = certificate.object()?;
        let secret = certificate.secret.to_owned();
        let spec = &world.object.spec;
        let own = Member {
            secret,
            sni: spec.sni.as_ref().map(|sni| (sni.secret_name.clone(), sni::file(&world.object.name_any()))),
            fingerprint: active.fingerprint_sha256.clone(),
            is_valid: certificate.valid().is_some(),
            revision: active.revision,
            former: object.status.as_ref().map(Former::all).unwrap_or_default(),
        };
        let mut members = vec![own];
        members.extend(view.shared.iter().map(|s| Member {
            secret: s.secret.clone(),
            sni: s.sni.clone().map(|secret| (secret, sni::file(&s.name))),
            fingerprint: s.fingerprint.clone(),
            is_valid: s.valid.0 <= world.now && world.now <= s.valid.1,
            revision: s.revision,
            former: s.former.clone(),
        }));
        members.sort();
        members.dedup();
        let mut prints: Vec<&str> = members.iter().map(|m| m.fingerprint.as_str()).collect();
        prints.sort_unstable();
        prints.dedup();
        let value = prints.join(",");
        let decider = decider(world, view);
        let reloads = decider.map_or(view.reloads.as_slice(), |d| d.reloads.as_slice());
        Some(Self { members, value, decider, reloads })
    }

    /// Whether anybody would accept one of the certificates.
    pub fn is_valid(&self) -> bool {
        self.members.iter().any(|m| m.is_valid)
    }
}

/// The oldest MailDomain decides, by name among those of the same second; `None`: this one.
fn decider<'a>(world: &World, view: &'a WorkloadView) -> Option<&'a Sharer> {
    let own_age = (world.object.creation_timestamp().map(|t| t.0), world.object.name_any());
    let oldest = view.shared.iter().min_by_key(|s| (s.created, s.name.clone()))?;
    ((oldest.created, oldest.name.clone()) < own_age).then_some(oldest)
}

/// Where MailDomains want different things of one workload: said on each of them, with whose will is done.
pub(super) fn conflicts(world: &World) -> Vec<Finding> {
    let own_name = world.object.name_any();
    let mut found = Vec::new();
    for view in &world.workloads {
        let decider = decider(world, view);
        let decides = decider.map_or(own_name.as_str(), |d| d.name.as_str());
        let (reloads, rollout) =
            decider.map_or((&view.reloads, &world.object.spec.rollout), |d| (&d.reloads, &d.rollout));
        // The one that decides differs from any other; another one differs from it.
        let others = |differs: &dyn Fn(&Sharer) -> bool, own: bool| -> Vec<String> {
            let them = view.shared.iter().filter(|s| differs(s)).map(|s| s.name.clone());
            if decider.is_none() { them.collect() } else { own.then(|| decides.to_owned()).into_iter().collect() }
        };
        let mut say = |word: &str, what: &str, others: Vec<String>| {
            if let Some(other) = others.first() {
                found.push(Finding {
                    reason: word.to_owned(),
                    about: view.title(),
                    message: format!(
                        "MailDomain {other} wants another {what} for it: that of MailDomain {decides}, the oldest of \
                         those that name it, is followed; make them the same"
                    ),
                });
            }
        };
        let differs = |s: &Sharer| s.reloads != *reloads;
        say(reason::RELOAD_CONFLICT, "reload", others(&differs, view.reloads != *reloads));
        let differs = |s: &Sharer| s.rollout != *rollout;
        say(reason::ROLLOUT_CONFLICT, "rollout", others(&differs, world.object.spec.rollout != *rollout));
    }
    found
}
