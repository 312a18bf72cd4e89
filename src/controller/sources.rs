//! The Secrets that MailCertificates import from: what the watch shows of them, and reading them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource, ResourceExt};
use zeroize::Zeroizing;

use super::context::Context;
use super::index::Key;
use super::pass::PassError;
use super::relations::key;
use crate::aia::Fetcher;
use crate::api::MailCertificate;
use crate::api::certificate::{Import, ImportFormat};
use crate::api::reasons::{finding, import as words};
use crate::decide::certificate::world::{Demand, Fact, ImportView, Lacking, SourceFact, SourceRead};
use crate::decide::domain::names;
use crate::pki::import::{self, Format, Input, Limits, Request};
use crate::pki::{Certificate, Chain, PemLimits};

/// The longest password, in bytes.
const LONGEST_PASSWORD: usize = 1024;

/// The operator's settings for imports.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportSettings {
    /// How much is read.
    pub limits: Limits,
    /// Whether issuers that are missing may be fetched.
    pub may_fetch: bool,
}

/// The source of an import as the watch shows it.
pub fn view(context: &Context, object: &MailCertificate, import: &Import) -> ImportView {
    let own = key(object);
    let version = |name: &str| context.relations.secrets.get(&own.0, name).map(|seen| seen.version);
    ImportView {
        source: version(&import.secret_ref.name),
        password: import.password_secret_ref.as_ref().and_then(|password| version(&password.name)),
        demands: demands(context, &own),
        may_fetch: context.imports.may_fetch,
        limits: context.imports.limits,
    }
}

/// What the MailDomains that use the certificate need, by name.
fn demands(context: &Context, own: &Key) -> Vec<Demand> {
    let domains = context.relations.domains.of(own).into_iter().filter_map(|k| context.kinds.domains.get(&k));
    let alive = domains.filter(|d| d.meta().deletion_timestamp.is_none());
    let mut demands: Vec<Demand> = alive
        .map(|domain| {
            let names = names::names(&domain);
            let external_host = crate::pki::host_of_url(&domain.spec.external_url).ok();
            Demand { domain: domain.name_any(), external_host, names: names.wanted, legacy: names.legacy }
        })
        .collect();
    demands.sort_by(|a, b| a.domain.cmp(&b.domain));
    demands
}

/// Reads the source, and the password where one is named.
///
/// # Errors
/// When they cannot be read. What is wrong with them is a fact.
pub async fn read(context: &Context, object: &MailCertificate, issuers: Vec<Certificate>) -> Result<Fact, PassError> {
    let Some(import) = object.spec.import.clone() else { return Ok(Fact::Overtaken) };
    let limits = context.imports.limits;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let get = |name: String| {
        let secrets = secrets.clone();
        async move { secrets.get_opt(&name).await.map_err(PassError::api(format!("reading Secret {name}"))) }
    };
    let source = get(import.secret_ref.name.clone()).await?;
    let password = match &import.password_secret_ref {
        Some(reference) => get(reference.name.clone()).await?,
        None => None,
    };
    let mut read = SourceRead {
        version: source.as_ref().and_then(ResourceExt::resource_version),
        password: password.as_ref().and_then(ResourceExt::resource_version),
        content: Err(not_found(&import)),
        issuers: issuers.len(),
    };
    if let Some(source) = source {
        let data = source.data.unwrap_or_default();
        let secret = password_in(&import, password);
        read.content = match (inputs(&import, &data), secret) {
            (Err(lacking), _) | (Ok(_), Err(lacking)) => Err(lacking),
            (Ok(names), Ok(secret)) => {
                // They may be what the chain lacks, and the root that `ca.crt` gets.
                let known = issuers.into_iter().chain(anchors(&import)).collect();
                parse(&import, data, names, secret, known, limits).await
            }
        };
    }
    Ok(Fact::Source(SourceFact::Read(read)))
}

/// The trust anchors of the spec. What is wrong with them, deciding has told.
fn anchors(import: &Import) -> Vec<Certificate> {
    let pem = import.trust_anchors.as_deref().unwrap_or_default();
    Chain::from_pem(pem.as_bytes(), &PemLimits::CHAIN).map(|chain| chain.iter().cloned().collect()).unwrap_or_default()
}

/// Fetches a missing issuer.
pub async fn fetch(urls: Vec<String>) -> Fact {
    let fetched = Fetcher::default().fetch(&urls).await;
    Fact::Source(SourceFact::Issuer(urls, fetched.map(Box::new).map_err(|e| e.to_string())))
}

