//! What is printed.

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::api::reasons::import as code;
use crate::cli::Failure;
use crate::pki::import::{Finding, Imported, Severity};
use crate::pki::{Certificate, Fingerprint};
use crate::probes::Sighting;

/// Everything that is known of an input.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Report {
    input: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<Endpoint>,
    /// The leaf first.
    chain: Vec<Facts>,
    /// For `ca.crt`.
    ca: Vec<Facts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    findings: Vec<Finding>,
    /// What was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Whether nothing would stop its activation.
    usable: bool,
    #[serde(skip)]
    now: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    subject: String,
    issuer: String,
    serial: String,
    dns_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    email_addresses: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    key: String,
    #[serde(rename = "isCA")]
    is_ca: bool,
    #[serde(rename = "fingerprintSHA256")]
    fingerprint: Fingerprint,
    #[serde(rename = "spkiSHA256")]
    spki: Fingerprint,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    kind: String,
    #[serde(rename = "spkiSHA256")]
    spki: Fingerprint,
    belongs_to_certificate: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    address: String,
    tls_version: String,
    cipher_suite: String,
}

impl From<&Certificate> for Facts {
    fn from(c: &Certificate) -> Self {
        Self {
            subject: c.subject.clone(),
            issuer: c.issuer.clone(),
            serial: c.serial.clone(),
            dns_names: c.dns_names.clone(),
            email_addresses: c.emails.clone(),
            not_before: c.not_before,
            not_after: c.not_after,
            key: c.public_key.map_or_else(|| "of an unknown kind".to_owned(), |k| k.to_string()),
            is_ca: c.is_ca,
            fingerprint: c.fingerprint,
            spki: c.spki_sha256,
        }
    }
}

impl Report {
    pub fn new(input: String, imported: &Imported, mut findings: Vec<Finding>, now: Timestamp) -> Self {
        findings.sort_by_key(|f| f.severity);
        let leaf = imported.chain.as_ref().map(|chain| chain.leaf());
        let key = imported.key.as_ref().map(|key| Key {
            kind: key.spec().to_string(),
            spki: key.spki_sha256(),
            belongs_to_certificate: leaf.is_some_and(|leaf| leaf.spki_der() == key.spki_der()),
        });
        Self {
            input,
            endpoint: None,
            chain: imported.chain.iter().flat_map(|chain| chain.iter()).map(Facts::from).collect(),
            ca: imported.ca.iter().map(Facts::from).collect(),
            key,
            usable: !findings.iter().any(Finding::is_error),
            findings,
            note: None,
            now,
        }
    }

    /// Adds what was not looked at.
    pub fn noted(mut self, note: Option<String>) -> Self {
        self.note = note;
        self
    }

    /// Adds how it was served.
    pub fn served(mut self, sighting: &Sighting) -> Self {
        self.endpoint = Some(Endpoint {
            address: sighting.address.to_string(),
            tls_version: sighting.tls_version.clone(),
            cipher_suite: sighting.cipher_suite.clone(),
        });
        self
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        let closed = [code::UNREADABLE, code::UNSUPPORTED, code::TOO_LARGE, code::TOO_MANY_ITERATIONS];
        let nothing = self.chain.is_empty() && self.key.is_none();
        match self.findings.iter().any(|f| closed.iter().any(|word| f.code == *word)) {
            true if nothing => super::UNREADABLE,
            _ => u8::from(!self.usable),
        }
    }

    /// For programs.
    pub fn json(&self) -> Result<String, Failure> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut lines = vec![self.input.clone(), String::new()];
        let mut row = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
        if let Some(endpoint) = &self.endpoint {
            row("served by", format!("{} ({}, {})", endpoint.address, endpoint.tls_version, endpoint.cipher_suite));
        }
        if let Some((leaf, rest)) = self.chain.split_first() {
            row("subject", shown(&leaf.subject));
            row(
                "names",
                shown(&leaf.dns_names.iter().chain(&leaf.email_addresses).cloned().collect::<Vec<_>>().join(", ")),
            );
            row("issuer", shown(&leaf.issuer));
            row("serial", leaf.serial.clone());
            row("valid", format!("{} to {} ({})", leaf.not_before, leaf.not_after, self.left(leaf)));
            row("SHA-256", leaf.fingerprint.to_string());
            for issuer in rest {
                row("chain", format!("{} (to {})", issuer.subject, issuer.not_after));
            }
        }
        for root in &self.ca {
            row("root", format!("{} (to {})", root.subject, root.not_after));
        }
        if let Some(leaf) = self.chain.first() {
            let owner = match &self.key {
                Some(key) if key.belongs_to_certificate => ", private key found",
                Some(_) => ", private key of another certificate",
                None => "",
            };
            row("key", format!("{}{owner}", leaf.key));
        } else if let Some(key) = &self.key {
            row("key", key.kind.clone());
        }
        lines.push(String::new());
        for finding in &self.findings {
            let severity = finding.severity.to_string().to_uppercase();
            lines.push(format!("{severity:<7} {} ({})", finding.code, finding.about));
            lines.push(format!("        {}", finding.message));
        }
        lines.extend(self.note.iter().map(|note| format!("NOTE    {note}")));
        lines.push(self.summary());
        lines.join("\n")
    }

    fn left(&self, leaf: &Facts) -> String {
        let days = leaf.not_after.duration_since(self.now).as_hours() / 24;
        if days < 0 { format!("expired {} days ago", -days) } else { format!("{days} days left") }
    }

    fn summary(&self) -> String {
        let count = |severity: Severity| self.findings.iter().filter(|f| f.severity == severity).count();
        match (count(Severity::Error), count(Severity::Warning)) {
            (0, 0) => "No problem found.".to_owned(),
            (0, warnings) => format!("Usable, with {warnings} warning(s)."),
            (errors, warnings) => format!("Not usable: {errors} error(s), {warnings} warning(s)."),
        }
    }
}

fn shown(text: &str) -> String {
    if text.is_empty() { "(none)".to_owned() } else { text.to_owned() }
}
