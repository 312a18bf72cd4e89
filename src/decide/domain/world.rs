//! What is known about a MailDomain, what can be done about it, and what doing it brings to light.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::fallback::Fallback;
use crate::api::certificate::{MailCertificate, MailCertificateSpec};
use crate::api::domain::{CopyStatus, MailDomain, ProxyProtocol, Reload, ServedAlgorithm, WorkloadKind};
use crate::api::endpoint::{Protocol, TlsMode};
use crate::pki::{Anchors, Chain, PemLimits};

use super::counted;
pub use super::hold::{BudgetView, Budgets};
pub use super::method::{Call, Step};
pub use super::pods::{Mount, PodView, Reading, SecretUse};
pub use super::sharing::{Former, Sharer};
use super::sni::{Plan, SniSecret, View};
use super::tlsa;

/// Everything that is known about one MailDomain in one pass.
#[derive(Clone, Debug)]
pub struct World {
    /// The MailDomain, with the status that it has.
    pub object: Arc<MailDomain>,
    /// The time of this pass.
    pub now: Timestamp,
    /// Its MailCertificate.
    pub certificate: CertificateView,
    /// The copy of the system certificate, where this MailDomain has none of its own, or had none until now.
    pub fallback: Option<Fallback>,
    /// The workloads that it names, selectors resolved, each one once.
    pub workloads: Vec<WorkloadView>,
    /// The PodDisruptionBudgets of the namespace, where they are to be respected.
    pub budgets: Budgets,
    /// What the endpoints served when they were last looked at, by [`ProbeTarget::key`]. Lives in memory: the caller
    /// hands in what the last pass left here, and an empty map after a restart.
    pub looks: BTreeMap<String, Look>,
    /// Set when the operator may not list workloads or read Secrets in this namespace. Says which RoleBinding to make.
    pub forbidden: Option<String>,
    /// Whom clients trust: see [`anchors`].
    pub anchors: Anchors,
    /// The MailDomains with which it shares a server, where it does.
    pub sni: Option<View>,
    /// What is known about its TLSA records. Lives in memory.
    pub tlsa: tlsa::Memory,
    /// What was done in this pass. Empty at its start.
    pub done: Done,
}

impl World {
    /// A world without workloads and looks, in which clients trust the Mozilla roots.
    pub fn new(object: Arc<MailDomain>, now: Timestamp, certificate: CertificateView) -> Self {
        Self {
            object,
            now,
            certificate,
            fallback: None,
            workloads: Vec::new(),
            budgets: Budgets::NotAsked,
            looks: BTreeMap::new(),
            forbidden: None,
            anchors: Anchors::mozilla(),
            sni: None,
            tlsa: tlsa::Memory::default(),
            done: Done::default(),
        }
    }
}

/// The Mozilla roots and the certificates in the active Secret's `ca.crt`, as far as it can be read.
pub fn anchors(ca_crt: Option<&[u8]>) -> Anchors {
    let own = ca_crt.and_then(|pem| Chain::from_pem(pem, &PemLimits::BUNDLE).ok());
    Anchors::mozilla().with(own.iter().flat_map(Chain::iter).cloned())
}

/// What was done in this pass: nothing is done twice in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The MailCertificate was written.
    pub applied: bool,
    /// Somebody else wrote the Secret that was to get a copy, or the MailDomain: look again.
    pub overtaken: bool,
    /// Whether the finalizer is on the MailDomain now.
    pub held: Option<bool>,
    /// Workloads that were restarted.
    pub rolled: BTreeSet<(WorkloadKind, String)>,
    /// Endpoints that were looked at.
    pub probed: BTreeSet<String>,
    /// UIDs of pods that the kubelet was asked to look at.
    pub nudged: BTreeSet<String>,
    /// What the certificate files in pods hold, by UID and Secret: the leaf's fingerprint, or why it cannot be told.
    pub read: BTreeMap<(String, String), Result<String, String>>,
    /// Pods that were reloaded, by UID: when, and why it failed if it did.
    pub reloaded: BTreeMap<String, (Timestamp, Result<(), String>)>,
}

