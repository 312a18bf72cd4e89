//! Issuers with a CA key pair in a Secret.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::issuer::{CaIssuer, CaStatus};
use crate::api::keys;
use crate::api::reasons::issuer as reason;
use crate::pki::{CaKeyPair, Chain, PemLimits};

use super::world::{SecretData, SecretState, World};
use super::{Outcome, Said, expiry, later};

pub(super) fn decide(world: &World, ca: &CaIssuer) -> Outcome {
    let secret = &ca.secret_ref.name;
    let data = match &world.ca_secret {
        SecretState::Found(data) => data,
        SecretState::NotLooked => {
            let message = format!("Secret {secret} has not been read yet");
            return Outcome::kept(world, Said::not_ready(reason::SECRET_NOT_FOUND, message));
        }
        SecretState::Absent => {
            let message = format!(
                "there is no Secret {secret} in this namespace; make one with the CA certificate in {} and its key in {}, \
                 or correct spec.ca.secretRef",
                keys::TLS_CRT,
                keys::TLS_KEY
            );
            return Outcome::said(Said::person(reason::SECRET_NOT_FOUND, message));
        }
    };
    let dates = dates(data);
    let wake = dates.into_iter().filter(|at| *at >= world.now).min().map(|at| later(at, SignedDuration::from_secs(1)));
    match key_pair(data, world.now) {
        Ok(pair) => {
            let certificate = pair.certificate();
            let message = format!("signs as {} (expires at {})", certificate.subject, certificate.not_after);
            let watched = expiry::watched(&pair);
            let wake = wake.into_iter().chain(expiry::next(&watched, world.now)).min();
            let status = CaStatus {
                subject: certificate.subject.clone(),
                fingerprint_sha256: certificate.fingerprint.to_string(),
                not_after: Time(certificate.not_after),
                expiring: expiry::warnings(&watched, world.now),
                watched,
            };
            Outcome { ca: Some(status), wake, ..Outcome::said(Said::ready(reason::READY, message)) }
        }
        Err(problem) => {
            let said = Said::person(reason::SECRET_INVALID, format!("Secret {secret}: {problem}"));
            Outcome { wake, ..Outcome::said(said) }
        }
    }
}

fn key_pair(data: &SecretData, now: Timestamp) -> Result<CaKeyPair, String> {
    let need =
        |key: &str, what: &str| data.get(key).ok_or_else(|| format!("{key} is missing; it must hold {what} in PEM"));
    let certificate = need(keys::TLS_CRT, "the CA certificate")?;
    let key = need(keys::TLS_KEY, "the CA's private key")?;
    CaKeyPair::from_pem(certificate, key, data.get(keys::CA_CRT), now).map_err(|e| e.to_string())
}

/// When the CA, or one above it, begins or ends to be valid.
fn dates(data: &SecretData) -> Vec<Timestamp> {
    let chain = data.get(keys::TLS_CRT).and_then(|pem| Chain::from_pem(pem, &PemLimits::CHAIN).ok());
    chain.iter().flat_map(Chain::iter).flat_map(|c| [c.not_before, c.not_after]).collect()
}
