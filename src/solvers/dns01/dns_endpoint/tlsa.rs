//! TLSA records published by external-dns: one DNSEndpoint for each MailDomain, with all of its records.
//!
//! external-dns must be one that knows TLSA records, with a provider that does, and be run with `--source=crd` and
//! `--managed-record-types=TLSA` (besides the types it manages). What it does not know it leaves out silently: whether
//! the records are there is asked in DNS.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DynamicObject, ObjectMeta};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::super::Failure;
use super::{MANAGED_BY, MANAGER, change, resource};
use crate::api::MailDomain;

/// The records of a MailDomain.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The MailDomain: the DNSEndpoint is in its namespace and goes with it.
    pub owner: &'a MailDomain,
    /// Names, and the values of each. None: there shall be no DNSEndpoint.
    pub records: &'a BTreeMap<String, BTreeSet<String>>,
    /// Time to live in seconds.
    pub ttl: u32,
    /// More labels, for an external-dns that takes only DNSEndpoints with them.
    pub labels: &'a BTreeMap<String, String>,
}

/// Makes the DNSEndpoint what it shall be. What is so already is not written.
///
/// # Errors
/// When one of that name is not the MailDomain's, or the API server says no.
pub async fn write(client: &Client, wanted: &Wanted<'_>) -> Result<(), Failure> {
    let namespace = wanted.owner.namespace().unwrap_or_default();
    let name = format!("{}-tlsa", wanted.owner.name_any());
    let is_ours = |object: &DynamicObject| {
        object.owner_references().iter().any(|o| Some(o.uid.as_str()) == wanted.owner.uid().as_deref())
    };
    let edit = |standing: Option<&DynamicObject>| {
        Ok((!wanted.records.is_empty()).then(|| object(wanted, standing, &namespace, &name)))
    };
    change(client, &namespace, &name, is_ours, edit).await.map(drop)
}

fn object(wanted: &Wanted<'_>, standing: Option<&DynamicObject>, namespace: &str, name: &str) -> DynamicObject {
    let mut object = standing.cloned().unwrap_or_else(|| {
        let mut object = DynamicObject::new(name, &resource());
        object.metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            owner_references: wanted.owner.controller_owner_ref(&()).map(|o| vec![o]),
            ..ObjectMeta::default()
        };
        object
    });
    object.labels_mut().extend(wanted.labels.clone());
    object.labels_mut().insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let endpoint = |(name, values): (&String, &BTreeSet<String>)| json!({"dnsName": name, "recordType": "TLSA", "recordTTL": wanted.ttl, "targets": values});
    let endpoints: Vec<Value> = wanted.records.iter().map(endpoint).collect();
    object.data["spec"] = json!({"endpoints": endpoints});
    object
}
