//! A mail domain with a real CA, and the world around it.

use std::sync::{Arc, LazyLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::certificate::{MailCertificate, MailCertificateStatus, Revision};
use crate::api::domain::{CopyStatus, MailDomain, MailDomainStatus, WorkloadKind};
use crate::decide::Decision;
use crate::decide::domain::world::{
    Action, CertificateView, Fact, FoundWorkload, LookFailure, Mount, PodView, Progress, Reading, SecretUse, Served,
    Sharer, WorkloadFound, WorkloadView, World, anchors,
};
use crate::decide::domain::{decide, names::desired_certificate};
use crate::pki::subject::{SubjectSpec, Usage};
use crate::pki::{CaKeyPair, Chain, KeySpec, LeafSpec, PrivateKey};

/// 2026-06-01T00:00:00Z.
pub const NOW: Timestamp = Timestamp::constant(1_780_272_000, 0);
pub const HOST: &str = "mail.example.com";

pub fn hours(n: i64) -> SignedDuration {
    SignedDuration::from_hours(n)
}

/// A CA of its own, and its certificate in PEM.
pub struct Authority {
    pub pair: CaKeyPair,
    pub pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let pem = params.self_signed(&key).unwrap().pem();
        let pair = CaKeyPair::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes(), None, NOW).unwrap();
        Self { pair, pem }
    }

    /// A leaf that was issued an hour ago and is good for `lifetime` from then on.
    pub fn leaf(&self, names: &[&str], lifetime: SignedDuration) -> Chain {
        let key = PrivateKey::generate(&KeySpec::P256).unwrap();
        let start = NOW - hours(1);
        let spec = LeafSpec {
            subject: SubjectSpec { dns_names: names.iter().map(|n| (*n).to_owned()).collect(), ..Default::default() },
            usages: vec![Usage::ServerAuth],
            not_before: start,
            not_after: start + lifetime,
            serial: None,
        };
        self.pair.sign(key.spki_der(), &spec).unwrap()
    }
}

pub static OURS: LazyLock<Authority> = LazyLock::new(|| Authority::new("Our CA"));
pub static THEIRS: LazyLock<Authority> = LazyLock::new(|| Authority::new("Their CA"));
/// Revision 1, replaced by [`SECOND`].
pub static FIRST: LazyLock<Chain> = LazyLock::new(|| OURS.leaf(&[HOST], hours(25)));
/// Revision 2, active.
pub static SECOND: LazyLock<Chain> = LazyLock::new(|| OURS.leaf(&[HOST, "imap.example.com"], hours(2160)));

pub fn print(chain: &Chain) -> String {
    chain.leaf().fingerprint.to_string()
}

pub fn revision(number: i64, chain: &Chain) -> Revision {
    let leaf = chain.leaf();
    Revision {
        revision: number,
        serial: leaf.serial.clone(),
        fingerprint_sha256: leaf.fingerprint.to_string(),
        spki_sha256: leaf.spki_sha256.to_string(),
        not_before: Time(leaf.not_before),
        not_after: Time(leaf.not_after),
        issuer: leaf.issuer.clone(),
        dns_names: leaf.dns_names.clone(),
        issuer_ref: Some(serde_json::from_value(json!({"name": "ours"})).unwrap()),
        key: "ECDSA P-256".to_owned(),
        request_sha256: None,
        authority_spki_sha256: None,
        chain: None,
        authorities: Vec::new(),
        ari_id: None,
        state: None,
        reason: None,
        message: None,
        approved_by: None,
        key_since: None,
        secret_name: None,
        secret_resource_version: None,
    }
}

/// The MailDomain `example-com` with a template; `change` is merged into its spec.
pub fn domain(change: serde_json::Value) -> MailDomain {
    let mut spec = json!({
        "domain": "example.com",
        "externalURL": "https://mail.example.com",
        "certificate": {"template": {"issuerRef": {"name": "ours"}}},
        "endpoints": [{"protocol": "IMAPS"}, {"protocol": "SMTP"}],
        "workloads": [{"kind": "Deployment", "name": "postfix"}],
    });
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let mut domain = MailDomain::new("example-com", serde_json::from_value(spec).unwrap());
    domain.metadata.namespace = Some("mail".to_owned());
    domain.metadata.uid = Some("uid-1".to_owned());
    domain.metadata.generation = Some(3);
    domain
}

