//! Which objects a change concerns.

use kube::ResourceExt;

use super::challenges::secrets_of;
use super::index::{Index, Key, SecretIndex};
use super::workloads::kind_name;
use crate::api::certificate::IssuerRef;
use crate::api::{MailCertificate, MailDomain, MailIssuer, MailTrustBundle};
use crate::decide::domain::fallback::Fallback;
use crate::decide::domain::world::CertificateView;
use crate::decide::issuer::account_key_secret;

/// In place of a name: a selector.
const ANY: &str = "*";

/// Who refers to what, by the specs as they are watched.
#[derive(Debug, Default)]
pub struct Relations {
    /// Secret to the MailCertificates that claim it.
    pub claims: Index<Key>,
    /// Secret to the MailCertificates that import from it, or take a password from it.
    pub imports: Index<Key>,
    /// Secret to the MailCertificates whose PKCS#12 stores have their password from it.
    pub passwords: Index<Key>,
    /// MailIssuer to the MailCertificates that use it.
    pub users: Index<Key>,
    /// MailCertificate to the MailDomains that use it.
    pub domains: Index<Key>,
    /// Secret with a shared server's tables to the MailDomains that share it.
    pub sni: Index<Key>,
    /// Namespace to its MailDomains.
    pub domains_in: Index<String>,
    /// Namespace to its MailCertificates with `system: true`.
    pub systems: Index<String>,
    /// Namespace to its MailDomains whose certificate is disabled.
    pub fallbacks: Index<String>,
    /// Secret to the MailDomains for which it holds, or is to hold, a copy of the system certificate.
    pub copies: Index<Key>,
    /// ConfigMap to the MailTrustBundles that read or write it.
    pub bundle_maps: Index<Key>,
    /// Secret to the MailTrustBundles that read it.
    pub bundle_secrets: Index<Key>,
    /// Workload, as `Deployment/name` or `Deployment/*` for a selector, to the MailDomains that name it.
    pub workloads: Index<Key>,
    /// MailIssuer to the MailDomains whose template names it.
    pub templates: Index<Key>,
    /// Secret to the MailIssuers that use it.
    pub issuers: Index<Key>,
    /// The Secrets themselves.
    pub secrets: SecretIndex,
}

/// Namespace and name of an object.
pub fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The issuer that a reference in `namespace` names.
pub fn issuer_key(reference: &IssuerRef, namespace: &str) -> Key {
    (reference.namespace.clone().unwrap_or_else(|| namespace.to_owned()), reference.name.clone())
}

/// The issuer that a MailCertificate names, unless it is imported.
pub fn issuer_of(object: &MailCertificate) -> Option<Key> {
    let reference = object.spec.issuer_ref.as_ref()?;
    Some(issuer_key(reference, &object.namespace().unwrap_or_default()))
}

impl Relations {
    /// A MailCertificate was created or changed.
    pub fn certificate(&self, object: &MailCertificate) {
        let key = key(object);
        self.claims.set(&key, [(key.0.clone(), object.spec.secret_name.clone())]);
        let stores = object.spec.options.outputs.pkcs12.as_ref();
        self.passwords.set(&key, stores.map(|p| (key.0.clone(), p.password_secret_ref.name.clone())));
        self.users.set(&key, issuer_of(object));
        self.systems.set(&key, object.spec.system.then(|| key.0.clone()));
        let import = object.spec.import.as_ref();
        let password = import.and_then(|i| i.password_secret_ref.as_ref()).map(|p| p.name.clone());
        let sources = import.map(|i| i.secret_ref.name.clone()).into_iter().chain(password);
        self.imports.set(&key, sources.map(|name| (key.0.clone(), name)));
    }

    /// A MailCertificate was deleted.
    pub fn certificate_gone(&self, key: &Key) {
        self.claims.remove(key);
        self.passwords.remove(key);
        self.users.remove(key);
        self.systems.remove(key);
        self.imports.remove(key);
    }

    /// A MailTrustBundle was created or changed.
    pub fn trust_bundle(&self, object: &MailTrustBundle) {
        let key = key(object);
        let (spec, here) = (&object.spec, |name: &str| (key.0.clone(), name.to_owned()));
        let read = spec.sources.iter().filter_map(|s| s.config_map.as_ref()).map(|at| here(&at.name));
        // Those that a selector finds stand in the status once they are written.
        let names = &spec.targets.namespaces.names;
        let told = object.status.iter().flat_map(|s| s.targets.iter().map(|t| t.namespace.clone()));
        let written = names.iter().cloned().chain(told).chain([key.0.clone()]);
        let written = written.map(|namespace| (namespace, spec.targets.config_map.name.clone()));
        self.bundle_maps.set(&key, read.chain(written));
        let sources = spec.sources.iter().filter_map(|s| s.secret.as_ref()).map(|at| here(&at.name));
        let store = spec.targets.truststore.as_ref().and_then(|t| t.password_secret_ref.as_ref());
        self.bundle_secrets.set(&key, sources.chain(store.map(|at| here(&at.name))));
    }

