//! The MailCertificate of a MailDomain: its spec, whether it is good, and whether it covers the names.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::certificate::{LegacyName, MailCertificate, OnUnreachable, Revision};
use crate::api::reasons::{condition, domain as reason};
use crate::decide::conditions::{State, find};
use crate::pki::{covers, to_ascii};

use super::names::{Names, desired, same_spec};
use super::status::Said;
use super::verdict::Expected;
use super::world::{Action, CertificateView, World};
use super::{fallback, first_three};

/// What is there of a certificate.
pub(super) struct Certificate<'a> {
    view: &'a CertificateView,
    object: Option<&'a MailCertificate>,
    /// The active revision, valid or not.
    pub active: Option<&'a Revision>,
    /// The Secret that pods mount.
    pub secret: &'a str,
    /// Whether that Secret holds it, or will without our doing.
    pub is_mounted: bool,
    /// Why pods do not get the system certificate that they should get.
    why_not: Option<Said>,
    own: bool,
    now: Timestamp,
}

impl<'a> Certificate<'a> {
    pub fn of(world: &'a World) -> Self {
        let object = match &world.certificate {
            CertificateView::Found(certificate) => Some(certificate.as_ref()),
            CertificateView::NotFound { .. } | CertificateView::Conflict { .. } | CertificateView::NoSystem { .. } => {
                None
            }
        };
        let fallback = world.fallback.as_ref().filter(|f| !f.is_ending);
        let secret = match (fallback, object) {
            (Some(fallback), _) => &fallback.secret,
            (None, Some(object)) => &object.spec.secret_name,
            (None, None) => "",
        };
        let active = object.and_then(|c| c.status.as_ref()).and_then(|s| s.active.as_ref());
        let own = world.object.spec.certificate.template.is_some();
        let is_mounted = fallback.is_none_or(|f| f.own.is_some() || f.is_in_place());
        let why_not = fallback::trouble(world);
        Self { view: &world.certificate, object, active, secret, is_mounted, why_not, own, now: world.now }
    }

