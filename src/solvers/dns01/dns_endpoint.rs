//! TXT records published by external-dns, which reads them from DNSEndpoints (`externaldns.k8s.io/v1alpha1`).
//!
//! external-dns publishes one record set per name and type. Two DNSEndpoints for one name would overwrite each
//! other's values, and one name has several values whenever `example.com` and `*.example.com` are validated at once.
//! So there is one DNSEndpoint per name: its targets are all values that are wanted there, and an annotation says
//! which MailCertificates want which. It is read, changed and written back with its resourceVersion, and goes with
//! its last value.
//!
//! The DNSEndpoint's status says only that external-dns has read it: whether the record is there is asked in DNS.
//! external-dns must be run with `--source=crd` and `--managed-record-types=TXT` (besides the types it manages).

pub mod tlsa;

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::Failure;
use crate::api::keys::{MANAGED_BY, MANAGER};
use crate::pki::Fingerprint;
use crate::solvers::http01::{is_host, is_token};

/// Label on every DNSEndpoint that carries the values of challenges.
pub const CHALLENGE: &str = "mailcert.dev/challenge";
/// Value of [`CHALLENGE`].
const DNS01: &str = "dns-01";
/// Annotation: which MailCertificates want which value, as JSON: `{"<value>": ["<namespace>/<name>", …], …}`.
pub const WANTED: &str = "mailcert.dev/challenge-values";
/// The chart's value that grants what is needed here.
pub const CHART_VALUE: &str = "dns01.dnsEndpoint.enabled";

/// The most values at one name.
const MAX_VALUES: usize = 50;
/// How often a change is tried against others who change the same object.
const ATTEMPTS: usize = 8;

/// One value of a TXT record, and who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where external-dns looks for DNSEndpoints.
    pub namespace: String,
    /// The record's name, after every CNAME, lower-cased. A dot at its end is left out.
    pub fqdn: String,
    /// The value: base64url of SHA-256 over the key authorization.
    pub value: String,
    /// The record's time to live, in seconds.
    pub ttl: u32,
    /// Whether the value stands in quotation marks. external-dns hands it to the DNS provider as it is, and providers
    /// differ: Route 53 and PowerDNS refuse a value without them, Azure would publish them.
    pub quoted: bool,
    /// The MailCertificate, as `namespace/name`.
    pub owner: String,
    /// More labels, for an external-dns that takes only DNSEndpoints with them.
    pub labels: BTreeMap<String, String>,
}

/// What stands after [`present`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    /// Whether external-dns has read it as it stands now. If that stays false, external-dns does not run, or not with
    /// the source `crd`, or it filters this namespace or these labels out.
    pub observed: bool,
}

/// Values by who wants them.
type Wanted = BTreeMap<String, BTreeSet<String>>;

/// The API of DNSEndpoint.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("externaldns.k8s.io", "v1alpha1", "DNSEndpoint"),
        "dnsendpoints",
    )
}

/// The name of the one DNSEndpoint for a name.
pub fn object_name(fqdn: &str) -> String {
    let hash = Fingerprint::of(relative(fqdn).as_bytes()).to_string();
    format!("mailcert-dns01-{}", hash.get(..20).unwrap_or(&hash))
}

/// Makes the value one of the targets at its name; what stands there already is kept.
///
/// # Errors
/// When the name or the value cannot be such a record, or the API server says no.
pub async fn present(client: &Client, endpoint: &Endpoint) -> Result<Presented, Failure> {
    check(endpoint)?;
    let edit = |standing: Option<&DynamicObject>| {
        let mut wanted = standing.map(wanted_of).unwrap_or_default();
        if wanted.len() >= MAX_VALUES && !wanted.contains_key(&endpoint.value) {
            return Err(Failure::passing(format!(
                "{MAX_VALUES} challenges at {} wait in the DNSEndpoint {}/{}: more would not be one record",
                endpoint.fqdn,
                endpoint.namespace,
                object_name(&endpoint.fqdn)
            )));
        }
        wanted.entry(endpoint.value.clone()).or_default().insert(endpoint.owner.clone());
        Ok(Some(build(endpoint, standing, &wanted)))
    };
    let object = change(client, &endpoint.namespace, &object_name(&endpoint.fqdn), is_ours, edit).await?;
    Ok(Presented { observed: object.as_ref().is_some_and(is_observed) })
}

