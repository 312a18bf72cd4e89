//! The names that a MailDomain needs, the endpoints that they lead to, and the certificate that covers them.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;

use crate::api::certificate::{LegacyName, MailCertificateSpec, SecretTemplate, Subject};
use crate::api::domain::{Endpoint, MailDomain, MailDomainSpec};
use crate::pki::{host_of_url, to_ascii};

use super::world::ProbeTarget;

/// As many names as a MailCertificate takes.
const MOST_NAMES: usize = 100;

/// What a MailDomain's spec comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Names that the certificate must cover, in A-labels.
    pub wanted: BTreeSet<String>,
    /// Old names, in A-labels, by name, without those of `wanted`.
    pub legacy: Vec<LegacyName>,
    /// The endpoints, in the spec's order, each one once. One whose host cannot be used is missing.
    pub targets: Vec<ProbeTarget>,
    /// What cannot be used, and where it stands.
    pub problems: Vec<String>,
}

/// Reads every name in the spec.
pub fn names(domain: &MailDomain) -> Names {
    let spec = &domain.spec;
    let mut reading = Reading::default();
    let mail_domain = reading.host("spec.domain", &spec.domain);
    let url_host = reading.keep("spec.externalURL", host_of_url(&spec.external_url).map_err(|e| e.to_string()));
    let ehlo_name = match &spec.probe.ehlo_name {
        Some(name) => reading.host("spec.probe.ehloName", name),
        None => mail_domain.map(|d| format!("mailcert.{d}")),
    };
    reading.out.wanted.extend(url_host.clone());
    for (i, endpoint) in spec.endpoints.iter().enumerate() {
        reading.endpoint(i, endpoint, url_host.as_deref(), ehlo_name.as_deref());
    }
    reading.further(spec);
    reading.legacy(spec);
    if reading.out.wanted.len() > MOST_NAMES {
        let problem =
            format!("spec: it needs {} names; a certificate holds at most {MOST_NAMES}", reading.out.wanted.len());
        reading.out.problems.push(problem);
    }
    reading.out
}

#[derive(Default)]
struct Reading {
    out: Names,
}

impl Reading {
    fn keep<T>(&mut self, place: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.out.problems.push(format!("{place}: {problem}"))).ok()
    }

    /// One name without a wildcard.
    fn host(&mut self, place: &str, text: &str) -> Option<String> {
        let ascii = to_ascii(text).map_err(|e| e.to_string()).and_then(|name| match name.starts_with("*.") {
            true => Err(format!("\"{name}\" is a wildcard; give one host name")),
            false => Ok(name),
        });
        self.keep(place, ascii)
    }

    fn endpoint(&mut self, i: usize, endpoint: &Endpoint, url_host: Option<&str>, ehlo_name: Option<&str>) {
        let place = format!("spec.endpoints[{i}]");
        let host = match &endpoint.host {
            Some(host) => self.host(&format!("{place}.host"), host),
            None => url_host.map(str::to_owned),
        };
        let port = match endpoint.port {
            None => Some(endpoint.protocol.default_port()),
            Some(n) => {
                let port = u16::try_from(n).ok().filter(|p| *p > 0);
                self.keep(&format!("{place}.port"), port.ok_or_else(|| format!("{n} is not a port from 1 to 65535")))
            }
        };
        self.out.wanted.extend(host.clone());
        let (Some(host), Some(port), Some(ehlo_name)) = (host, port, ehlo_name) else { return };
        let address = endpoint.address.clone();
        let via = address.as_ref().map(|a| format!(" via {a}")).unwrap_or_default();
        let target = ProbeTarget {
            key: format!("{:?} {host}:{port}{via}", endpoint.protocol),
            protocol: endpoint.protocol,
            tls: endpoint.tls.unwrap_or(endpoint.protocol.default_tls()),
            host,
            address,
            port,
            ehlo_name: ehlo_name.to_owned(),
            pod_port: endpoint.pod_port.and_then(|p| u16::try_from(p).ok()).unwrap_or(port),
            sni: true,
            algorithm: None,
            proxy_protocol: endpoint.proxy_protocol,
        };
        if self.out.targets.iter().all(|t| t.key != target.key) {
            self.out.targets.push(target);
        }
    }

    fn further(&mut self, spec: &MailDomainSpec) {
        let own = spec.certificate.template.as_ref().map(|t| t.dns_names.as_slice()).unwrap_or_default();
        let lists = [
            ("spec.hostnames.additional", spec.hostnames.additional.as_slice()),
            ("spec.certificate.template.dnsNames", own),
        ];
        for (place, list) in lists {
            for (i, name) in list.iter().enumerate() {
                let name = self.keep(&format!("{place}[{i}]"), to_ascii(name).map_err(|e| e.to_string()));
                self.out.wanted.extend(name);
            }
        }
    }

    fn legacy(&mut self, spec: &MailDomainSpec) {
        let mut legacy = BTreeMap::new();
        for (i, old) in spec.hostnames.legacy.iter().enumerate() {
            let name = self.host(&format!("spec.hostnames.legacy[{i}].name"), &old.name);
            if let Some(name) = name.filter(|n| !self.out.wanted.contains(n)) {
                legacy.entry(name).or_insert(old.on_unreachable);
            }
        }
        self.out.legacy =
            legacy.into_iter().map(|(name, on_unreachable)| LegacyName { name, on_unreachable }).collect();
    }
}

/// The spec of the MailCertificate that a MailDomain with a `template` owns.
///
/// # Errors
/// Every name that cannot be used and where it stands; or that there is no template.
pub fn desired_certificate(domain: &MailDomain) -> Result<MailCertificateSpec, Vec<String>> {
    desired(domain, &names(domain))
}

pub(super) fn desired(domain: &MailDomain, names: &Names) -> Result<MailCertificateSpec, Vec<String>> {
    let Some(template) = &domain.spec.certificate.template else {
        return Err(vec!["spec.certificate.template: it is not set".to_owned()]);
    };
    if !names.problems.is_empty() {
        return Err(names.problems.clone());
    }
    Ok(MailCertificateSpec {
        issuer_ref: template.issuer_ref.clone(),
        import: template.import.clone(),
        secret_name: template.secret_name.clone().unwrap_or_else(|| format!("{}-tls", domain.name_any())),
        dns_names: names.wanted.iter().cloned().collect(),
        legacy_dns_names: names.legacy.clone(),
        common_name: None,
        system: false,
        options: template.options.clone(),
    })
}

/// Whether two specs mean the same, however lists are ordered and empty objects are written.
pub(super) fn same_spec(a: &MailCertificateSpec, b: &MailCertificateSpec) -> bool {
    normal(a) == normal(b)
}

fn normal(spec: &MailCertificateSpec) -> MailCertificateSpec {
    let ascii = |name: &String| to_ascii(name).unwrap_or_else(|_| name.clone());
    let mut spec = spec.clone();
    spec.dns_names = spec.dns_names.iter().map(ascii).collect::<BTreeSet<_>>().into_iter().collect();
    for legacy in &mut spec.legacy_dns_names {
        legacy.name = ascii(&legacy.name);
    }
    spec.legacy_dns_names.sort_by(|a, b| a.name.cmp(&b.name));
    let options = &mut spec.options;
    options.usages.sort();
    options.subject = options.subject.take().filter(|s| *s != Subject::default());
    options.secret_template = options.secret_template.take().filter(|t| *t != SecretTemplate::default());
    spec
}
