//! The Secret of MailDomains that share a server: observed, read and written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::context::Context;
use super::index::Key;
use super::pass::PassError;
use super::relations::key;
use super::secrets::{params, post};
use super::system;
use crate::api::{MailCertificate, MailDomain, keys};
use crate::decide::domain::names::names;
use crate::decide::domain::sni::{Member, Plan, SniSecret, Source, View};
use crate::decide::domain::world::{CertificateView, Fact};
use crate::pki::{Chain, Fingerprint, PemLimits};

/// The group of a MailDomain, if it is in one.
pub fn observe(context: &Context, object: &MailDomain, own: &Key) -> Option<View> {
    let sni = object.spec.sni.as_ref()?;
    let group = (own.0.clone(), sni.secret_name.clone());
    let others = context.relations.sni.of(&group).into_iter().filter(|k| k != own);
    let others = others.filter_map(|k| context.kinds.domains.get(&k));
    let mut all: Vec<Arc<MailDomain>> = others.chain([Arc::new(object.clone())]).collect();
    all.retain(|d| d.meta().deletion_timestamp.is_none());
    all.sort_by_key(|d| d.name_any());
    let members: Vec<Member> = all.iter().filter_map(|d| member(context, d)).collect();
    let written = all.first().and_then(|d| d.status.as_ref()?.sni.clone());
    let known = written.as_ref().filter(|w| w.secret_name == sni.secret_name);
    let known = known.and_then(|w| w.secret_resource_version.as_ref());
    let seen = context.relations.secrets.get(&group.0, &group.1).map(|s| s.version);
    let secret = match &seen {
        Some(version) if Some(version) == known => SniSecret::Unchanged,
        Some(_) => SniSecret::NotRead,
        // A watch may lag behind the write that the status knows of.
        None if known.is_some() => SniSecret::NotRead,
        None => SniSecret::Absent,
    };
    Some(View { members, secret, written, waits: None })
}

fn member(context: &Context, domain: &MailDomain) -> Option<Member> {
    let own = key(domain);
    let all = names(domain);
    let mut claimed = all.wanted;
    claimed.extend(all.legacy.into_iter().map(|l| l.name));
    let certificate = certificate(context, domain, own.0).and_then(|c| {
        let active = c.status.as_ref()?.active.as_ref()?;
        Some(Source {
            secret_name: c.spec.secret_name.clone(),
            fingerprint: active.fingerprint_sha256.clone(),
            dns_names: active.dns_names.clone(),
        })
    });
    Some(Member { name: own.1, sni: domain.spec.sni.clone()?, names: claimed, certificate })
}

/// The MailCertificate that it serves: its own, or the namespace's system certificate in its place.
fn certificate(context: &Context, domain: &MailDomain, namespace: String) -> Option<Arc<MailCertificate>> {
    if domain.spec.certificate.disabled {
        return system::used_by(context, domain);
    }
    let found = context.kinds.certificates.get(&(namespace, CertificateView::name_for(domain)));
    match CertificateView::of(domain, found) {
        CertificateView::Found(certificate) => Some(certificate),
        _ => None,
    }
}

fn api(context: &Context, namespace: &str) -> Api<Secret> {
    Api::namespaced(context.client.clone(), namespace)
}

/// Reads the group's Secret.
pub async fn read(context: &Context, namespace: &str, name: &str) -> Result<Fact, PassError> {
    let doing = PassError::api(format!("reading Secret {name}"));
    let found = api(context, namespace).get_opt(name).await.map_err(doing)?;
    Ok(Fact::Sni(found.map_or(SniSecret::Absent, |secret| view(&secret))))
}