/// Deriving keys from passwords takes up to seconds, so it is done where nothing else waits for it. The limit of rounds bounds
/// it.
async fn parse(
    import: &Import,
    data: BTreeMap<String, ByteString>,
    names: Vec<String>,
    password: Option<Zeroizing<Vec<u8>>>,
    issuers: Vec<Certificate>,
    limits: Limits,
) -> Result<(Arc<import::Imported>, Vec<import::Finding>), Lacking> {
    let format = match import.format {
        ImportFormat::Auto => Format::Auto,
        ImportFormat::PEM => Format::Pem,
        ImportFormat::PKCS12 => Format::Pkcs12,
    };
    let source = import.secret_ref.name.clone();
    let unread: Vec<String> = data.keys().filter(|key| !names.contains(key)).take(10).cloned().collect();
    let read = tokio::task::spawn_blocking(move || {
        let input = |name: &String| Some((name.clone(), &data.get(name)?.0));
        let named: Vec<(String, &Vec<u8>)> = names.iter().filter_map(input).collect();
        let inputs: Vec<Input<'_>> = named.iter().map(|(name, bytes)| Input { name, bytes }).collect();
        let password = password.as_ref().map(|p| p.as_slice());
        import::read(&Request { inputs: &inputs, format, password, extra_issuers: &issuers, limits })
    });
    let (imported, mut findings) = read.await.map_err(|_| unreadable(&source))?;
    let missing = |f: &&mut import::Finding| f.code == words::NO_CERTIFICATE || f.code == words::NO_KEY;
    for finding in findings.iter_mut().filter(|_| !unread.is_empty()).filter(missing) {
        finding.message.push_str(&format!(
            ". These keys of Secret {source} were not read, and spec.import.keys can name them: {}",
            unread.join(", ")
        ));
    }
    Ok((Arc::new(imported), findings))
}

/// Which keys of the source to read.
fn inputs(import: &Import, data: &BTreeMap<String, ByteString>) -> Result<Vec<String>, Lacking> {
    let source = &import.secret_ref.name;
    let has = || match data.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it has {}", data.keys().take(10).cloned().collect::<Vec<_>>().join(", ")),
    };
    let lacking = |message: String| Lacking { reason: finding::SOURCE_KEY_MISSING, about: source.clone(), message };
    let Some(named) = &import.keys else {
        let names = import::conventional(data.keys().map(String::as_str));
        if names.is_empty() {
            return Err(lacking(format!(
                "no key of Secret {source} is named as certificates commonly are ({}): say in spec.import.keys which ones to read",
                has()
            )));
        }
        return Ok(names.into_iter().map(str::to_owned).collect());
    };
    let fields =
        [("certificate", &named.certificate), ("key", &named.key), ("pkcs12", &named.pkcs12), ("ca", &named.ca)];
    let mut names: Vec<String> = Vec::new();
    for (field, name) in fields {
        let Some(name) = name else { continue };
        if !data.contains_key(name) {
            return Err(lacking(format!(
                "Secret {source} has no key {name}, which spec.import.keys.{field} names ({}): put it there, or correct the field",
                has()
            )));
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

fn password_in(import: &Import, secret: Option<Secret>) -> Result<Option<Zeroizing<Vec<u8>>>, Lacking> {
    let Some(reference) = &import.password_secret_ref else { return Ok(None) };
    let (name, key) = (&reference.name, &reference.key);
    let lacking = |message: String| Lacking { reason: finding::PASSWORD_NOT_FOUND, about: name.clone(), message };
    let Some(secret) = secret else {
        return Err(lacking(format!(
            "there is no Secret {name} in this namespace with the password: create it, or correct spec.import.passwordSecretRef"
        )));
    };
    let value = secret.data.unwrap_or_default().remove(key).map(|bytes| Zeroizing::new(bytes.0));
    let Some(value) = value else {
        return Err(lacking(format!(
            "Secret {name} has no key {key} with the password: put it there, or correct spec.import.passwordSecretRef.key"
        )));
    };
    if value.len() > LONGEST_PASSWORD {
        return Err(lacking(format!(
            "the password in key {key} of Secret {name} is longer than {LONGEST_PASSWORD} bytes: that is no password"
        )));
    }
    // Editors and `kubectl create secret --from-file` leave a line end, which belongs to no password.
    let end = value.strip_suffix(b"\n").map(|v| v.strip_suffix(b"\r").unwrap_or(v)).unwrap_or(&value).len();
    Ok(Some(Zeroizing::new(value[..end].to_vec())))
}

/// A parser has panicked, which none should.
fn unreadable(source: &str) -> Lacking {
    let message = format!(
        "reading Secret {source} failed inside mailcert, which is a defect of it: please report that, and export the file again \
         with openssl meanwhile"
    );
    Lacking { reason: words::UNREADABLE, about: source.to_owned(), message }
}

fn not_found(import: &Import) -> Lacking {
    let name = &import.secret_ref.name;
    Lacking {
        reason: finding::SOURCE_NOT_FOUND,
        about: name.clone(),
        message: format!("there is no Secret {name} in this namespace to import from any more: create it again"),
    }
}
