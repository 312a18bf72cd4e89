//! What the spec says, and whether it can be used.

use crate::api::issuer::{AcmeIssuer, AcmeStatus};
use crate::decide::issuer::world::World;
use crate::pki::{Chain, PemLimits, to_ascii, to_ascii_email};

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// The URL of the directory that `spec.acme.server` means.
///
/// # Errors
/// When it is neither an https URL nor one of the names.
pub fn server_url(server: &str) -> Result<&str, String> {
    match server {
        "LetsEncrypt" => Ok(LETS_ENCRYPT),
        "LetsEncryptStaging" => Ok(LETS_ENCRYPT_STAGING),
        url => {
            // Servers inside a cluster have names that no public certificate carries, or addresses: only the scheme
            // and that there is a host count here.
            let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#', ':']).next());
            match host {
                Some(host) if !host.is_empty() && !url.contains(char::is_whitespace) => Ok(url),
                _ => Err("it must be an https URL, LetsEncrypt or LetsEncryptStaging".to_owned()),
            }
        }
    }
}

/// Whom the CA may write to: the first of these that there is.
pub(super) fn contacts(world: &World, acme: &AcmeIssuer, known: &AcmeStatus) -> Vec<String> {
    let of =
        |domain: &Option<String>| domain.as_ref().and_then(|d| to_ascii(d).ok()).map(|d| vec![format!("no-reply@{d}")]);
    let own: Vec<String> = acme.contact.iter().filter_map(|c| to_ascii_email(c).ok()).collect();
    let told = Some(known.contact.clone()).filter(|c| !c.is_empty());
    if !own.is_empty() {
        return own;
    }
    of(&world.default_domain).or(told).or_else(|| of(&world.domain_hint)).unwrap_or_default()
}

pub(super) fn problems(acme: &AcmeIssuer) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(problem) = server_url(&acme.server) {
        problems.push(format!("spec.acme.server: {problem}"));
    }
    for (i, contact) in acme.contact.iter().enumerate() {
        if let Err(problem) = to_ascii_email(contact) {
            problems.push(format!("spec.acme.contact[{i}]: {problem}"));
        }
    }
    let bundles = [("caBundle", &acme.ca_bundle), ("trustAnchors", &acme.trust_anchors)];
    for (field, pem) in bundles {
        if let Some(Err(problem)) = pem.as_ref().map(|pem| Chain::from_pem(pem.as_bytes(), &PemLimits::BUNDLE)) {
            problems.push(format!("spec.acme.{field}: {problem}"));
        }
    }
    problems
}
