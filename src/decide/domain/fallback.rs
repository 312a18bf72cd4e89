//! A MailDomain whose own certificate is disabled: the Secret that its pods mount holds a copy of the system certificate.
//!
//! Nothing is removed before the copy is in place: first the copy is written over what is in the Secret, in one update,
//! then the Secrets of the former certificate's revisions go, then the former certificate itself. Until then the former
//! certificate serves as before. When a certificate of its own is wanted again, the copy is kept up to date until that
//! certificate takes its place.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::certificate::MailCertificate;
use crate::api::domain::{CopyStatus, MailDomain};
use crate::api::keys;
use crate::api::reasons::{condition, domain as reason};
use crate::decide::conditions::{State, find};

use super::status::Said;
use super::world::{Action, CertificateView, World};

/// What is known of the copy, and of what is to go.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// The Secret that pods mount.
    pub secret: String,
    /// The namespace's system certificate.
    pub system: Option<Arc<MailCertificate>>,
    /// The former certificate, while there is one that belongs to this MailDomain.
    pub own: Option<Arc<MailCertificate>>,
    /// Secrets of the former certificate's revisions.
    pub leftovers: Vec<String>,
    /// The copy.
    pub copy: CopyView,
    /// A certificate of its own is wanted again: the copy is only kept up to date.
    pub is_ending: bool,
}

/// The copy as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyView {
    /// There is nothing to copy: no system certificate, none issued yet, or its Secret is just being written.
    NoSource,
    /// The Secret is the system certificate's own.
    Original,
    /// It is in place and up to date.
    Current(CopyStatus),
    /// There is no Secret of that name.
    Absent {
        /// resourceVersion of the source.
        source: String,
    },
    /// It holds something else that may be written over.
    Stale {
        /// resourceVersion of the source.
        source: String,
        /// resourceVersion of the Secret.
        version: String,
    },
    /// It belongs to something else; to what, and what to do.
    Foreign(String),
}

impl Fallback {
    /// The Secret for the copy: that of the former certificate, else the one that the spec names, else the one that was
    /// mounted last, else the default.
    pub fn secret_of(domain: &MailDomain, own: Option<&MailCertificate>) -> String {
        let status = domain.status.as_ref().and_then(|s| s.certificate.as_ref());
        let mounted = status.filter(|c| c.system || c.name == domain.name_any()).map(|c| c.secret_name.clone());
        own.map(|c| c.spec.secret_name.clone())
            .or_else(|| domain.spec.certificate.secret_name.clone())
            .or(mounted)
            .unwrap_or_else(|| format!("{}-tls", domain.name_any()))
    }

    /// Whether pods that mount the Secret get the system certificate.
    pub fn is_in_place(&self) -> bool {
        matches!(self.copy, CopyView::Original | CopyView::Current(_))
    }

    /// The certificate in use: the former one until the copy is in place.
    pub fn in_use(&self, domain: &MailDomain) -> CertificateView {
        match (&self.own, &self.system) {
            (Some(own), _) if !self.is_in_place() => CertificateView::Found(own.clone()),
            (_, Some(system)) => CertificateView::Found(system.clone()),
            (_, None) => CertificateView::NoSystem { name: domain.name_any() },
        }
    }

    /// Files that pods may read and that a copy of the system certificate would not have.
    fn missing(&self) -> Vec<&'static str> {
        let (Some(own), Some(system)) = (&self.own, &self.system) else { return Vec::new() };
        let (own, has) = (files(own), files(system));
        // What its spec has asked for since is not in its Secret yet.
        let is_seen = system.status.as_ref().and_then(|s| s.observed_generation) == system.metadata.generation;
        own.into_iter().filter(|file| !is_seen || !has.contains(file)).collect()
    }

    /// The system certificate, if it can serve now.
    fn serving(&self, now: Timestamp) -> Option<&MailCertificate> {
        let active = |c: &MailCertificate| c.status.as_ref().and_then(|s| s.active.clone());
        self.system.as_deref().filter(|c| active(c).is_some_and(|r| r.not_before.0 <= now && now <= r.not_after.0))
    }
}