/// The Ready MailCertificate of a MailDomain with a template, revision 2 active.
pub fn certificate(domain: &MailDomain) -> MailCertificate {
    let spec = desired_certificate(domain).unwrap_or_else(|_| {
        let spec = json!({"issuerRef": {"name": "ours"}, "secretName": "example-com-tls", "dnsNames": [HOST]});
        serde_json::from_value(spec).unwrap()
    });
    let mut certificate = MailCertificate::new("example-com", spec);
    certificate.metadata.generation = Some(1);
    certificate.metadata.owner_references = Some(vec![OwnerReference {
        kind: "MailDomain".to_owned(),
        name: "example-com".to_owned(),
        uid: "uid-1".to_owned(),
        controller: Some(true),
        ..Default::default()
    }]);
    certificate.status = Some(MailCertificateStatus {
        observed_generation: Some(1),
        conditions: vec![condition("Ready", "True", "Active", "")],
        active: Some(revision(2, &SECOND)),
        previous: vec![revision(1, &FIRST)],
        ..Default::default()
    });
    certificate
}

pub fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(NOW - hours(1)),
        observed_generation: Some(1),
    }
}

pub fn workload(name: &str, annotation: Option<&str>, progress: Progress) -> WorkloadView {
    let found = FoundWorkload {
        uid: "uid-w".to_owned(),
        annotation: annotation.map(str::to_owned),
        template: "7".to_owned(),
        progress,
        selector: Default::default(),
        labels: [("app".to_owned(), "mail".to_owned())].into(),
        uses: Vec::new(),
        takes_away: true,
    };
    let mut view = WorkloadView::not_found(WorkloadKind::Deployment, name);
    view.found = WorkloadFound::Found(Box::new(found));
    view
}

/// What was found of a workload, to be changed.
pub fn found(view: &mut WorkloadView) -> &mut FoundWorkload {
    let WorkloadFound::Found(found) = &mut view.found else { panic!("not found") };
    found
}

/// A ready pod that mounts the Secret in its one container.
pub fn pod(name: &str) -> PodView {
    PodView {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        ip: Some("10.0.0.1".to_owned()),
        ready: true,
        created: Some(NOW - hours(100)),
        annotation: None,
        is_ending: false,
        restarts: 0,
        containers: vec!["postfix".to_owned()],
        ports: [25, 993].into(),
        uses: vec![SecretUse {
            secret: "example-com-tls".to_owned(),
            container: "postfix".to_owned(),
            how: Reading::Folder(Mount { folder: "/tls".to_owned(), items: None }),
        }],
    }
}

/// The MailDomain `name`, older than that of [`domain`], with a certificate of that fingerprint in Secret `<name>-tls`.
pub fn sharer(name: &str, fingerprint: &str) -> Sharer {
    Sharer {
        name: name.to_owned(),
        created: None,
        secret: format!("{name}-tls"),
        sni: None,
        fingerprint: fingerprint.to_owned(),
        revision: 2,
        former: Vec::new(),
        valid: (NOW - hours(1), NOW + hours(2000)),
        reloads: Vec::new(),
        rollout: Default::default(),
        status: None,
    }
}

/// All is well, except that no endpoint has been looked at.
pub fn world(domain: MailDomain) -> World {
    let certificate = certificate(&domain);
    let found = CertificateView::of(&domain, Some(Arc::new(certificate)));
    let mut world = World::new(Arc::new(domain), NOW, found);
    world.anchors = anchors(Some(OURS.pem.as_bytes()));
    if !world.object.spec.workloads.is_empty() {
        world.workloads = vec![workload("postfix", Some(&print(&SECOND)), Progress::RolledOut)];
    }
    world
}

