//! Reference documents made from the code: every field of every kind, every condition and reason.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

use crate::api::reasons;

/// One page for a kind: a table of its fields.
pub fn kind(crd: &CustomResourceDefinition) -> String {
    let names = &crd.spec.names;
    let mut page = format!("# {}\n\n", names.kind);
    let schema = crd.spec.versions.first().and_then(|v| v.schema.as_ref()).and_then(|s| s.open_api_v3_schema.as_ref());
    let Some(schema) = schema else { return page };
    page.push_str(&format!(
        "{}\n\n`apiVersion: mailcert.dev/{}`, plural `{}`, short {}. Made from the code; `kubectl explain {}` says the same.\n",
        text(schema),
        crd.spec.versions.first().map(|v| v.name.as_str()).unwrap_or_default(),
        names.plural,
        names.short_names.iter().flatten().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
        names.singular.as_deref().unwrap_or_default(),
    ));
    for part in ["spec", "status"] {
        let Some(schema) = schema.properties.as_ref().and_then(|p| p.get(part)) else { continue };
        page.push_str(&format!("\n## {part}\n\n| field | type | meaning |\n|---|---|---|\n"));
        rows(&mut page, "", schema);
        rules(&mut page, schema);
    }
    page
}

/// The page of conditions, reasons and endpoint verdicts.
pub fn conditions() -> String {
    let mut page =
        "# Conditions and reasons\n\nMade from the code. A condition's message says what is wrong with this \
                    object and what to do; the reason is the word to match on.\n"
            .to_owned();
    let sections: &[(&str, &[(&str, &str)])] = &[
        ("Conditions", reasons::condition::MEANINGS),
        ("Reasons on a MailIssuer", reasons::issuer::MEANINGS),
        ("Reasons on a MailCertificate", reasons::certificate::MEANINGS),
        ("Gates of a MailCertificate that the operator itself looks at", reasons::gate::MEANINGS),
        ("Reasons of a MailCertificate's findings", reasons::finding::MEANINGS),
        ("Codes of findings about a certificate, in imports and `mailcert inspect`", reasons::import::MEANINGS),
        ("Reasons on a MailDomain", reasons::domain::MEANINGS),
        ("Reasons of a MailDomain's `DNSReady`", reasons::dns::MEANINGS),
        ("Reasons of a MailDomain's findings", reasons::domain_finding::MEANINGS),
        ("Reasons of an endpoint's verdict", reasons::endpoint::MEANINGS),
        ("Reasons on a MailTrustBundle, and of its findings", reasons::trust_bundle::MEANINGS),
    ];
    for (title, meanings) in sections {
        page.push_str(&format!("\n## {title}\n\n| word | means |\n|---|---|\n"));
        for (word, meaning) in *meanings {
            page.push_str(&format!("| `{word}` | {} |\n", meaning.trim()));
        }
    }
    page
}

fn rows(page: &mut String, prefix: &str, schema: &JSONSchemaProps) {
    let required = schema.required.clone().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{prefix}{name}");
        let must = if required.contains(name) { ", required" } else { "" };
        page.push_str(&format!("| `{path}` | {}{must} | {} |\n", type_of(field), cell(field)));
        let inner = match &field.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) => Some(&**items),
            _ => Some(field),
        };
        let own_path = if field.items.is_some() { format!("{path}[].") } else { format!("{path}.") };
        // Of Kubernetes' own types only the name is shown.
        let foreign = path.ends_with("conditions") || path.ends_with("selector");
        if let Some(inner) = inner.filter(|i| i.properties.is_some() && !foreign) {
            rows(page, &own_path, inner);
        }
    }
}

fn rules(page: &mut String, schema: &JSONSchemaProps) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        if let Some(message) = &rule.message {
            page.push_str(&format!("\nRule: {message}.\n"));
        }
    }
}

fn type_of(schema: &JSONSchemaProps) -> String {
    let base = schema.type_.clone().unwrap_or_else(|| "object".to_owned());
    match (&schema.items, &schema.format) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), _) => format!("list of {}", type_of(items)),
        (_, Some(format)) if format == "duration" || format == "date-time" => format.clone(),
        _ => base,
    }
}

fn cell(schema: &JSONSchemaProps) -> String {
    let mut cell = text(schema);
    let values: Vec<String> =
        schema.enum_.iter().flatten().map(|v| format!("`{}`", v.0.as_str().unwrap_or_default())).collect();
    if !values.is_empty() {
        cell.push_str(&format!(" One of {}.", values.join(", ")));
    }
    if let Some(default) = schema.default.as_ref().filter(|d| !d.0.is_object()) {
        cell.push_str(&format!(" Default: `{}`.", default.0.to_string().trim_matches('"')));
    }
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        if let Some(message) = &rule.message {
            cell.push_str(&format!(" Rule: {message}."));
        }
    }
    cell.replace('|', "\\|")
}

fn text(schema: &JSONSchemaProps) -> String {
    schema.description.clone().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