/// Removes the value, unless another MailCertificate wants it too. What is not there is no error.
///
/// # Errors
/// When the API server says no.
pub async fn clean_up(client: &Client, endpoint: &Endpoint) -> Result<(), Failure> {
    let gone = |owner: &str, value: &str| owner == endpoint.owner && value == endpoint.value;
    let edit = |standing: Option<&DynamicObject>| Ok(standing.and_then(|object| without(object, gone)));
    change(client, &endpoint.namespace, &object_name(&endpoint.fqdn), is_ours, edit).await.map(|_| ())
}

/// Removes every value in a namespace that nobody needs any more: `still_wanted` is asked with the MailCertificate
/// (`namespace/name`) and the value. Returns how many DNSEndpoints were changed or removed. Where there are no
/// DNSEndpoints, or the operator may not see them, there is nothing to do.
///
/// # Errors
/// When the API server says no to a change.
pub async fn sweep(
    client: &Client,
    namespace: &str,
    still_wanted: impl Fn(&str, &str) -> bool,
) -> Result<usize, Failure> {
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER},{CHALLENGE}={DNS01}"));
    let standing = match api(client, namespace).list(&ours).await {
        Ok(list) => list.items,
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => return Ok(0),
        Err(error) => return Err(refused(&error, "list", namespace)),
    };
    let gone = |owner: &str, value: &str| !still_wanted(owner, value);
    let mut swept = 0;
    for object in standing {
        if without(&object, gone).is_some_and(|kept| same(&kept, &object)) {
            continue;
        }
        let edit = |standing: Option<&DynamicObject>| Ok(standing.and_then(|object| without(object, gone)));
        change(client, namespace, &object.name_any(), is_ours, edit).await?;
        swept += 1;
    }
    Ok(swept)
}

fn api(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource())
}

/// Reads the object, lets `edit` say what it shall be (nothing: it shall not be), and writes that, until nobody else
/// changed it in between.
async fn change(
    client: &Client,
    namespace: &str,
    name: &str,
    is_ours: impl Fn(&DynamicObject) -> bool,
    edit: impl Fn(Option<&DynamicObject>) -> Result<Option<DynamicObject>, Failure>,
) -> Result<Option<DynamicObject>, Failure> {
    let api = api(client, namespace);
    for _ in 0..ATTEMPTS {
        let standing = match api.get_opt(name).await {
            // The kind does not exist: to be said when something is to be made.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            standing => standing.map_err(|error| refused(&error, "get", namespace))?,
        };
        if let Some(foreign) = standing.as_ref().filter(|object| !is_ours(object)) {
            let name = foreign.name_any();
            return Err(Failure::lasting(format!(
                "the DNSEndpoint {namespace}/{name} is not mailcert's and stands where its own belongs: remove it"
            )));
        }
        let wanted = edit(standing.as_ref())?;
        let (verb, written) = match (&standing, &wanted) {
            (None, None) => return Ok(None),
            (Some(standing), Some(wanted)) if same(standing, wanted) => return Ok(Some(standing.clone())),
            (None, Some(wanted)) => ("create", api.create(&PostParams::default(), wanted).await.map(Some)),
            (Some(_), Some(wanted)) => ("update", api.replace(name, &PostParams::default(), wanted).await.map(Some)),
            (Some(standing), None) => ("delete", api.delete(name, &exactly(standing)).await.map(|_| None)),
        };
        match written {
            Ok(object) => return Ok(object),
            // Changed or made by another in between. Gone is what it should be, or is made anew.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if status.code == 404 && standing.is_some() => {}
            Err(error) => return Err(refused(&error, verb, namespace)),
        }
    }
    Err(Failure::passing(format!("others keep changing the DNSEndpoint {namespace}/{name}")))
}

/// This state of this object and no other.
fn exactly(object: &DynamicObject) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid: object.uid(), resource_version: object.resource_version() }),
        ..DeleteParams::default()
    }
}

fn check(endpoint: &Endpoint) -> Result<(), Failure> {
    if !is_host(relative(&endpoint.fqdn)) {
        return Err(Failure::lasting(format!("{:?} cannot be the name of a record", endpoint.fqdn)));
    }
    if !is_token(&endpoint.value) {
        return Err(Failure::lasting(format!("the value for {} is not one of a dns-01 challenge", endpoint.fqdn)));
    }
    Ok(())
}