fn view(secret: &Secret) -> SniSecret {
    let (name, labels) = (secret.name_any(), secret.labels());
    let ours = labels.get(keys::MANAGED_BY).is_some_and(|m| m == keys::MANAGER) && labels.contains_key(keys::SNI);
    if !ours {
        return SniSecret::Foreign(format!(
            "the Secret {name} exists and was not made for tables of names: choose another spec.sni.secretName, or keep a \
             copy and delete it"
        ));
    }
    let data = secret.data.clone().unwrap_or_default();
    let intact = secret.annotations().get(keys::SNI_CONTENT) == Some(&content(&data));
    SniSecret::Ours {
        version: secret.resource_version().unwrap_or_default(),
        digest: secret.annotations().get(keys::SNI_DIGEST).filter(|_| intact).cloned(),
        keys: data.into_keys().collect(),
    }
}

/// Says whether somebody has changed the data. Keys have too much randomness to be guessed from a hash.
fn content(data: &BTreeMap<String, ByteString>) -> String {
    let line = |(name, bytes): (&String, &ByteString)| format!("{name} {}\n", Fingerprint::of(&bytes.0));
    Fingerprint::of(data.iter().map(line).collect::<String>().as_bytes()).to_string()
}

/// Writes the group's Secret: files and tables in one update.
pub async fn write(
    context: &Context,
    namespace: &str,
    name: &str,
    plan: &Plan,
    stale: &BTreeSet<String>,
    over: Option<&str>,
) -> Result<Fact, PassError> {
    let secrets = api(context, namespace);
    let mut data: BTreeMap<String, ByteString> =
        plan.tables.iter().map(|(k, v)| (k.clone(), ByteString(v.as_bytes().to_vec()))).collect();
    for (file, source) in &plan.files {
        match combined(&secrets, source).await? {
            Ok(pem) => drop(data.insert(file.clone(), pem)),
            Err(why) => return Ok(Fact::SniWaits(why)),
        }
    }
    let labels = json!({keys::MANAGED_BY: keys::MANAGER, keys::SNI: "true"});
    let annotations = json!({keys::SNI_DIGEST: plan.digest, keys::SNI_CONTENT: content(&data)});
    let written = match over {
        None => {
            let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
            let metadata: ObjectMeta = serde_json::from_value(metadata)
                .map_err(|e| PassError::api(format!("writing Secret {name}"))(kube::Error::SerdeError(e)))?;
            let secret = Secret { metadata, type_: Some("Opaque".to_owned()), data: Some(data), ..Secret::default() };
            secrets.create(&post(), &secret).await
        }
        Some(version) => {
            let mut data = json!(data);
            for key in stale {
                data[key] = json!(null);
            }
            let metadata = json!({"resourceVersion": version, "labels": labels, "annotations": annotations});
            secrets.patch(name, &params(), &Patch::Merge(json!({"metadata": metadata, "data": data}))).await
        }
    };
    match written {
        Ok(secret) => Ok(Fact::Sni(view(&secret))),
        Err(kube::Error::Api(s)) if s.code == 409 || s.code == 404 => {
            Ok(Fact::SniWaits(format!("somebody else wrote the Secret {name} at the same time: looking again")))
        }
        Err(e) => Err(PassError::api(format!("writing Secret {name}"))(e)),
    }
}

/// Key and chain of a certificate, once its Secret holds what its status says.
async fn combined(secrets: &Api<Secret>, source: &Source) -> Result<Result<ByteString, String>, PassError> {
    let name = &source.secret_name;
    let doing = PassError::api(format!("reading Secret {name}"));
    let found = secrets.get_opt(name).await.map_err(doing)?;
    let pem = found.and_then(|s| s.data).and_then(|mut data| data.remove(keys::TLS_COMBINED));
    let holds = |pem: &ByteString| {
        let chain = Chain::from_pem(&pem.0, &PemLimits::BUNDLE);
        chain.is_ok_and(|c| c.leaf().fingerprint.to_string() == source.fingerprint)
    };
    Ok(pem.filter(holds).ok_or_else(|| {
        format!(
            "the Secret {name} does not hold the certificate that its MailCertificate speaks of: it is put right first"
        )
    }))
}
