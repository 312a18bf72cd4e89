//! An issuer's ledgers as a Secret.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::Place;
use crate::api::keys;
use crate::controller::index::Key;
use crate::controller::pass::PassError;
use crate::controller::secrets::{params, post};
use crate::decide::guard::{Ledger, MAX_BYTES};

/// Why ledgers cannot be read or written.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It takes a person.
    Unusable(String),
    /// The API server did not answer, or not as it should, or another replica leads.
    Pass(PassError),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(words) => f.write_str(words),
            Self::Pass(PassError::Api { doing, source }) => write!(f, "{doing}: {source}"),
            Self::Pass(error) => write!(f, "{error}"),
        }
    }
}

impl From<PassError> for Trouble {
    fn from(error: PassError) -> Self {
        Self::Pass(error)
    }
}

impl Trouble {
    /// A write that another pass made, or tried too often, has failed.
    pub fn failed(issuer: &Key, words: String) -> Self {
        let doing = format!("writing Secret {}", name(issuer));
        Self::Pass(PassError::api(doing)(kube::Error::Service(words.into())))
    }

    fn api(issuer: &Key, doing: &str, error: kube::Error) -> Self {
        let name = name(issuer);
        match error {
            kube::Error::Api(s) if s.code == 403 => Self::Unusable(format!(
                "the operator may not {} Secret {name} in namespace {}, where it counts orders: give it the RoleBinding that \
                 the chart makes for its namespaces",
                if doing == "reading" { "read" } else { "write" },
                issuer.0
            )),
            error => Self::Pass(PassError::api(format!("{doing} Secret {name}"))(error)),
        }
    }
}

/// What became of a write.
pub(super) enum Written {
    /// It is done: the new resourceVersion, and the bytes of the ledgers.
    Done {
        /// Of the Secret.
        version: Option<String>,
        /// Written.
        bytes: usize,
    },
    /// Somebody else has changed the Secret.
    Overtaken,
}

/// The name of an issuer's ledger Secret.
fn name(issuer: &Key) -> String {
    format!("{}-order-ledger", issuer.1)
}

fn api(place: Place<'_>, issuer: &Key) -> Api<Secret> {
    Api::namespaced(place.client.clone(), &issuer.0)
}

/// The ledgers of an issuer by account, and the Secret's resourceVersion.
pub(super) async fn read(
    place: Place<'_>,
    issuer: &Key,
) -> Result<(Option<String>, BTreeMap<String, Ledger>), Trouble> {
    let found = api(place, issuer).get_opt(&name(issuer)).await.map_err(|e| Trouble::api(issuer, "reading", e))?;
    let Some(secret) = found else { return Ok((None, BTreeMap::new())) };
    let (namespace, name) = (&issuer.0, name(issuer));
    if secret.labels().get(keys::MANAGED_BY).map(String::as_str) != Some(keys::MANAGER) {
        return Err(Trouble::Unusable(format!(
            "the Secret {name}, where orders are to be counted, exists and was not made by mailcert: delete it, or hand it \
             over with: kubectl --namespace {namespace} label secret {name} --overwrite {}={}",
            keys::MANAGED_BY,
            keys::MANAGER
        )));
    }
    let version = secret.resource_version();
    let mut accounts = BTreeMap::new();
    for (account, bytes) in secret.data.unwrap_or_default() {
        let loaded = Ledger::from_bytes(&bytes.0).map_err(|e| {
            Trouble::Unusable(format!(
                "the Secret {name} with the counts of orders cannot be read, at its key {account}: {e}. Run the mailcert that \
                 wrote it, or delete the key: orders of the last 7 days are not counted then"
            ))
        })?;
        if loaded.damaged > 0 {
            tracing::warn!(
                namespace,
                name,
                account,
                lines = loaded.damaged,
                "lines of a ledger cannot be read and are left out"
            );
        }
        accounts.insert(account, loaded.ledger);
    }
    Ok((version, accounts))
}

/// Writes the ledgers, where the Secret is still as it was.
pub(super) async fn write(
    place: Place<'_>,
    issuer: &Key,
    accounts: &mut BTreeMap<String, Ledger>,
    version: Option<String>,
    now: Timestamp,
) -> Result<Written, Trouble> {
    let data = contents(accounts, now);
    let bytes = data.values().flatten().map(|b| b.0.len()).sum();
    let labels = BTreeMap::from([(keys::MANAGED_BY.to_owned(), keys::MANAGER.to_owned())]);
    let secrets = api(place, issuer);
    let written = match version {
        None => {
            let present = data.into_iter().filter_map(|(account, bytes)| Some((account, bytes?))).collect();
            let secret = Secret {
                metadata: ObjectMeta { name: Some(name(issuer)), labels: Some(labels), ..ObjectMeta::default() },
                type_: Some("Opaque".to_owned()),
                data: Some(present),
                ..Secret::default()
            };
            secrets.create(&post(), &secret).await
        }
        Some(version) => {
            let data: BTreeMap<String, Value> =
                data.into_iter().map(|(account, bytes)| (account, json!(bytes))).collect();
            let patch = json!({"metadata": {"resourceVersion": version, "labels": labels}, "data": data});
            secrets.patch(&name(issuer), &params(), &Patch::Merge(patch)).await
        }
    };
    match written {
        Ok(secret) => Ok(Written::Done { version: secret.resource_version(), bytes }),
        Err(kube::Error::Api(s)) if s.code == 409 || s.code == 404 => Ok(Written::Overtaken),
        Err(e) => Err(Trouble::api(issuer, "writing", e)),
    }
}

/// The text of each account's ledger; none: to be removed. As many as a Secret can hold, the one in use first.
fn contents(accounts: &mut BTreeMap<String, Ledger>, now: Timestamp) -> BTreeMap<String, Option<ByteString>> {
    let mut texts: Vec<(Option<Timestamp>, String, Vec<u8>)> = Vec::new();
    let mut data = BTreeMap::new();
    for (account, ledger) in accounts {
        let text = ledger.to_bytes(now);
        if ledger.is_empty() {
            data.insert(account.clone(), None);
        } else {
            texts.push((ledger.latest(), account.clone(), text));
        }
    }
    texts.sort_by_key(|(latest, ..)| std::cmp::Reverse(*latest));
    let mut room = MAX_BYTES;
    for (_, account, text) in texts {
        let fits = text.len() <= room;
        room = room.saturating_sub(text.len());
        data.insert(account, fits.then_some(ByteString(text)));
    }
    data
}
