//! Files that are generated from the code and committed: the CustomResourceDefinitions, plain and as chart templates.
//!
//! A test compares what is on disk with [`files`], and writes it when told so.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::{crds, reference};

/// Why nothing could be generated: always a bug in the code that generates.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A CustomResourceDefinition could not be written as YAML.
    #[error("cannot write the CustomResourceDefinition {name} as YAML: {source}")]
    Yaml {
        /// Name of the CustomResourceDefinition.
        name: String,
        /// What the serialiser says.
        source: serde_yaml::SerializeError,
    },
    /// The YAML does not look as it must for the chart.
    #[error("the YAML of {0} does not begin with apiVersion, kind and a metadata that has only a name")]
    Shape(String),
}

const HEADER: &str = "# Generated from src/api by `make generate`. Do not edit.\n";

/// Every generated file: path from the root of the repository, and content.
///
/// # Errors
/// [`GenerateError`], which would be a bug.
pub fn files() -> Result<BTreeMap<String, String>, GenerateError> {
    let mut files = BTreeMap::new();
    for crd in crds::all() {
        let yaml = yaml(&crd)?;
        let name = crd.metadata.name.clone().unwrap_or_default();
        let plural = &crd.spec.names.plural;
        files.insert(format!("charts/mailcert/templates/crds/{plural}.yaml"), chart_crd(&name, &yaml)?);
        files.insert(format!("crds/{plural}.yaml"), format!("{HEADER}{yaml}"));
        files.insert(format!("docs/reference/{plural}.md"), reference::kind(&crd));
    }
    files.insert("docs/reference/conditions.md".to_owned(), reference::conditions());
    Ok(files)
}

fn yaml(crd: &CustomResourceDefinition) -> Result<String, GenerateError> {
    let name = || crd.metadata.name.clone().unwrap_or_default();
    crds::yaml(crd).map_err(|source| GenerateError::Yaml { name: name(), source })
}

/// The chart's template for one CustomResourceDefinition: the same text behind `crds.enabled`, kept when the release is
/// uninstalled while `crds.keep` is set, because deleting a CustomResourceDefinition deletes every object of its kind.
///
/// # Errors
/// [`GenerateError::Shape`] when `yaml` has anything but a name in its metadata.
pub fn chart_crd(name: &str, yaml: &str) -> Result<String, GenerateError> {
    let head =
        format!("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: {name}\n");
    let spec = yaml.strip_prefix(&head).filter(|rest| rest.starts_with("spec:\n"));
    let spec = spec.ok_or_else(|| GenerateError::Shape(name.to_owned()))?;
    let spec = escape(spec);
    Ok(format!(
        "{HEADER}{{{{- if .Values.crds.enabled }}}}\n{head}  labels:\n    \
         {{{{- include \"mailcert.labels\" . | nindent 4 }}}}\n  \
         {{{{- if .Values.crds.keep }}}}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{{{- end }}}}\n\
         {spec}{{{{- end }}}}\n"
    ))
}

/// Makes text literal in a Helm template: only an opening `{{` means anything there.
fn escape(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: a.b\n";

    #[test]
    fn a_chart_template_keeps_the_text_and_escapes_braces() {
        let template = chart_crd("a.b", &format!("{HEAD}spec:\n  rule: a{{{{b}}}}\n")).unwrap();
        assert_eq!(
            template,
            "# Generated from src/api by `make generate`. Do not edit.\n\
             {{- if .Values.crds.enabled }}\n\
             apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: a.b\n  labels:\n    \
             {{- include \"mailcert.labels\" . | nindent 4 }}\n  \
             {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n\
             spec:\n  rule: a{{ \"{{\" }}b}}\n\
             {{- end }}\n"
        );
    }

    #[test]
    fn metadata_that_would_collide_with_the_charts_is_refused() {
        let error = chart_crd("a.b", &format!("{HEAD}  labels: {{}}\nspec:\n")).unwrap_err();
        assert!(matches!(error, GenerateError::Shape(name) if name == "a.b"));
    }
}
