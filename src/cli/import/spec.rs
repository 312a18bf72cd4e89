//! What the options say of a MailCertificate, and what that changes on one that is there.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::MailCertificateSpec;
use crate::api::certificate::{LegacyName, OnUnreachable, Revision};
use crate::api::reasons::import as code;
use crate::cli::Failure;
use crate::decide::certificate::{import_anchors, usages, wanted};
use crate::pki::import::{Code, Expectation};
use crate::pki::{Anchors, Certificate, covers, to_ascii};

/// The most bytes of trust anchors that a MailCertificate holds.
const MOST_ANCHORS: usize = 65_536;

/// What was asked for. What was not given stays as it is on a MailCertificate that is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// The Secret to import from.
    pub source: String,
    pub secret_name: Option<String>,
    pub allow: Vec<String>,
    pub anchors: Vec<Certificate>,
    pub dns_names: Vec<String>,
    /// The host of the external URL: one more name.
    pub host: Option<String>,
    pub legacy: Vec<String>,
}

impl Given {
    /// A spec with what is given.
    ///
    /// # Errors
    /// It makes no sense together, or is more than a MailCertificate holds.
    pub fn on(&self, spec: &MailCertificateSpec) -> Result<MailCertificateSpec, Failure> {
        let mut spec = spec.clone();
        if let Some(import) = &mut spec.import {
            if !self.allow.is_empty() {
                import.allow.clone_from(&self.allow);
            }
            if !self.anchors.is_empty() {
                let pem: String = self.anchors.iter().map(Certificate::to_pem).collect();
                if pem.len() > MOST_ANCHORS {
                    let bytes = pem.len();
                    return Err(format!(
                        "--trust-anchors: the certificates have {bytes} bytes in PEM; a MailCertificate holds at most {MOST_ANCHORS}"
                    )
                    .into());
                }
                import.trust_anchors = Some(pem);
            }
        }
        if let Some(name) = &self.secret_name {
            spec.secret_name.clone_from(name);
        }
        if spec.secret_name == self.source {
            return Err(format!(
                "the Secret {} cannot be both the source of the import and the one that pods mount: choose another --secret-name or \
                 --source-name",
                self.source
            )
            .into());
        }
        if !self.dns_names.is_empty() {
            spec.dns_names.clone_from(&self.dns_names);
        }
        let there = ascii(spec.dns_names.iter());
        spec.dns_names.extend(self.host.clone().filter(|host| !there.contains(host)));
        if !self.legacy.is_empty() {
            let before = std::mem::take(&mut spec.legacy_dns_names);
            let legacy = |name: &String| {
                let same = before.iter().find(|old| to_ascii(&old.name).as_ref() == Ok(name)).cloned();
                same.unwrap_or_else(|| LegacyName { name: name.clone(), on_unreachable: OnUnreachable::default() })
            };
            spec.legacy_dns_names = self.legacy.iter().map(legacy).collect();
        }
        Ok(spec)
    }
}

/// A field that gets another value.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    pub field: &'static str,
    pub from: String,
    pub to: String,
    value: Value,
}

/// What options can change, where it differs. The order of names means nothing.
pub(super) fn changes(old: &MailCertificateSpec, new: &MailCertificateSpec) -> Vec<Change> {
    let change = |field, from: &BTreeSet<String>, to: &BTreeSet<String>, value: Value| {
        (from != to).then(|| Change { field, from: shown(from), to: shown(to), value })
    };
    let allow = |spec: &MailCertificateSpec| spec.import.iter().flat_map(|i| i.allow.clone()).collect();
    let legacy = |spec: &MailCertificateSpec| ascii(spec.legacy_dns_names.iter().map(|old| &old.name));
    let value = |spec: &MailCertificateSpec, field: &str| {
        spec.import.as_ref().map(|import| json!(import)[field].clone()).unwrap_or_default()
    };
    let (before, after) = (anchors(old), anchors(new));
    let anchors = (before.0 != after.0).then(|| Change {
        field: "spec.import.trustAnchors",
        from: before.1,
        to: after.1,
        value: value(new, "trustAnchors"),
    });
    [
        change("spec.import.allow", &allow(old), &allow(new), value(new, "allow")),
        anchors,
        change("spec.dnsNames", &ascii(&old.dns_names), &ascii(&new.dns_names), json!(new.dns_names)),
        change("spec.legacyDNSNames", &legacy(old), &legacy(new), json!(new.legacy_dns_names)),
        change(
            "spec.secretName",
            &BTreeSet::from([old.secret_name.clone()]),
            &BTreeSet::from([new.secret_name.clone()]),
            json!(new.secret_name),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A merge patch of these fields alone.
pub(super) fn patch(changes: &[Change]) -> Value {
    let mut patch = json!({});
    for change in changes {
        let field = change.field.split('.').fold(&mut patch, |object, part| &mut object[part]);
        *field = change.value.clone();
    }
    patch
}

/// What the operator expects of a certificate for this spec. The MailDomains that use it, it alone knows.
///
/// # Errors
/// The spec has names that cannot be used.
pub(super) fn expectation(
    spec: &MailCertificateSpec,
    own: &[Certificate],
    active: Option<&Revision>,
    now: Timestamp,
) -> Result<Expectation, Failure> {
    let names = wanted(spec).map_err(|problems| problems.join("; "))?;
    // A name that the active certificate lacks as well holds nothing back.
    let active = active.filter(|active| active.not_after.0 > now);
    let had = |name: &String| active.is_none_or(|a| a.dns_names.iter().any(|presented| covers(presented, name)));
    let import = spec.import.as_ref();
    let mut allow: Vec<Code> = import.iter().flat_map(|i| &i.allow).filter_map(|word| Code::of(word)).collect();
    if import.is_some_and(|i| i.allow_untrusted) {
        allow.extend(Code::of(code::NOT_TRUSTED));
    }
    let reported = names.legacy.into_iter().filter(|(_, what)| *what == OnUnreachable::Report);
    Ok(Expectation {
        external_host: None,
        names: names.required.into_iter().filter(had).collect(),
        legacy: reported.map(|(name, _)| name).collect(),
        usages: usages(spec),
        anchors: if own.is_empty() { Anchors::mozilla() } else { Anchors::own(own.iter().cloned()) },
        allow,
        ..Expectation::default()
    })
}

fn ascii<'a>(names: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    names.into_iter().map(|name| to_ascii(name).unwrap_or_else(|_| name.clone())).collect()
}

fn shown(words: &BTreeSet<String>) -> String {
    if words.is_empty() { "none".to_owned() } else { words.iter().cloned().collect::<Vec<_>>().join(", ") }
}

/// The trust anchors of a spec, and how they are called.
fn anchors(spec: &MailCertificateSpec) -> (Result<Vec<Certificate>, String>, String) {
    let anchors = spec.import.as_ref().map(import_anchors).transpose().map(Option::unwrap_or_default);
    let called = match &anchors {
        Ok(anchors) if anchors.is_empty() => "the Mozilla roots".to_owned(),
        Ok(anchors) => anchors.iter().map(Certificate::label).collect::<Vec<_>>().join(" and "),
        Err(_) => "what cannot be read".to_owned(),
    };
    (anchors, called)
}
