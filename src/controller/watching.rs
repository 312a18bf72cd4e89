//! What a change of mailcert's own objects means for the others.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kube::ResourceExt;

use super::caches::{Kinds, Watcher};
use super::context::Memory;
use super::index::Key;
use super::open_orders::OpenOrders;
use super::relations::{Relations, issuer_key, issuer_of, key};
use crate::api::certificate::ChallengeType;
use crate::api::{MailCertificate, MailDomain, MailIssuer, MailTrustBundle};
use crate::decide::certificate::world::Dependent;
use crate::decide::conditions;
use crate::decide::domain::world::CertificateView;
use crate::operating::metrics::Metrics;
use crate::solvers::http01::responder::{ChallengeTable, Entry};
use crate::solvers::tls_alpn01::responder::{AlpnEntry, AlpnTable};

/// What a change of an own kind means for the others.
pub struct Watching {
    /// To ask for passes.
    pub kinds: Arc<Kinds>,
    /// Kept up to date.
    pub relations: Arc<Relations>,
    /// Kept up to date.
    pub challenges: ChallengeTable,
    /// Kept up to date.
    pub tls_challenges: AlpnTable,
    /// Orders that an earlier leader made count too.
    pub open_orders: Arc<OpenOrders>,
    /// What each MailDomain last said about which certificate, hashed.
    pub dependents: Memory<(Key, u64)>,
    /// Series of deleted objects go.
    pub metrics: Arc<Metrics>,
}

impl Watcher<MailIssuer> for Watching {
    fn changed(&self, object: &MailIssuer, _: bool) {
        self.relations.issuer(object);
        for user in self.relations.users.of(&key(object)) {
            self.kinds.certificates.trigger(&user);
        }
    }
    fn gone(&self, key: &Key) {
        self.relations.issuer_gone(key);
        for user in self.relations.users.of(key) {
            self.kinds.certificates.trigger(&user);
        }
    }
}

impl Watcher<MailCertificate> for Watching {
    fn changed(&self, object: &MailCertificate, news: bool) {
        let own = key(object);
        let was_system = self.relations.systems.of(&own.0).contains(&own);
        self.relations.certificate(object);
        if object.spec.system || was_system {
            self.tell_fallbacks(&own, news);
        }
        let order = object.status.as_ref().and_then(|s| s.attempt.as_ref()).and_then(|a| a.order.as_ref());
        if let (Some(_), Some(issuer)) = (order, issuer_of(object)) {
            self.open_orders.enter(&issuer, &own, usize::MAX);
        }
        let open = order.map(|o| &o.challenges[..]).unwrap_or_default();
        let of = |kind| open.iter().filter(move |c| c.type_ == kind);
        let http = of(ChallengeType::Http01).map(|c| Entry {
            host: c.name.clone(),
            token: c.token.clone(),
            key_authorization: c.key_authorization.clone(),
        });
        let tls = of(ChallengeType::TlsAlpn01)
            .map(|c| AlpnEntry { host: c.name.clone(), key_authorization: c.key_authorization.clone() });
        let object_key = format!("{}/{}", own.0, own.1);
        self.challenges.replace_for(object_key.clone(), http.collect());
        self.tls_challenges.replace_for(object_key, tls.collect());
        self.tell_domains(&own);
    }
    fn gone(&self, key: &Key) {
        if self.relations.systems.of(&key.0).contains(key) {
            self.relations.certificate_gone(key);
            self.tell_fallbacks(key, true);
        }
        self.relations.certificate_gone(key);
        self.challenges.remove(&format!("{}/{}", key.0, key.1));
        self.tls_challenges.remove(&format!("{}/{}", key.0, key.1));
        self.metrics.remove_certificate(&key.0, &key.1);
        self.tell_domains(key);
    }
    /// Conditions that other controllers set can be gates.
    fn written_by_others(&self, object: &MailCertificate) -> u64 {
        let all = object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        let mut hash = DefaultHasher::new();
        for c in all.iter().filter(|c| conditions::is_foreign(&c.type_)) {
            (&c.type_, &c.status, &c.reason, &c.message).hash(&mut hash);
        }
        hash.finish()
    }
}

impl Watching {
    /// The MailDomains that use it, and those that share a workload with them.
    fn tell_domains(&self, certificate: &Key) {
        self.relations.domains.of(certificate).iter().for_each(|domain| self.tell_user(domain));
    }