/// The MailCertificate of a MailDomain.
#[derive(Clone, Debug, PartialEq)]
pub enum CertificateView {
    /// There is none of that name.
    NotFound {
        /// The name.
        name: String,
    },
    /// One has the name of this MailDomain's own and is not controlled by it.
    Conflict {
        /// The name.
        name: String,
        /// Who controls it (`MailDomain/other`), if anybody does.
        owner: Option<String>,
    },
    /// The MailDomain's certificate is disabled, and the namespace has no system certificate.
    NoSystem {
        /// The MailDomain's name.
        name: String,
    },
    /// It exists, and this MailDomain may use it.
    Found(Arc<MailCertificate>),
}

impl CertificateView {
    /// The name of the MailCertificate to look for: the one that `ref` names, else the MailDomain's own name.
    pub fn name_for(domain: &MailDomain) -> String {
        let reference = domain.spec.certificate.reference.as_ref();
        reference.map_or_else(|| domain.name_any(), |r| r.name.clone())
    }

    /// Judges what was found under [`CertificateView::name_for`]. One that a `ref` names may belong to anybody.
    pub fn of(domain: &MailDomain, found: Option<Arc<MailCertificate>>) -> Self {
        let Some(certificate) = found else {
            return Self::NotFound { name: Self::name_for(domain) };
        };
        if domain.spec.certificate.reference.is_some() {
            return Self::Found(certificate);
        }
        let owner = certificate.owner_references().iter().find(|o| o.controller == Some(true));
        match owner {
            Some(o) if domain.uid().as_deref() == Some(o.uid.as_str()) => Self::Found(certificate),
            other => {
                let owner = other.map(|o| format!("{}/{}", o.kind, o.name));
                Self::Conflict { name: certificate.name_any(), owner }
            }
        }
    }
}

/// A workload that the MailDomain names.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadView {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name, or the selector's text when nothing matches it.
    pub name: String,
    /// What was found.
    pub found: WorkloadFound,
    /// How this MailDomain wants its pods to load a certificate; empty: by a restart.
    pub reloads: Vec<Reload>,
    /// Other MailDomains that name this workload. With their certificates, all that share it want the same annotation.
    pub shared: Vec<Sharer>,
    /// Its pods, where they have to be known.
    pub pods: Pods,
}

/// What was found under a workload's name.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkloadFound {
    /// Nothing.
    NotFound,
    /// It exists.
    Found(Box<FoundWorkload>),
}

/// A workload that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundWorkload {
    /// Its UID.
    pub uid: String,
    /// The annotation [`keys::POD_TEMPLATE_FINGERPRINT`](crate::api::keys::POD_TEMPLATE_FINGERPRINT) of its pod template.
    pub annotation: Option<String>,
    /// Identifies the pod template: changes when, and only when, pods are replaced.
    pub template: String,
    /// How far its rollout is.
    pub progress: Progress,
    /// Selects its pods.
    pub selector: LabelSelector,
    /// The labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// Which container reads which Secret.
    pub uses: Vec<SecretUse>,
    /// Whether a restart takes pods away before others have taken their place.
    pub takes_away: bool,
}

/// The pods of a workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Pods {
    /// They were not asked for.
    #[default]
    NotAsked,
    /// The operator may not list them. Says what to set.
    Forbidden(String),
    /// These, by name.
    Listed(Vec<PodView>),
}

/// Where a certificate is to be read in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The container.
    pub container: String,
    /// The path in it.
    pub path: String,
}

/// How far a rollout is, as `kubectl rollout status` would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every pod has the current template and is available.
    RolledOut,
    /// Pods are being replaced.
    RollingOut(String),
    /// It takes a person, whatever the certificate. The text says why and what to do.
    Blocked(String),
    /// Its pods do not become available.
    Failed(String),
}

/// A look at an endpoint, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// Looks in a row that found a problem, with this one.
    pub failures: u32,
    /// What was found. Judged anew in every pass, since time alone can change the verdict.
    pub found: Sighting,
    /// The active fingerprint at that time.
    pub fingerprint: String,
    /// The workloads' pod templates at that time.
    pub templates: String,
}