    /// The active revision, unless it has expired or is not valid yet.
    pub fn valid(&self) -> Option<&'a Revision> {
        self.active.filter(|r| r.not_before.0 <= self.now && self.now <= r.not_after.0)
    }

    /// When time alone changes what is to be said.
    pub fn dates(&self) -> impl Iterator<Item = Timestamp> + use<> {
        self.active.into_iter().flat_map(|r| [r.not_before.0, r.not_after.0]).collect::<Vec<_>>().into_iter()
    }

    pub fn name(&self) -> String {
        match self.view {
            CertificateView::Found(certificate) => certificate.name_any(),
            CertificateView::NotFound { name }
            | CertificateView::Conflict { name, .. }
            | CertificateView::NoSystem { name } => name.clone(),
        }
    }

    /// The MailCertificate, if this MailDomain may use it.
    pub fn object(&self) -> Option<&'a MailCertificate> {
        self.object
    }

    /// What endpoints should serve; nothing before there is an active revision.
    pub fn expected(&self) -> Option<Expected<'a>> {
        let object = self.object?;
        Some(Expected {
            certificate: object.metadata.name.as_deref().unwrap_or_default(),
            secret: self.secret,
            active: self.active?,
            former: object.status.iter().flat_map(|s| s.former()).collect(),
        })
    }

    /// Why the certificate is no good, if it is not.
    pub fn trouble(&self) -> Option<Said> {
        let name = self.name();
        if self.why_not.is_some() {
            return self.why_not.clone();
        }
        let Some(object) = self.object else { return Some(self.absent(&name)) };
        let not_ready = |message: String| Some(Said::new(State::False, reason::CERTIFICATE_NOT_READY, message));
        let conditions = object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        let ready = find(conditions, condition::READY);
        let its_words = ready.filter(|c| c.status != "True").map(|c| format!(": {}", c.message)).unwrap_or_default();
        let secret = self.secret;
        let stalled = find(conditions, condition::STALLED).is_some_and(|c| c.status == "True");
        let trouble = match (self.active, ready) {
            (None, None) => not_ready(format!("MailCertificate {name}: nothing has been issued yet")),
            (None, _) => not_ready(format!("MailCertificate {name} has no certificate yet{its_words}")),
            (Some(r), _) if self.now > r.not_after.0 => not_ready(format!(
                "the certificate of MailCertificate {name} (Secret {secret}) expired at {}{its_words}",
                r.not_after.0
            )),
            (Some(r), _) if self.now < r.not_before.0 => not_ready(format!(
                "the certificate of MailCertificate {name} (Secret {secret}) is not valid before {}: a clock is wrong",
                r.not_before.0
            )),
            (_, Some(c)) if c.status == "True" && is_current(object) => None,
            (_, Some(c)) if c.status != "True" => not_ready(format!("MailCertificate {name} is not ready{its_words}")),
            _ => not_ready(format!("MailCertificate {name} is being brought up to its new spec")),
        };
        trouble.map(|said| said.stalled_if(stalled))
    }

    fn absent(&self, name: &str) -> Said {
        match self.view {
            CertificateView::Conflict { owner, .. } => {
                let owner = owner.as_ref().map_or_else(|| "nobody's".to_owned(), |o| format!("{o}'s"));
                let message = format!(
                    "MailCertificate {name} exists and is {owner}, not this MailDomain's; use it with \
                     spec.certificate.ref, or delete or rename one of the two"
                );
                Said::new(State::False, reason::CERTIFICATE_CONFLICT, message).stalled_if(true)
            }
            _ if self.own => {
                let message =
                    format!("MailCertificate {name} does not exist yet; it is made from spec.certificate.template");
                Said::new(State::False, reason::CERTIFICATE_NOT_FOUND, message)
            }
            _ => {
                let message = format!(
                    "there is no MailCertificate {name} in this namespace; make it, or correct spec.certificate.ref"
                );
                Said::new(State::False, reason::CERTIFICATE_NOT_FOUND, message).stalled_if(true)
            }
        }
    }

    /// `NamesMatch`.
    pub fn names_match(&self, names: &Names) -> Said {
        if !names.problems.is_empty() {
            let message = first_three(&names.problems, "; ");
            return Said::new(State::False, reason::INVALID_SPEC, message).stalled_if(true);
        }
        let (Some(object), Some(active)) = (self.object, self.active) else {
            let said = self.trouble();
            let (word, message) =
                said.map_or((reason::CERTIFICATE_NOT_READY, String::new()), |s| (s.reason, s.message));
            return Said::new(State::Unknown, word, message);
        };
        let lacks = |name: &str| !active.dns_names.iter().any(|have| covers(have, name));
        let missing: Vec<&str> = names.wanted.iter().map(String::as_str).filter(|n| lacks(n)).collect();
        if !missing.is_empty() {
            return self.missing(object, &missing);
        }
        let left_out: Vec<&LegacyName> = names.legacy.iter().filter(|l| lacks(&l.name)).collect();
        let say =
            |l: &&&LegacyName| format!("legacy name {} is left out: {}", l.name, self.why_omitted(object, &l.name));
        let is_reported = |l: &&&LegacyName| l.on_unreachable == OnUnreachable::Report;
        let reported: Vec<String> = left_out.iter().filter(is_reported).map(|l| say(&l)).collect();
        if !reported.is_empty() {
            return Said::new(State::False, reason::LEGACY_NAME_OMITTED, first_three(&reported, "; "));
        }
        let dropped: Vec<String> = left_out.iter().map(|l| say(&l)).collect();
        let mut message =
            format!("the certificate covers {}", first_three(&names.wanted.iter().collect::<Vec<_>>(), ", "));
        if !dropped.is_empty() {
            message.push_str(&format!("; {}", first_three(&dropped, "; ")));
        }
        Said::new(State::True, reason::COVERED, message)
    }

    fn missing(&self, object: &MailCertificate, missing: &[&str]) -> Said {
        let asked_for = |name: &str| {
            let wanted = object.spec.dns_names.iter().filter_map(|n| to_ascii(n).ok());
            wanted.into_iter().any(|n| covers(&n, name))
        };
        let is_coming = missing.iter().all(|n| asked_for(n));
        if let Some(import) = &object.spec.import {
            let message = format!(
                "{} not covered by the certificate of MailCertificate {}, which is imported: put one that covers {} into \
                 Secret {}",
                match missing {
                    [one] => format!("{one} is"),
                    _ => format!("{} are", first_three(missing, ", ")),
                },
                object.name_any(),
                if missing.len() == 1 { "it" } else { "them" },
                import.secret_ref.name,
            );
            return Said::new(State::False, reason::NAME_MISSING, message).stalled_if(true);
        }
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let advice = match (is_coming || self.own, missing.len()) {
            (true, 1) => "; a certificate with it is being issued",
            (true, _) => "; a certificate with them is being issued",
            (false, 1) => "; add it to its spec.dnsNames",
            (false, _) => "; add them to its spec.dnsNames",
        };
        let message = format!(
            "{} {verb} not in the certificate of MailCertificate {} (Secret {}){advice}",
            first_three(missing, ", "),
            object.name_any(),
            self.secret,
        );
        Said::new(State::False, reason::NAME_MISSING, message).stalled_if(!is_coming && !self.own)
    }

    fn why_omitted(&self, object: &MailCertificate, name: &str) -> String {
        let omitted = object.status.iter().flat_map(|s| &s.omitted_names);
        let same = |text: &str| to_ascii(text).is_ok_and(|n| n == name);
        let spec = &object.spec;
        let asked_for = spec.dns_names.iter().any(|n| same(n)) || spec.legacy_dns_names.iter().any(|l| same(&l.name));
        if spec.import.is_some() {
            return format!(
                "the certificate, which is imported, does not cover it (MailCertificate {})",
                object.name_any()
            );
        }
        match omitted.into_iter().find(|o| same(&o.name)) {
            Some(omitted) => omitted.problem.clone(),
            None if asked_for || self.own => "a certificate with it is being issued".to_owned(),
            None => format!("add it to spec.legacyDNSNames of MailCertificate {}", object.name_any()),
        }
    }
}

/// Whether the status speaks of the spec as it is.
fn is_current(object: &MailCertificate) -> bool {
    object.status.as_ref().is_some_and(|s| s.observed_generation == object.metadata.generation)
}

/// Gives the MailDomain's own MailCertificate its spec, when it has another one.
pub(super) fn apply(world: &World, names: &Names) -> Option<Action> {
    world.object.spec.certificate.template.as_ref()?;
    if world.done.applied {
        return None;
    }
    let spec = desired(&world.object, names).ok()?;
    let is_wanted = match &world.certificate {
        CertificateView::NotFound { .. } => true,
        CertificateView::Conflict { .. } | CertificateView::NoSystem { .. } => false,
        CertificateView::Found(c) => c.metadata.deletion_timestamp.is_none() && !same_spec(&c.spec, &spec),
    };
    is_wanted.then(|| Action::ApplyCertificate { name: world.object.name_any(), spec: Box::new(spec) })
}