fn build(endpoint: &Endpoint, standing: Option<&DynamicObject>, wanted: &Wanted) -> DynamicObject {
    let fqdn = relative(&endpoint.fqdn);
    let mut object = standing.cloned().unwrap_or_else(|| DynamicObject::new(&object_name(fqdn), &resource()));
    object.metadata.namespace = Some(endpoint.namespace.clone());
    let labels = object.labels_mut();
    labels.extend(endpoint.labels.clone());
    labels.extend([(MANAGED_BY.to_owned(), MANAGER.to_owned()), (CHALLENGE.to_owned(), DNS01.to_owned())]);
    write(&mut object, fqdn, endpoint.ttl, endpoint.quoted, wanted);
    object
}

/// The object without what is `gone`; nothing when nothing is left, or when what stands there is none that we wrote.
fn without(object: &DynamicObject, gone: impl Fn(&str, &str) -> bool) -> Option<DynamicObject> {
    let record = object.data.pointer("/spec/endpoints/0")?;
    let fqdn = record.get("dnsName")?.as_str().filter(|fqdn| object_name(fqdn) == object.name_any())?;
    let ttl = record.get("recordTTL")?.as_u64().and_then(|ttl| u32::try_from(ttl).ok())?;
    let quoted = record.pointer("/targets/0")?.as_str()?.starts_with('"');
    let mut wanted = wanted_of(object);
    for (value, owners) in &mut wanted {
        owners.retain(|owner| !gone(owner, value));
    }
    wanted.retain(|_, owners| !owners.is_empty());
    let mut kept = object.clone();
    write(&mut kept, fqdn, ttl, quoted, &wanted);
    (!wanted.is_empty()).then_some(kept)
}

fn write(object: &mut DynamicObject, fqdn: &str, ttl: u32, quoted: bool, wanted: &Wanted) {
    let target = |value: &String| if quoted { format!("\"{value}\"") } else { value.clone() };
    object.annotations_mut().insert(WANTED.to_owned(), json!(wanted).to_string());
    let targets: Vec<String> = wanted.keys().map(target).collect();
    object.data["spec"] =
        json!({"endpoints": [{"dnsName": fqdn, "recordType": "TXT", "recordTTL": ttl, "targets": targets}]});
}

/// What the annotation says. Where it is damaged nothing is wanted: who still wants something says so in its next pass.
fn wanted_of(object: &DynamicObject) -> Wanted {
    let text = object.annotations().get(WANTED).map(String::as_str).unwrap_or_default();
    let mut wanted: Wanted = serde_json::from_str(text).unwrap_or_default();
    wanted.retain(|value, owners| is_token(value) && !owners.is_empty());
    wanted
}

fn is_ours(object: &DynamicObject) -> bool {
    let label = |key: &str, value: &str| object.labels().get(key).is_some_and(|found| found == value);
    label(MANAGED_BY, MANAGER) && label(CHALLENGE, DNS01)
}

fn is_observed(object: &DynamicObject) -> bool {
    let observed = object.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
    observed.is_some() && observed == object.metadata.generation
}

fn same(a: &DynamicObject, b: &DynamicObject) -> bool {
    a.data["spec"] == b.data["spec"] && a.labels() == b.labels() && a.annotations() == b.annotations()
}

fn relative(fqdn: &str) -> &str {
    fqdn.trim_end_matches('.')
}

fn refused(error: &kube::Error, verb: &str, namespace: &str) -> Failure {
    match error {
        kube::Error::Api(status) if status.details.as_ref().is_some_and(|d| d.kind == "namespaces") => {
            Failure::lasting(format!("the namespace {namespace} for DNSEndpoints does not exist: {}", status.message))
        }
        kube::Error::Api(status) if status.code == 404 && verb == "create" => Failure::lasting(format!(
            "this cluster has no DNSEndpoints in namespace {namespace}: install external-dns with its CRD and run it \
             with --source=crd ({})",
            status.message
        )),
        kube::Error::Api(status) if status.code == 403 => Failure::lasting(format!(
            "the operator may not {verb} DNSEndpoints in namespace {namespace}: install the chart with --set \
             {CHART_VALUE}=true ({})",
            status.message
        )),
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => Failure::lasting(
            format!("the API server refuses to {verb} a DNSEndpoint in namespace {namespace}: {}", status.message),
        ),
        error => Failure::passing(format!("cannot {verb} a DNSEndpoint in namespace {namespace}: {error}")),
    }
}