/// What an endpoint showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A chain, after a complete handshake.
    Chain {
        /// The address that answered.
        address: String,
        /// DER, the leaf first. Endpoints that serve the same share it in memory.
        chain: Arc<[Vec<u8>]>,
    },
    /// No chain.
    Failure(LookFailure),
}

/// An endpoint served a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The address that answered (`192.0.2.1:993`).
    pub address: String,
    /// DER, the leaf first.
    pub chain: Vec<Vec<u8>>,
}

/// A look gave no chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookFailure {
    /// The verdict's reason, such as `starttls-not-supported`.
    pub word: String,
    /// What is wrong, bounded and printable.
    pub message: String,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// `IMAPS mail.example.com:993`, then ` via ADDRESS` when one is set.
    pub key: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// How TLS begins.
    pub tls: TlsMode,
    /// The name for SNI, and to connect to when `address` is not set, in A-labels.
    pub host: String,
    /// Where to connect in place of `host`.
    pub address: Option<String>,
    /// TCP port.
    pub port: u16,
    /// The name to say in EHLO.
    pub ehlo_name: String,
    /// The port in pods.
    pub pod_port: u16,
    /// Whether to send `host` as SNI.
    pub sni: bool,
    /// The only algorithm of keys to take.
    pub algorithm: Option<ServedAlgorithm>,
    /// The header that the listener wants.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Something to do about a MailDomain.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the MailDomain's own MailCertificate, controlled by it, or give it this spec. Fields that are not set must
    /// not stay set. Brings [`Fact::CertificateApplied`].
    ApplyCertificate {
        /// Its name.
        name: String,
        /// Its spec.
        spec: Box<MailCertificateSpec>,
    },
    /// Set the pod template's annotation, which restarts the pods. Brings [`Fact::Rolled`].
    Roll {
        /// The workload's kind.
        kind: WorkloadKind,
        /// The workload's name.
        name: String,
        /// The annotation's value.
        value: String,
    },
    /// Read the Secret with a shared server's tables. Brings [`Fact::Sni`].
    ReadSni {
        /// Its name.
        name: String,
    },
    /// Write it. Brings [`Fact::Sni`] or [`Fact::SniWaits`].
    WriteSni {
        /// Its name.
        name: String,
        /// What it shall hold.
        plan: Box<Plan>,
        /// Keys of it that go.
        stale: BTreeSet<String>,
        /// The resourceVersion that it must still have; none: it must not exist.
        over: Option<String>,
    },
    /// Copy the system certificate's Secret: everything in one update, to the resourceVersions that must still hold. Brings
    /// [`Fact::Copied`] or [`Fact::CopyOvertaken`].
    CopySystem {
        /// The system certificate.
        certificate: String,
        /// Its Secret.
        from: String,
        /// The resourceVersion that it must have.
        source: String,
        /// The Secret to write.
        to: String,
        /// The resourceVersion that it must have; none: it must not exist.
        over: Option<String>,
    },
    /// Delete the Secret of a revision of the former certificate. Brings [`Fact::SecretRemoved`].
    RemoveSecret {
        /// Its name.
        name: String,
    },
    /// Delete the former certificate. Brings [`Fact::CertificateRemoved`].
    RemoveCertificate {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Give a pod an annotation: its kubelet then looks at it at once, and brings changed Secrets in. Brings
    /// [`Fact::Nudged`].
    Nudge {
        /// Name of the pod.
        pod: String,
        /// Its UID.
        uid: String,
        /// The annotation's value.
        value: String,
    },
    /// Read which certificate has arrived in a pod, from the first of the places that can be read. Brings [`Fact::Read`].
    Read {
        /// Name of the pod.
        pod: String,
        /// Its UID.
        uid: String,
        /// The Secret, with the key where it holds several certificates.
        secret: String,
        /// Where it is mounted.
        places: Vec<Place>,
    },
    /// Have the servers in a pod load their files, one step after the other. Brings [`Fact::Reloaded`].
    Reload {
        /// Name of the pod.
        pod: String,
        /// Its UID.
        uid: String,
        /// Its address.
        ip: Option<String>,
        /// What to do.
        steps: Vec<Step>,
    },
    /// Look at an endpoint. Brings [`Fact::Probed`].
    Probe(ProbeTarget),
    /// Look at TLSA records, or publish or withdraw some. Brings [`Fact::Tlsa`].
    Tlsa(tlsa::Step),
    /// Put the finalizer on: there are records to be withdrawn before the MailDomain goes. Brings [`Fact::Held`] or
    /// [`Fact::Overtaken`].
    Hold,
    /// Take it off. Brings the same.
    Release,
}

