//! The names and the subject that a MailCertificate asks for.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::MailCertificateSpec;
use crate::api::certificate::{KeyAlgorithm as Algorithm, OnUnreachable, PrivateKeyOptions, Usage as ApiUsage};
use crate::pki::{Fingerprint, KeySpec, Subject, SubjectSpec, Usage, to_ascii};

/// The names asked for, in A-labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that must be in the certificate.
    pub required: BTreeSet<String>,
    /// Old ones that are to be in it if they can be validated.
    pub legacy: BTreeMap<String, OnUnreachable>,
}

impl Wanted {
    /// All names but those left out, sorted.
    pub fn without<'a>(&self, omitted: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        let omitted: BTreeSet<&str> = omitted.into_iter().collect();
        let legacy = self.legacy.keys().filter(|n| !omitted.contains(n.as_str()));
        self.required.iter().chain(legacy).cloned().collect()
    }
}

/// Reads the names of a spec.
///
/// # Errors
/// One sentence for each name that cannot be used, with the field where it stands.
pub fn wanted(spec: &MailCertificateSpec) -> Result<Wanted, Vec<String>> {
    let mut wanted = Wanted::default();
    let mut problems = Vec::new();
    for (i, name) in spec.dns_names.iter().enumerate() {
        match to_ascii(name) {
            Ok(name) => {
                wanted.required.insert(name);
            }
            Err(e) => problems.push(format!("spec.dnsNames[{i}]: {e}")),
        }
    }
    for (i, legacy) in spec.legacy_dns_names.iter().enumerate() {
        match to_ascii(&legacy.name) {
            Ok(name) if wanted.required.contains(&name) => {}
            Ok(name) => {
                wanted.legacy.insert(name, legacy.on_unreachable);
            }
            Err(e) => problems.push(format!("spec.legacyDNSNames[{i}].name: {e}")),
        }
    }
    if problems.is_empty() { Ok(wanted) } else { Err(problems) }
}

/// The subject of a request for these names.
pub fn subject(spec: &MailCertificateSpec, names: &BTreeSet<String>) -> SubjectSpec {
    let given = spec.options.subject.clone().unwrap_or_default();
    SubjectSpec {
        common_name: spec.common_name.as_deref().map(|cn| to_ascii(cn).unwrap_or_else(|_| cn.to_owned())),
        subject: Subject {
            country: given.country,
            province: given.province,
            locality: given.locality,
            organization: given.organization,
            organizational_unit: given.organizational_unit,
        },
        dns_names: names.iter().cloned().collect(),
        emails: spec.options.email_addresses.clone(),
    }
}

/// The extended key usages asked for.
pub fn usages(spec: &MailCertificateSpec) -> Vec<Usage> {
    let usage = |u: &ApiUsage| match u {
        ApiUsage::ServerAuth => Usage::ServerAuth,
        ApiUsage::ClientAuth => Usage::ClientAuth,
        ApiUsage::EmailProtection => Usage::EmailProtection,
    };
    spec.options.usages.iter().map(usage).collect()
}

/// Digest of what is asked for besides names and key.
pub fn request_digest(spec: &MailCertificateSpec) -> String {
    let s = subject(spec, &BTreeSet::new());
    let mut usages: Vec<String> = usages(spec).iter().map(ToString::to_string).collect();
    usages.sort();
    usages.dedup();
    let mut emails = s.emails;
    emails.sort();
    let given = [
        ("CN", s.common_name),
        ("C", s.subject.country),
        ("ST", s.subject.province),
        ("L", s.subject.locality),
        ("O", s.subject.organization),
        ("OU", s.subject.organizational_unit),
    ];
    let given = given.into_iter().filter_map(|(field, value)| Some((field, value?)));
    let emails = emails.into_iter().map(|e| ("email", e));
    let usages = usages.into_iter().map(|u| ("usage", u));
    // What is not given leaves no trace, so that a field added later re-issues nothing.
    let text: String = given.chain(emails).chain(usages).map(|(f, v)| format!("{f}={}:{v};", v.len())).collect();
    Fingerprint::of(text.as_bytes()).to_string()
}

/// The key asked for.
pub fn key_spec(options: &PrivateKeyOptions) -> KeySpec {
    let size = options.size.and_then(|s| u32::try_from(s).ok());
    match options.algorithm {
        Algorithm::ECDSA => KeySpec::ecdsa(size.unwrap_or(256)),
        Algorithm::RSA => KeySpec::rsa(size.unwrap_or(2048)),
        Algorithm::Ed25519 => KeySpec::ED25519,
    }
}
