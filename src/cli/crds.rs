//! `mailcert crds`: prints the CustomResourceDefinitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

use crate::api::{MailCertificate, MailDomain, MailIssuer};

/// Every CustomResourceDefinition of mailcert.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut all = vec![MailIssuer::crd(), MailCertificate::crd(), MailDomain::crd()];
    for version in all.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            join_lines(schema);
        }
    }
    all
}

/// Docstrings are wrapped for editors; `kubectl explain` wraps by itself.
fn join_lines(schema: &mut JSONSchemaProps) {
    if let Some(text) = &mut schema.description {
        let paragraphs: Vec<String> =
            text.split("\n\n").map(|p| p.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        *text = paragraphs.join("\n\n");
    }
    schema.properties.iter_mut().flatten().for_each(|(_, property)| join_lines(property));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        join_lines(items);
    }
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