/// The chart value that lets the operator run commands in pods.
pub const RELOAD_VALUE: &str = "reload.exec.enabled";
/// The chart value that lets the operator list pods to look at each.
pub const PER_POD_VALUE: &str = "probe.perPod.enabled";
/// The chart value that lets the operator list PodDisruptionBudgets.
pub const BUDGETS_VALUE: &str = "rollout.disruptionBudgets.enabled";

/// What an action brought to light.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The MailCertificate as the API server has it now.
    CertificateApplied(Arc<MailCertificate>),
    /// The workload as the API server has it now. What others want of it is kept from before.
    Rolled(WorkloadView),
    /// The Secret with a shared server's tables.
    Sni(SniSecret),
    /// It cannot be written yet.
    SniWaits(String),
    /// The copy as it was written.
    Copied(CopyStatus),
    /// Somebody else wrote one of the Secrets meanwhile.
    CopyOvertaken,
    /// The Secret is gone.
    SecretRemoved(String),
    /// The former certificate is gone.
    CertificateRemoved,
    /// The kubelet was asked to look at the pod with this UID, if that could be done.
    Nudged(String),
    /// What the certificate file in a pod holds.
    Read {
        /// UID of the pod.
        uid: String,
        /// The Secret.
        secret: String,
        /// SHA-256 over the leaf's DER, or why it could not be read.
        result: Result<String, String>,
    },
    /// The steps were done, or one of them failed.
    Reloaded {
        /// UID of the pod.
        uid: String,
        /// When.
        at: Timestamp,
        /// Why it failed.
        result: Result<(), String>,
    },
    /// What an endpoint showed.
    Probed {
        /// [`ProbeTarget::key`].
        key: String,
        /// When.
        at: Timestamp,
        /// What.
        result: Result<Served, LookFailure>,
    },
    /// What became of a step about TLSA records.
    Tlsa(tlsa::Outcome),
    /// The finalizer was put on (`true`) or taken off.
    Held(bool),
    /// Somebody else wrote the MailDomain meanwhile.
    Overtaken,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplyCertificate { name, spec } => {
                write!(f, "write MailCertificate {name} for {}", spec.dns_names.join(", "))
            }
            Self::Roll { kind, name, .. } => write!(f, "restart the pods of {kind:?} {name}"),
            Self::ReadSni { name } => write!(f, "read the Secret {name} with the tables of names"),
            Self::WriteSni { name, plan, .. } => {
                write!(f, "write {} and the tables to the Secret {name}", counted(plan.files.len(), "file"))
            }
            Self::CopySystem { certificate, to, .. } => {
                write!(f, "copy the system certificate, MailCertificate {certificate}, to Secret {to}")
            }
            Self::RemoveSecret { name } => write!(f, "delete Secret {name} of the former certificate"),
            Self::RemoveCertificate { name, .. } => write!(f, "delete the former MailCertificate {name}"),
            Self::Nudge { pod, .. } => write!(f, "have the kubelet look at pod {pod}"),
            Self::Read { pod, secret, .. } => write!(f, "read what has arrived of Secret {secret} in pod {pod}"),
            Self::Reload { pod, steps, .. } => write!(f, "reload pod {pod} in {} steps", steps.len()),
            Self::Probe(target) => write!(f, "look at {}", target.key),
            Self::Tlsa(step) => step.fmt(f),
            Self::Hold => f.write_str("hold the MailDomain until its TLSA records are withdrawn"),
            Self::Release => f.write_str("let go of the MailDomain"),
        }
    }
}