    /// A MailDomain whose certificate has changed, and those that share a workload or tables of names with it.
    fn tell_user(&self, domain: &Key) {
        self.kinds.domains.trigger(domain);
        if let Some(writer) = self.relations.sni_group(domain).first() {
            self.kinds.domains.trigger(writer);
        }
        if let Some(object) = self.kinds.domains.get(domain) {
            self.tell_sharers(&object);
        }
    }
}

impl Watching {
    /// One of those that share a workload sees to it, and the others say how far it is.
    fn tell_sharers(&self, domain: &MailDomain) {
        for other in self.relations.sharing(domain) {
            self.kinds.domains.trigger(&other);
        }
    }

    /// Those that share a server: a change of one changes the tables, and all wait for what the writer says.
    fn tell_group(&self, own: &Key, others: impl IntoIterator<Item = Key>) {
        others.into_iter().filter(|other| other != own).for_each(|other| self.kinds.domains.trigger(&other));
    }
}

impl Watching {
    /// Those that use the namespace's system certificate, and with `news` those that could have the role.
    fn tell_fallbacks(&self, system: &Key, news: bool) {
        self.relations.fallbacks.of(&system.0).iter().for_each(|domain| self.tell_user(domain));
        if news {
            self.tell_systems(&system.0);
        }
    }

    /// What could be the namespace's system certificate: who depends on it has changed.
    fn tell_systems(&self, namespace: &str) {
        for system in self.relations.systems.of(&namespace.to_owned()) {
            self.kinds.certificates.trigger(&system);
        }
    }

    /// The certificate that it uses, where that is imported: its names are expected of it.
    fn tell_import(&self, domain: &MailDomain) {
        let certificate = (domain.namespace().unwrap_or_default(), CertificateView::name_for(domain));
        if self.kinds.certificates.get(&certificate).is_some_and(|c| c.spec.import.is_some()) {
            self.kinds.certificates.trigger(&certificate);
        }
    }

    /// The MailCertificate that it uses, where what it says about that is new.
    fn tell_certificate(&self, domain: &MailDomain) {
        let own = key(domain);
        let fallen_back = domain.status.as_ref().and_then(|s| s.certificate.as_ref()).filter(|c| c.system);
        let name = fallen_back.filter(|_| domain.spec.certificate.disabled).map(|c| c.name.clone());
        let certificate = (own.0.clone(), name.unwrap_or_else(|| CertificateView::name_for(domain)));
        let mut hash = DefaultHasher::new();
        Dependent::of(domain).hash(&mut hash);
        let said = (certificate.clone(), hash.finish());
        let before = self.dependents.get(&own);
        if before.as_ref() == Some(&said) {
            return;
        }
        if let Some((former, _)) = before.filter(|(former, _)| *former != certificate) {
            self.kinds.certificates.trigger(&former);
        }
        self.dependents.set(own, said);
        self.kinds.certificates.trigger(&certificate);
    }
}

impl Watcher<MailDomain> for Watching {
    fn changed(&self, object: &MailDomain, news: bool) {
        let own = key(object);
        let before = self.relations.sni_group(&own);
        self.relations.domain(object);
        let sharing = self.relations.sni_group(&own);
        if news || before != sharing || sharing.first() == Some(&own) {
            self.tell_group(&own, before.into_iter().chain(sharing));
        }
        if news {
            self.tell_systems(&key(object).0);
        }
        self.tell_sharers(object);
        self.tell_certificate(object);
        if news {
            self.tell_import(object);
        }
        let issuer = object.spec.certificate.template.as_ref().and_then(|t| t.issuer_ref.as_ref());
        if let Some(issuer) = issuer.filter(|_| news) {
            let namespace = object.namespace().unwrap_or_default();
            self.kinds.issuers.trigger(&issuer_key(issuer, &namespace));
        }
    }
    fn gone(&self, key: &Key) {
        if let Some((certificate, _)) = self.dependents.get(key) {
            self.kinds.certificates.trigger(&certificate);
        }
        self.dependents.forget(key);
        let sharing = self.relations.sni_group(key);
        self.relations.domain_gone(key);
        self.tell_group(key, sharing);
        self.tell_systems(&key.0);
        self.metrics.remove_endpoints(&key.0, &key.1);
    }
}

impl Watcher<MailTrustBundle> for Watching {
    fn changed(&self, object: &MailTrustBundle, _: bool) {
        self.relations.trust_bundle(object);
    }
    fn gone(&self, key: &Key) {
        self.relations.trust_bundle_gone(key);
        self.metrics.remove_anchors(&key.0, &key.1);
    }
}