    /// A MailTrustBundle was deleted.
    pub fn trust_bundle_gone(&self, key: &Key) {
        self.bundle_maps.remove(key);
        self.bundle_secrets.remove(key);
    }

    /// A MailDomain was created or changed.
    pub fn domain(&self, object: &MailDomain) {
        let key = key(object);
        self.domains.set(&key, [(key.0.clone(), CertificateView::name_for(object))]);
        self.domains_in.set(&key, [key.0.clone()]);
        self.sni.set(&key, object.spec.sni.as_ref().map(|s| (key.0.clone(), s.secret_name.clone())));
        let is_disabled = object.spec.certificate.disabled;
        self.fallbacks.set(&key, is_disabled.then(|| key.0.clone()));
        self.copies.set(&key, is_disabled.then(|| (key.0.clone(), Fallback::secret_of(object, None))));
        let workloads = object.spec.workloads.iter().map(|w| {
            let name = w.name.as_deref().unwrap_or(ANY);
            (key.0.clone(), format!("{}/{name}", kind_name(w.kind)))
        });
        self.workloads.set(&key, workloads);
        let template = object.spec.certificate.template.as_ref();
        self.templates.set(&key, template.and_then(|t| t.issuer_ref.as_ref()).map(|at| issuer_key(at, &key.0)));
    }

    /// A MailDomain was deleted.
    pub fn domain_gone(&self, key: &Key) {
        self.domains.remove(key);
        self.domains_in.remove(key);
        self.sni.remove(key);
        self.fallbacks.remove(key);
        self.copies.remove(key);
        self.workloads.remove(key);
        self.templates.remove(key);
    }

    /// The MailDomains that share a server's tables with one, itself among them, by name: the first writes them.
    pub fn sni_group(&self, domain: &Key) -> Vec<Key> {
        let mut all: Vec<Key> = self.sni.targets_of(domain).iter().flat_map(|secret| self.sni.of(secret)).collect();
        all.sort();
        all
    }

    /// The MailDomains that may name a workload: those that select by label have to be asked.
    pub fn naming(&self, namespace: &str, kind: &str, name: &str) -> Vec<Key> {
        let of = |name: &str| self.workloads.of(&(namespace.to_owned(), format!("{kind}/{name}")));
        let mut all = of(name);
        all.extend(of(ANY));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The other MailDomains that may name one of its workloads.
    pub fn sharing(&self, domain: &MailDomain) -> Vec<Key> {
        let own = key(domain);
        let mut all = Vec::new();
        for workload in &domain.spec.workloads {
            let kind = kind_name(workload.kind);
            match &workload.name {
                Some(name) => all.extend(self.naming(&own.0, kind, name)),
                None => all.extend(self.domains_in.of(&own.0)),
            }
        }
        all.sort_unstable();
        all.dedup();
        all.retain(|key| *key != own);
        all
    }

    /// A MailIssuer was created or changed.
    pub fn issuer(&self, object: &MailIssuer) {
        let key = key(object);
        let ca = object.spec.ca.as_ref().map(|ca| ca.secret_ref.name.clone());
        let account = object.spec.acme.as_ref().map(|_| account_key_secret(object));
        let others = secrets_of(object).map(str::to_owned);
        self.issuers.set(&key, ca.into_iter().chain(account).chain(others).map(|name| (key.0.clone(), name)));
    }

    /// A MailIssuer was deleted.
    pub fn issuer_gone(&self, key: &Key) {
        self.issuers.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_deleted_lets_go_of_its_own_relations_and_of_no_others() {
        let relations = Relations::default();
        let (own, source) = (("mail".to_owned(), "example".to_owned()), ("mail".to_owned(), "files".to_owned()));
        let spec = json!({"secretName": "tls", "import": {"secretRef": {"name": "files"}}});
        let mut certificate = MailCertificate::new(&own.1, serde_json::from_value(spec).unwrap());
        certificate.metadata.namespace = Some(own.0.clone());
        let spec = json!({"sources": [{"secret": {"name": "roots", "key": "ca.crt"}}],
            "targets": {"configMap": {"name": "roots"}}});
        let mut bundle = MailTrustBundle::new(&own.1, serde_json::from_value(spec).unwrap());
        bundle.metadata.namespace = Some(own.0.clone());
        let roots = ("mail".to_owned(), "roots".to_owned());

        relations.certificate(&certificate);
        relations.trust_bundle(&bundle);
        assert_eq!(relations.imports.of(&source), std::slice::from_ref(&own));
        relations.trust_bundle_gone(&own);
        assert_eq!(
            relations.imports.of(&source),
            std::slice::from_ref(&own),
            "a MailTrustBundle of the same name imports nothing"
        );
        assert!(relations.bundle_secrets.of(&roots).is_empty());

        relations.trust_bundle(&bundle);
        relations.certificate_gone(&own);
        assert!(
            relations.imports.of(&source).is_empty() && relations.claims.of(&("mail".into(), "tls".into())).is_empty()
        );
        assert_eq!(relations.bundle_secrets.of(&roots), [own]);
    }
}
