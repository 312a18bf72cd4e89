//! `mailcert crds`: prints the CustomResourceDefinitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::api::{MailCertificate, MailDomain, MailIssuer};

/// Every CustomResourceDefinition of mailcert.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![MailIssuer::crd(), MailCertificate::crd(), MailDomain::crd()]
}

/// One CustomResourceDefinition as YAML.
///
/// # Errors
/// When it cannot be serialised, which would be a bug.
pub fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_yaml::SerializeError> {
    serde_yaml::to_string(crd)
}

/// Prints every CustomResourceDefinition.
#[expect(clippy::print_stdout, reason = "they are this command's output")]
pub(super) fn print() -> Result<(), super::Failure> {
    for crd in all() {
        print!("---\n{}", yaml(&crd)?);
    }
    Ok(())
}
