//! `mailcert crds`: prints the CustomResourceDefinitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::api::{MailCertificate, MailDomain, MailIssuer, MailTrustBundle};

/// Every CustomResourceDefinition of mailcert.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![MailIssuer::crd(), MailCertificate::crd(), MailDomain::crd(), MailTrustBundle::crd()];
    let versions = crds.iter_mut().flat_map(|crd| &mut crd.spec.versions);
    versions.filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut()).for_each(unwrap_descriptions);
    crds
}

/// Joins the lines of each paragraph: the descriptions are wrapped as the source is, and `kubectl explain` wraps by itself.
fn unwrap_descriptions(schema: &mut JSONSchemaProps) {
    if let Some(text) = &mut schema.description {
        let paragraphs =
            text.split("\n\n").map(|paragraph| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" "));
        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
    schema.properties.iter_mut().flat_map(|p| p.values_mut()).for_each(unwrap_descriptions);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => unwrap_descriptions(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(unwrap_descriptions),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        unwrap_descriptions(value);
    }
}

/// An object as YAML.
///
/// # Errors
/// When it cannot be serialised, which would be a bug.
pub fn yaml(object: &impl serde::Serialize) -> Result<String, serde_yaml::SerializeError> {
    serde_yaml::to_string(object)
}

/// Prints every CustomResourceDefinition.
#[expect(clippy::print_stdout, reason = "they are this command's output")]
pub(super) fn print() -> Result<(), super::Failure> {
    for crd in all() {
        print!("---\n{}", yaml(&crd)?);
    }
    Ok(())
}
