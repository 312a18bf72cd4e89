//! The challenges of a MailCertificate's order: TXT records are published and removed, and each is looked at as the CA
//! would.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::context::Context;
use super::index::Key;
use super::pass::PassError;
use super::relations::{issuer_of, key};
use super::{resolvers, views};
use crate::api::MailCertificate;
use crate::api::certificate::{PublishedRecord, TxtRecord};
use crate::api::issuer::{DnsEndpointProvider, MailIssuer, Rfc2136Provider, TsigAlgorithm, UpdateTransport};
use crate::api::solver::{Dns01Solver, DnsServer, WebhookProvider};
use crate::decide::certificate::world::{Check, IssuerView};
use crate::decide::certificate::{Fact, dns_solver};
use crate::dns::{self, Dns};
use crate::pki::Fingerprint;
use crate::solvers::dns01::dns_endpoint::{self, Endpoint};
use crate::solvers::dns01::rfc2136::{Algorithm, Rfc2136, Secret as TsigSecret, Transport};
use crate::solvers::dns01::webhook::{self, WebhookSolver};
use crate::solvers::{http01, tls_alpn01};

/// The label of a DNS-01 record (RFC 8555, section 8.4).
const LABEL: &str = "_acme-challenge";

/// For one update of a DNS server.
const UPDATE_LIMIT: Duration = Duration::from_secs(10);

/// TXT records that stand, and the MailCertificate that they are for.
#[derive(Clone, Debug)]
pub struct Published {
    /// As it was when they were published.
    pub object: Arc<MailCertificate>,
    /// At least one.
    pub records: Vec<PublishedRecord>,
}

/// Removes the TXT records of MailCertificates that were deleted in the middle of an order.
///
/// # Errors
/// When one could not be removed: it is tried again.
pub async fn sweep(context: &Context) -> Result<(), PassError> {
    for (at, published) in context.published.all() {
        if context.kinds.certificates.get(&at).is_some() {
            continue;
        }
        let object = &published.object;
        for record in &published.records {
            let Some((at, issuer)) = issuer(context, object) else { continue };
            let IssuerView::Acme(acme) = views::acme(&issuer) else { continue };
            let Some(solver) = dns_solver(&acme, &record.for_name) else { continue };
            let (name, record) = (&record.for_name, &record.record);
            context.leader.ensure()?;
            change(context, object, (&at, &issuer), solver, name, record, Change::Remove)
                .await
                .map_err(|words| PassError::LeftBehind(format!("the TXT record {}: {words}", record.name)))?;
        }
        context.published.forget(&at);
    }
    sweep_endpoints(context).await
}

/// Removes values from DNSEndpoints that nobody needs, also those of an operator that was killed.
async fn sweep_endpoints(context: &Context) -> Result<(), PassError> {
    let uses = |issuer: &MailIssuer| {
        let solvers = issuer.spec.acme.iter().flat_map(|acme| &acme.solvers);
        solvers.filter_map(|s| s.dns01.as_ref()).any(|d| d.dns_endpoint.is_some())
    };
    let issuers = context.kinds.issuers.all();
    let namespaces: BTreeSet<String> = issuers.iter().filter(|i| uses(i)).filter_map(|i| i.namespace()).collect();
    for namespace in namespaces {
        let wanted = |owner: &str, value: &str| {
            let Some((namespace, name)) = owner.split_once('/') else { return false };
            if !context.kinds.certificates.serves(namespace) {
                // Another operator's.
                return true;
            }
            let object = context.kinds.certificates.get(&(namespace.to_owned(), name.to_owned()));
            let order = object.as_ref().and_then(|o| o.status.as_ref()).and_then(|s| s.attempt.as_ref());
            order.is_some_and(|a| a.order.is_some())
                || object.is_some_and(|o| {
                    let records = o.status.iter().flat_map(|s| &s.published_records);
                    records.into_iter().any(|p| p.record.value == value)
                })
        };
        context.leader.ensure()?;
        let swept = dns_endpoint::sweep(&context.client, &namespace, wanted).await;
        swept.map_err(|e| PassError::LeftBehind(e.to_string()))?;
    }
    Ok(())
}

/// What is to be done about a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Publish,
    Remove,
}

/// The issuer that a MailCertificate names, with its key.
fn issuer(context: &Context, object: &MailCertificate) -> Option<(Key, Arc<MailIssuer>)> {
    let at = issuer_of(object)?;
    Some((at.clone(), context.kinds.issuers.get(&at)?))
}

