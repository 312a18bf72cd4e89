//! The cert-manager actions of a MailCertificate: one request to the API server each, never a wait.

use k8s_openapi::jiff::SignedDuration;
use kube::{Resource, ResourceExt};

use super::context::Context;
use super::pass::PassError;
use crate::api::MailCertificate;
use crate::api::certificate::KeyAlgorithm as Algorithm;
use crate::api::reasons::certificate as reason;
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::{Fact, IssuerView, StepFailure};
use crate::issuers::cert_manager::{self, Draft, Failure, IssuerRef, duration, usages};
use crate::pki::{KeyAlgorithm, Usage};

/// Makes a CertificateRequest.
pub async fn create(
    context: &Context,
    object: &MailCertificate,
    issuer: &IssuerView,
    name: &str,
    csr: &[u8],
    extended: &[Usage],
) -> Result<Fact, PassError> {
    let IssuerView::CertManager(at) = issuer else { return Ok(Fact::Overtaken) };
    let options = &object.spec.options;
    let algorithm = match options.private_key.algorithm {
        Algorithm::RSA => KeyAlgorithm::Rsa,
        Algorithm::ECDSA => KeyAlgorithm::Ecdsa,
        Algorithm::Ed25519 => KeyAlgorithm::Ed25519,
    };
    let asked = options.duration.and_then(|d| SignedDuration::try_from(std::time::Duration::from(d)).ok());
    let draft = Draft {
        name,
        owner: &object.name_any(),
        owner_reference: object.controller_owner_ref(&()),
        issuer: IssuerRef { name: at.name.clone(), kind: at.kind.clone(), group: at.group.clone() },
        csr,
        duration: asked.map(duration),
        usages: usages(algorithm, extended),
    };
    let made = cert_manager::create(&context.client, &namespace(object), &draft).await;
    fact(made.map(Fact::RequestCreated), || format!("creating CertificateRequest {name}"))
}

/// Looks at a CertificateRequest.
pub async fn look(context: &Context, object: &MailCertificate, name: &str) -> Result<Fact, PassError> {
    let seen = cert_manager::look(&context.client, &namespace(object), name).await;
    fact(seen.map(Fact::Request), || format!("reading CertificateRequest {name}"))
}

/// Deletes a CertificateRequest. Where that is not allowed, or the kind is gone, it is left behind.
pub async fn delete(context: &Context, object: &MailCertificate, name: &str) -> Result<Fact, PassError> {
    match cert_manager::delete(&context.client, &namespace(object), name, &object.name_any()).await {
        Ok(()) => Ok(Fact::RequestDeleted),
        Err(Failure::Api(source)) => Err(PassError::api(format!("deleting CertificateRequest {name}"))(*source)),
        Err(left) => {
            tracing::warn!(namespace = namespace(object), name, "the CertificateRequest is not deleted: {left}");
            Ok(Fact::RequestDeleted)
        }
    }
}

fn namespace(object: &MailCertificate) -> String {
    object.namespace().unwrap_or_default()
}

fn fact(result: Result<Fact, Failure>, doing: impl FnOnce() -> String) -> Result<Fact, PassError> {
    let failure = match result {
        Ok(fact) => return Ok(fact),
        Err(Failure::Api(source)) => return Err(PassError::api(doing())(*source)),
        Err(failure) => failure,
    };
    let (pace, reason) = match failure {
        Failure::NotInstalled => (Pace::Transient, reason::ISSUER_NOT_READY),
        Failure::Forbidden(..) => (Pace::Transient, reason::FORBIDDEN),
        Failure::Foreign(_) => (Pace::Person, reason::REQUEST_REFUSED),
        Failure::Refused(_) | Failure::Api(_) => (Pace::Refusal, reason::REQUEST_REFUSED),
    };
    Ok(Fact::Failed(StepFailure { pace, reason, message: failure.to_string(), retry_after: None, order_lost: false }))
}