/// Changes the MailCertificate of a world.
pub fn change(world: &mut World, change: impl FnOnce(&mut MailCertificate)) {
    let CertificateView::Found(certificate) = &world.certificate else { panic!("there is no certificate") };
    let mut certificate = certificate.as_ref().clone();
    change(&mut certificate);
    world.certificate = CertificateView::Found(Arc::new(certificate));
}

pub fn served(chain: &Chain) -> Result<Served, LookFailure> {
    let chain = chain.ders().iter().map(|der| der.to_vec()).collect();
    Ok(Served { address: "192.0.2.1:993".to_owned(), chain })
}

/// What the world around the operator answers.
pub struct Outside {
    pub endpoints: Result<Served, LookFailure>,
    /// The fingerprint of what has arrived in pods.
    pub arrived: Result<String, String>,
    /// How reloads end.
    pub reloads: Result<(), String>,
}

impl Outside {
    pub fn serving(chain: &Chain) -> Self {
        Self { endpoints: served(chain), arrived: Ok(print(chain)), reloads: Ok(()) }
    }

    fn act(&self, world: &World, action: &Action) -> Fact {
        match action {
            Action::ApplyCertificate { name, spec } => {
                let mut certificate = match &world.certificate {
                    CertificateView::Found(certificate) => certificate.as_ref().clone(),
                    _ => MailCertificate::new(name, spec.as_ref().clone()),
                };
                certificate.spec = spec.as_ref().clone();
                certificate.metadata.generation = Some(certificate.metadata.generation.unwrap_or(0) + 1);
                Fact::CertificateApplied(Arc::new(certificate))
            }
            Action::Roll { kind, name, value } => {
                let mut view = workload(name, Some(value), Progress::RollingOut("0 of 1 pods are updated".to_owned()));
                view.kind = *kind;
                Fact::Rolled(view)
            }
            Action::ReadSni { .. } | Action::WriteSni { .. } => Fact::SniWaits("nobody does it here".to_owned()),
            Action::CopySystem { source, .. } => Fact::Copied(CopyStatus {
                source_resource_version: source.clone(),
                resource_version: "copied".to_owned(),
            }),
            Action::RemoveSecret { name } => Fact::SecretRemoved(name.clone()),
            Action::RemoveCertificate { .. } => Fact::CertificateRemoved,
            Action::Nudge { uid, .. } => Fact::Nudged(uid.clone()),
            Action::Read { uid, secret, .. } => {
                Fact::Read { uid: uid.clone(), secret: secret.clone(), result: self.arrived.clone() }
            }
            Action::Reload { uid, .. } => {
                Fact::Reloaded { uid: uid.clone(), at: world.now, result: self.reloads.clone() }
            }
            Action::Probe(target) => {
                Fact::Probed { key: target.key.clone(), at: world.now, result: self.endpoints.clone() }
            }
            Action::Tlsa(_) | Action::Hold | Action::Release => panic!("no TLSA records are wanted here: {action}"),
        }
    }

    /// One pass, as the controller does it. Panics when it does not come to an end.
    pub fn pass(&self, world: &mut World) -> (Vec<Action>, Decision<Action, MailDomainStatus>) {
        let mut all = Vec::new();
        for _ in 0..6 {
            let decision = decide(world);
            if decision.actions.is_empty() {
                return (all, decision);
            }
            for action in decision.actions {
                let fact = self.act(world, &action);
                world.learn(fact);
                all.push(action);
            }
        }
        panic!("no end after {all:?}");
    }
}

/// `Ready False NotIssued: message`, one line for each condition.
pub fn said(status: &MailDomainStatus, type_: &str) -> String {
    let c = status.conditions.iter().find(|c| c.type_ == type_);
    c.map_or_else(|| "absent".to_owned(), |c| format!("{} {}: {}", c.status, c.reason, c.message))
}

/// The world of the next pass: what was reported is in the object, and the pass is new.
pub fn next_pass(world: &World, status: MailDomainStatus, after: SignedDuration) -> World {
    let mut next = world.clone();
    let mut object = world.object.as_ref().clone();
    object.status = Some(status);
    next.object = Arc::new(object);
    next.done = Default::default();
    next.now = world.now + after;
    next
}
