//! TLSA records of MailDomains: looking at them, publishing and withdrawing them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Resource, ResourceExt};

use super::challenges::rfc2136;
use super::context::Context;
use super::pass::PassError;
use super::relations::key;
use super::secrets;
use crate::api::MailDomain;
use crate::api::domain::{Tlsa, TlsaMode, TlsaState};
use crate::api::keys::{MANAGED_BY, MANAGER};
use crate::decide::domain::tlsa::{CONFIG_MAP_VALUE, Memory, Outcome, Step, Update, last_server};
use crate::dns::{Dns, parse_resolver};
use crate::solvers::dns01::dns_endpoint::tlsa as dns_endpoint;

/// Key of the ConfigMap with the lines of a zone file.
const ZONE_FILE: &str = "tlsa.zone";

/// What is remembered, and what other MailDomains of the namespace want.
///
/// # Errors
/// When the API server cannot be asked for the key of one that is being deleted.
pub async fn observe(context: &Context, object: &MailDomain) -> Result<Memory, PassError> {
    let is_wanted = |o: &MailDomain| o.spec.dns.is_some() || o.status.as_ref().is_some_and(|s| s.dns.is_some());
    if !is_wanted(object) {
        return Ok(Memory::default());
    }
    let own = key(object);
    let mut memory = context.tlsa.get(&own).unwrap_or_default();
    (memory.others, memory.held, memory.ttls) = Default::default();
    for at in context.relations.domains_in.of(&own.0).into_iter().filter(|at| *at != own) {
        let Some(other) = context.kinds.domains.get(&at).filter(|o| o.metadata.deletion_timestamp.is_none()) else {
            continue;
        };
        let records = other.status.iter().filter_map(|s| s.dns.as_ref()?.tlsa.as_ref()).flat_map(|t| &t.records);
        let publishes = |tlsa: &&Tlsa| matches!(tlsa.mode, TlsaMode::RFC2136 | TlsaMode::DNSEndpoint);
        let ttl = other.spec.dns.as_ref().and_then(|dns| dns.tlsa.as_ref()).filter(publishes).map(|tlsa| tlsa.ttl);
        for record in records {
            let at = (record.name.clone(), record.value.clone());
            match record.state {
                TlsaState::Pending | TlsaState::Waiting | TlsaState::Ready => memory.others.insert(at),
                TlsaState::Held => memory.held.insert(at),
                TlsaState::Removing | TlsaState::Withdrawn => continue,
            };
            if let Some(ttl) = ttl {
                memory.ttls.entry(record.name.clone()).and_modify(|least| *least = ttl.min(*least)).or_insert(ttl);
            }
        }
    }
    memory.keyless = match object.metadata.deletion_timestamp {
        Some(_) => keyless(context, object).await?,
        None => None,
    };
    Ok(memory)
}

/// Why the TSIG key of one that is being deleted cannot be had: with a namespace it goes before the MailDomain.
async fn keyless(context: &Context, object: &MailDomain) -> Result<Option<String>, PassError> {
    let Some(server) = last_server(object) else { return Ok(None) };
    let (namespace, name) = (object.namespace().unwrap_or_default(), &server.tsig_secret_ref.name);
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let what = format!("the Secret {name} with the TSIG key");
    match api.get_metadata_opt(name).await {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some(format!("{what} does not exist any more"))),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Some(format!("{what} may not be read any more"))),
        Err(e) => Err(PassError::api(format!("reading Secret {name}"))(e)),
    }
}

