//! MailCertificates as manifests would make them: what the API server would say to these, without anything being written.

use std::fmt::Debug;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use crate::api::{MailCertificate, MailDomain};
use crate::decide::domain::names::desired_certificate;
use crate::decide::domain::world::CertificateView;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// The MailCertificates that the manifests in a file are about: those that it holds, and those of the MailDomains that it
/// holds. Others that it holds are passed over. `-` is standard input.
///
/// # Errors
/// It cannot be read, holds none of them, or the API server would refuse one.
pub async fn certificates(client: &Client, namespace: &str, file: &Path) -> Result<Vec<MailCertificate>, Failure> {
    let name = file.display();
    let documents = documents(&read(file).map_err(|error| format!("{name}: {error}"))?);
    let documents = documents.map_err(|error| format!("{name} is no YAML: {error}"))?;
    let mut found = Vec::new();
    for document in documents {
        let kind = document["kind"].as_str().unwrap_or_default();
        if !document["apiVersion"].as_str().is_some_and(|version| version.starts_with("mailcert.dev/")) {
            continue;
        }
        let what = format!("{kind} {} in {name}", document["metadata"]["name"].as_str().unwrap_or("without a name"));
        let failed = |error: Failure| format!("{what}: {error}");
        match kind {
            "MailCertificate" => found.push(written(client, namespace, &document).await.map_err(failed)?),
            "MailDomain" => {
                let domain = written(client, namespace, &document).await.map_err(failed)?;
                found.push(certificate_of(client, &domain).await.map_err(failed)?);
            }
            _ => {}
        }
    }
    if found.is_empty() {
        return Err(format!("{name} holds no MailCertificate and no MailDomain: there is nothing to plan").into());
    }
    Ok(found)
}

fn read(file: &Path) -> Result<String, Failure> {
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(file)?),
    };
    let mut text = String::new();
    source.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} KiB", LARGEST / 1024).into());
    }
    Ok(text)
}

fn documents(text: &str) -> Result<Vec<Value>, Failure> {
    serde_yaml::from_multiple(text).map_err(|error| error.to_string().into())
}

/// An object as it would be if this manifest took the place of what there is: with defaults, and checked.
async fn written<K>(client: &Client, namespace: &str, manifest: &Value) -> Result<K, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let mut object: K = serde_json::from_value(manifest.clone())?;
    let api: Api<K> = Api::namespaced(client.clone(), object.namespace().as_deref().unwrap_or(namespace));
    let name = object.name_any();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let Some(current) = api.get_opt(&name).await? else { return Ok(api.create(&dry, &object).await?) };
    let mut metadata = current.meta().clone();
    metadata.annotations.get_or_insert_default().extend(object.annotations().clone());
    metadata.labels.get_or_insert_default().extend(object.labels().clone());
    *object.meta_mut() = metadata;
    Ok(api.replace(&name, &dry, &object).await?)
}

/// The MailCertificate that the operator would make of a MailDomain.
async fn certificate_of(client: &Client, domain: &MailDomain) -> Result<MailCertificate, Failure> {
    let name = CertificateView::name_for(domain);
    if domain.spec.certificate.template.is_none() {
        let message = format!(
            "its spec.certificate has no template, so it changes no certificate: plan MailCertificate {name} instead"
        );
        return Err(message.into());
    }
    let spec = desired_certificate(domain).map_err(|problems| problems.join("; "))?;
    let api: Api<MailCertificate> = Api::namespaced(client.clone(), &domain.namespace().unwrap_or_default());
    let Some(mut certificate) = api.get_opt(&name).await? else {
        let mut certificate = MailCertificate::new(&name, spec);
        certificate.metadata.namespace = domain.namespace();
        return Ok(certificate);
    };
    if certificate.spec != spec {
        // As the API server would count the change.
        certificate.metadata.generation = certificate.metadata.generation.map(|g| g + 1);
        certificate.spec = spec;
    }
    Ok(certificate)
}