/// Publishes the TXT record of a DNS-01 challenge where the CNAMEs of `_acme-challenge` lead.
pub async fn present(
    context: &Context,
    object: &MailCertificate,
    name: String,
    solver: usize,
    value: String,
) -> Result<Fact, PassError> {
    let Some((at, issuer)) = issuer(context, object) else { return Ok(Fact::Overtaken) };
    let base = name.strip_prefix("*.").unwrap_or(&name);
    let placed = async {
        let dns = resolvers::dns(&context.dns, &issuer)?;
        let target = dns.follow(&format!("{LABEL}.{base}")).await.map_err(|e| e.to_string())?;
        place(context, &at, &issuer, solver, &dns, target, value).await
    };
    let record = match placed.await {
        Ok(record) => record,
        Err(words) => return Ok(Fact::Presented(name, Err(words))),
    };
    let done = change(context, object, (&at, &issuer), solver, &name, &record, Change::Publish).await;
    Ok(Fact::Presented(name, done.map(|()| record)))
}

/// The record with the zone that it lies in.
async fn place(
    context: &Context,
    at: &Key,
    issuer: &MailIssuer,
    solver: usize,
    dns: &Dns,
    name: String,
    value: String,
) -> Result<TxtRecord, String> {
    let zone = match dns01(issuer, solver)? {
        // The server that takes the updates knows its zones, also where the resolvers see others.
        Dns01Solver { rfc2136: Some(provider), .. } => {
            let server = rfc2136(context, &at.0, &provider.at).await?;
            Some(server.zone_of(&name).await.map_err(|e| e.to_string())?)
        }
        Dns01Solver { webhook: Some(_), .. } => Some(dns.zone(&name).await.map_err(|e| e.to_string())?.apex),
        _ => None,
    };
    Ok(TxtRecord { name, value, zone })
}

/// Removes a TXT record.
pub async fn clean_up(
    context: &Context,
    object: &MailCertificate,
    name: &str,
    solver: usize,
    record: TxtRecord,
) -> Result<Fact, PassError> {
    let Some((at, issuer)) = issuer(context, object) else { return Ok(Fact::Overtaken) };
    let done = change(context, object, (&at, &issuer), solver, name, &record, Change::Remove).await;
    Ok(Fact::CleanedUp(record, done))
}

fn dns01(issuer: &MailIssuer, solver: usize) -> Result<&Dns01Solver, String> {
    let solver = issuer.spec.acme.as_ref().and_then(|acme| acme.solvers.get(solver));
    solver.and_then(|s| s.dns01.as_ref()).ok_or_else(|| "the issuer's solvers have just changed".to_owned())
}

async fn change(
    context: &Context,
    object: &MailCertificate,
    (at, issuer): (&Key, &MailIssuer),
    solver: usize,
    name: &str,
    record: &TxtRecord,
    change: Change,
) -> Result<(), String> {
    match dns01(issuer, solver)? {
        Dns01Solver { rfc2136: Some(provider), .. } => update(context, at, provider, record, change).await,
        Dns01Solver { webhook: Some(provider), .. } => call(context, object, at, provider, name, record, change).await,
        Dns01Solver { dns_endpoint: Some(provider), .. } => {
            endpoint(context, object, at, provider, record, change).await
        }
        Dns01Solver { .. } => Err("the dns01 solver names no provider".to_owned()),
    }
}

async fn update(
    context: &Context,
    at: &Key,
    provider: &Rfc2136Provider,
    record: &TxtRecord,
    change: Change,
) -> Result<(), String> {
    let server = rfc2136(context, &at.0, &provider.at).await?;
    let zone = record.zone.as_deref().ok_or("the record's zone is not known")?;
    let done = match change {
        Change::Publish => server.present(zone, &record.name, &record.value, provider.ttl).await,
        Change::Remove => server.clean_up(zone, &record.name, &record.value).await,
    };
    done.map_err(|e| e.to_string())
}

/// The server with its TSIG key, which is read from the namespace of the object that names it and from no other.
pub async fn rfc2136(context: &Context, namespace: &str, provider: &DnsServer) -> Result<Rfc2136, String> {
    let at = &provider.tsig_secret_ref;
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let found =
        api.get_opt(&at.name).await.map_err(|e| format!("Secret {namespace}/{} cannot be read: {e}", at.name))?;
    let found = found.ok_or_else(|| format!("Secret {namespace}/{} with the TSIG key does not exist", at.name))?;
    let text = found.data.as_ref().and_then(|d| d.get(&at.key));
    let text = text.ok_or_else(|| format!("Secret {namespace}/{} has no key {}", at.name, at.key))?;
    let secret = TsigSecret::from_base64(&text.0).map_err(|e| format!("Secret {namespace}/{}: {e}", at.name))?;
    Ok(Rfc2136 {
        server: provider.server.clone(),
        transport: match provider.transport {
            UpdateTransport::TCP => Transport::Tcp,
            UpdateTransport::UDP => Transport::Udp,
        },
        key_name: provider.tsig_key_name.clone(),
        algorithm: match provider.tsig_algorithm {
            TsigAlgorithm::HmacSha256 => Algorithm::HmacSha256,
            TsigAlgorithm::HmacSha384 => Algorithm::HmacSha384,
            TsigAlgorithm::HmacSha512 => Algorithm::HmacSha512,
        },
        secret,
        timeout: UPDATE_LIMIT,
    })
}