/// Does a step.
pub async fn act(context: &Context, object: &MailDomain, step: Step) -> Result<Outcome, PassError> {
    let problem = match &step {
        Step::Look { name, host } => {
            let found = match dns(context, object) {
                Ok(dns) => dns.tlsa_everywhere(name, host).await.map_err(|e| e.to_string()),
                Err(why) => Err(why),
            };
            return Ok(Outcome::Looked { name: name.clone(), at: Context::now(), found });
        }
        Step::Update(update) => apply(context, object, update).await.err(),
        Step::Endpoint { records, ttl, labels } => {
            let wanted = dns_endpoint::Wanted { owner: object, records, ttl: *ttl, labels };
            dns_endpoint::write(&context.client, &wanted).await.err().map(|e| e.to_string())
        }
        Step::Show(lines) => show(context, object, lines).await?,
    };
    Ok(Outcome::Done { step, at: Context::now(), problem })
}

/// How DNS is asked about a MailDomain.
fn dns(context: &Context, object: &MailDomain) -> Result<Dns, String> {
    let mut settings = context.dns.clone();
    let own = object.spec.dns.as_ref().map(|dns| dns.resolvers.as_slice()).unwrap_or_default();
    if !own.is_empty() {
        settings.resolvers = own.iter().map(|text| parse_resolver(text)).collect::<Result<_, _>>()?;
    }
    Dns::new(&settings).map_err(|e| e.to_string())
}

/// One update, with the TSIG key of the MailDomain's own namespace.
async fn apply(context: &Context, object: &MailDomain, update: &Update) -> Result<(), String> {
    let namespace = object.namespace().unwrap_or_default();
    let server = rfc2136(context, &namespace, &update.server).await?;
    let zone = server.zone_of(&update.owner).await.map_err(|e| e.to_string())?;
    let done = server.replace_tlsa(&zone, &update.owner, &update.add, &update.remove, update.ttl).await;
    done.map_err(|e| e.to_string())
}

/// Writes the ConfigMap, or deletes it when there are no lines. What is as it should be is not written. Says why it
/// cannot be, where the operator may not.
async fn show(context: &Context, owner: &MailDomain, lines: &str) -> Result<Option<String>, PassError> {
    let (namespace, domain) = key(owner);
    let name = format!("{domain}-tlsa");
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let standing = match api.get_opt(&name).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Ok(Some(format!(
                "no ConfigMap shows the records: install the chart with --set {CONFIG_MAP_VALUE}=true for that"
            )));
        }
        standing => standing.map_err(PassError::api(format!("reading ConfigMap {name}")))?,
    };
    let is_ours =
        |map: &ConfigMap| map.owner_references().iter().any(|o| Some(o.uid.as_str()) == owner.uid().as_deref());
    if standing.as_ref().is_some_and(|map| !is_ours(map)) {
        return Ok(Some(format!("the ConfigMap {name} is not this MailDomain's: remove it, or rename one of the two")));
    }
    let text = |map: &ConfigMap| map.data.as_ref().and_then(|d| d.get(ZONE_FILE)).cloned().unwrap_or_default();
    let doing = format!("writing ConfigMap {name}");
    match standing {
        None if lines.is_empty() => {}
        Some(map) if text(&map) == lines && !lines.is_empty() => {}
        Some(map) if lines.is_empty() => {
            let exactly = Preconditions { uid: map.uid(), resource_version: map.resource_version() };
            let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
            api.delete(&name, &params).await.map(drop).map_err(PassError::api(doing))?;
        }
        Some(mut map) => {
            map.data = Some(BTreeMap::from([(ZONE_FILE.to_owned(), lines.to_owned())]));
            api.replace(&name, &secrets::post(), &map).await.map(drop).map_err(PassError::api(doing))?;
        }
        None => {
            let mut map = ConfigMap {
                data: Some(BTreeMap::from([(ZONE_FILE.to_owned(), lines.to_owned())])),
                ..ConfigMap::default()
            };
            map.metadata.name = Some(name);
            map.metadata.owner_references = owner.controller_owner_ref(&()).map(|o| vec![o]);
            map.labels_mut().insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
            api.create(&secrets::post(), &map).await.map(drop).map_err(PassError::api(doing))?;
        }
    }
    Ok(None)
}