/// The further files that a certificate's Secret has.
fn files(certificate: &MailCertificate) -> Vec<&'static str> {
    let outputs = &certificate.spec.options.outputs;
    let stores = outputs.pkcs12.as_ref();
    [
        (keys::TLS_DER, outputs.der),
        (keys::KEY_DER, outputs.der),
        (keys::BLUEMIND, outputs.bluemind),
        (keys::KEYSTORE, stores.is_some()),
        (keys::TRUSTSTORE, stores.is_some_and(|p| p.truststore)),
    ]
    .into_iter()
    .filter_map(|(file, is_there)| is_there.then_some(file))
    .collect()
}

/// What there is to do: the copy, and once it is in place what it makes superfluous.
pub(super) fn actions(world: &World) -> Vec<Action> {
    let Some(fallback) = world.fallback.as_ref().filter(|_| world.forbidden.is_none()) else { return Vec::new() };
    let Some(system) = fallback.serving(world.now).filter(|_| !world.done.overtaken) else { return Vec::new() };
    let copy = |source: &str, over: Option<&str>| Action::CopySystem {
        certificate: system.name_any(),
        from: system.spec.secret_name.clone(),
        source: source.to_owned(),
        to: fallback.secret.clone(),
        over: over.map(str::to_owned),
    };
    match &fallback.copy {
        // Pods would be without them.
        CopyView::Absent { .. } | CopyView::Stale { .. } if !fallback.missing().is_empty() => Vec::new(),
        // What a certificate of its own is about to fill needs no copy.
        CopyView::Absent { .. } if fallback.is_ending => Vec::new(),
        CopyView::Absent { source } => vec![copy(source, None)],
        CopyView::Stale { source, version } => vec![copy(source, Some(version))],
        CopyView::Original | CopyView::Current(_) if !fallback.is_ending => {
            let secrets = fallback.leftovers.iter().map(|name| Action::RemoveSecret { name: name.clone() });
            let own = fallback.own.iter().map(|own| Action::RemoveCertificate {
                name: own.name_any(),
                uid: own.metadata.uid.clone().unwrap_or_default(),
            });
            secrets.chain(own).collect()
        }
        CopyView::NoSource | CopyView::Original | CopyView::Current(_) | CopyView::Foreign(_) => Vec::new(),
    }
}

/// Why pods do not get the system certificate, if they do not.
pub(super) fn trouble(world: &World) -> Option<Said> {
    let fallback = world.fallback.as_ref().filter(|f| !f.is_ending && !f.is_in_place())?;
    let serves = match &fallback.own {
        Some(own) => format!("; until then MailCertificate {} serves on", own.name_any()),
        None => String::new(),
    };
    let Some(system) = &fallback.system else {
        let message = format!(
            "spec.certificate is disabled, and this namespace has no system certificate to fall back to: make a \
             MailCertificate with system: true{serves}"
        );
        let said = Said::new(State::False, reason::SYSTEM_CERTIFICATE_NOT_FOUND, message);
        return Some(said.stalled_if(true));
    };
    if let CopyView::Foreign(why) = &fallback.copy {
        let message = format!("{why}{serves}");
        return Some(Said::new(State::False, reason::SECRET_CONFLICT, message).stalled_if(true));
    }
    let missing = fallback.missing();
    if !missing.is_empty() {
        let message = format!(
            "the Secret {} has {}, which a copy of the system certificate would not have: give MailCertificate {} the same \
             spec.outputs, or, where nothing reads these files, take them out of spec.outputs of the own one first{serves}",
            fallback.secret,
            missing.join(", "),
            system.name_any(),
        );
        return Some(Said::new(State::False, reason::COPY_PENDING, message).stalled_if(true));
    }
    let conditions = system.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let words = match find(conditions, condition::READY) {
        Some(c) if c.status != "True" => format!(": MailCertificate {}: {}", system.name_any(), c.message),
        _ => String::new(),
    };
    let message = format!(
        "the Secret {} is to get a copy of the system certificate (MailCertificate {}){words}{serves}",
        fallback.secret,
        system.name_any(),
    );
    Some(Said::new(State::False, reason::COPY_PENDING, message))
}