async fn call(
    context: &Context,
    object: &MailCertificate,
    at: &Key,
    provider: &WebhookProvider,
    name: &str,
    record: &TxtRecord,
    change: Change,
) -> Result<(), String> {
    let solver = WebhookSolver {
        group_name: provider.group_name.clone(),
        solver_name: provider.solver_name.clone(),
        config: provider.config.clone().unwrap_or_else(|| serde_json::json!({})),
    };
    let uid = format!("{} {name} {}", object.uid().unwrap_or_default(), record.value);
    let challenge = webhook::Challenge {
        uid: Fingerprint::of(uid.as_bytes()).to_string(),
        dns_name: name.to_owned(),
        key: record.value.clone(),
        resource_namespace: at.0.clone(),
        fqdn: record.name.clone(),
        zone: record.zone.clone().ok_or("the record's zone is not known")?,
    };
    let action = match change {
        Change::Publish => webhook::Action::Present,
        Change::Remove => webhook::Action::CleanUp,
    };
    solver.call(&context.client, action, &challenge).await.map_err(|e| e.to_string())
}

async fn endpoint(
    context: &Context,
    object: &MailCertificate,
    at: &Key,
    provider: &DnsEndpointProvider,
    record: &TxtRecord,
    change: Change,
) -> Result<(), String> {
    let own = key(object);
    let endpoint = Endpoint {
        namespace: at.0.clone(),
        fqdn: record.name.clone(),
        value: record.value.clone(),
        ttl: provider.ttl,
        quoted: provider.quoted,
        owner: format!("{}/{}", own.0, own.1),
        labels: provider.labels.clone(),
    };
    let done = match change {
        Change::Publish => dns_endpoint::present(&context.client, &endpoint).await.map(|_| ()),
        Change::Remove => dns_endpoint::clean_up(&context.client, &endpoint).await,
    };
    done.map_err(|e| e.to_string())
}

/// Looks at a challenge as the CA would.
pub async fn check(context: &Context, object: &MailCertificate, name: String, check: Check) -> Fact {
    let base = name.strip_prefix("*.").unwrap_or(&name);
    let result = match check {
        Check::Http01 { token, key_authorization } => {
            let how = http01::selfcheck::SelfCheck::default();
            let found = http01::selfcheck::self_check(base, &token, &key_authorization, &how).await;
            found.map_err(|p| p.to_string())
        }
        Check::TlsAlpn01 { key_authorization } => {
            let how = tls_alpn01::selfcheck::SelfCheck::default();
            let found = tls_alpn01::selfcheck::self_check(base, &key_authorization, &how).await;
            found.map_err(|p| p.to_string())
        }
        Check::Dns01 { record } => match issuer(context, object) {
            Some((_, issuer)) => propagated(context, &issuer, &record).await,
            None => Err("the issuer is gone".to_owned()),
        },
    };
    Fact::SelfChecked(name, result)
}

/// Whether every authoritative server has the record.
async fn propagated(context: &Context, issuer: &MailIssuer, record: &TxtRecord) -> Result<(), String> {
    let dns = resolvers::dns(&context.dns, issuer)?;
    let answers = dns.txt_everywhere(&record.name).await.map_err(|e| e.to_string())?;
    dns::missing(&answers, &record.value).map_or(Ok(()), Err)
}

/// The Secrets that an issuer's solvers name, in its namespace.
pub fn secrets_of(issuer: &MailIssuer) -> impl Iterator<Item = &str> {
    let acme = issuer.spec.acme.as_ref();
    let solvers = acme.into_iter().flat_map(|a| &a.solvers).filter_map(|s| s.dns01.as_ref());
    let tsig = solvers.filter_map(|d| d.rfc2136.as_ref()).map(|r| r.at.tsig_secret_ref.name.as_str());
    tsig.chain(acme.and_then(|a| a.external_account_binding.as_ref()).map(|e| e.key_secret_ref.name.as_str()))
}
