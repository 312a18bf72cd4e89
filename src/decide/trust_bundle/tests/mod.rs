//! What becomes of a MailTrustBundle: tables, exact messages, and properties.

mod bundles;
mod properties;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::world::{Done, PasswordView, SourceView, StoreWanted, TargetContent, TargetFound, TargetView};
use super::{Action, Fact, World, decide, labels};
use crate::api::trust_bundle::{MailTrustBundle, MailTrustBundleStatus};
use crate::decide::conditions::find;
use crate::pki::{Fingerprint, Password};

/// 2026-06-01T00:00:00Z.
const NOW: Timestamp = Timestamp::constant(1_780_272_000, 0);

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

/// A root in PEM that is valid from 2020 to the first day of that year.
fn root(name: &str, until: i32, is_ca: bool) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    if is_ca {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params.self_signed(&key).unwrap().pem()
}

fn fingerprint(pem: &str) -> String {
    let limits = crate::pki::PemLimits::BUNDLE;
    crate::pki::Chain::from_pem(pem.as_bytes(), &limits).unwrap().leaf().fingerprint.to_string()
}

/// The MailTrustBundle `mail/trust` with a ConfigMap source `ca/ca.crt`; `change` is merged into its spec.
fn object(change: &Value) -> MailTrustBundle {
    let mut spec = json!({
        "sources": [{"configMap": {"name": "ca"}}],
        "targets": {"configMap": {"name": "mail-trust"}},
    });
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let mut object = MailTrustBundle::new("trust", serde_json::from_value(spec).unwrap());
    object.metadata.namespace = Some("mail".to_owned());
    object.metadata.uid = Some("uid-1".to_owned());
    object.metadata.generation = Some(1);
    object
}

fn source(content: Result<&str, &str>) -> SourceView {
    let content = content.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned);
    SourceView { label: "ConfigMap ca/ca.crt".to_owned(), content }
}

fn target(namespace: &str, found: TargetFound) -> TargetView {
    TargetView { namespace: namespace.to_owned(), is_former: false, found }
}

fn world(object: MailTrustBundle, pem: Result<&str, &str>) -> World {
    World {
        object: Arc::new(object),
        now: NOW,
        forbidden: None,
        sources: vec![source(pem)],
        password: None,
        unknown_targets: None,
        targets: vec![target("mail", TargetFound::Absent)],
        done: Done::default(),
    }
}

fn with_password(mut world: World, password: Result<&str, &str>) -> World {
    let password = password.map(|p| Password::new(p.as_bytes()).unwrap()).map_err(str::to_owned);
    world.password = Some(PasswordView { password, version: "default".to_owned() });
    world
}

/// What the API server would have after a write.
fn act(action: &Action, version: &mut u32) -> Fact {
    *version += 1;
    match action {
        Action::Write { namespace, over, content } => {
            let mut written = over.clone().unwrap_or_default();
            written.resource_version = version.to_string();
            written.data = BTreeMap::from([(content.key.clone(), Fingerprint::of(content.pem.as_bytes()).to_string())]);
            match &content.truststore {
                StoreWanted::No => written.binary_data = BTreeSet::new(),
                StoreWanted::Keep => {}
                StoreWanted::Make { key, .. } => written.binary_data = BTreeSet::from([key.clone()]),
            }
            if !matches!(content.truststore, StoreWanted::Keep) {
                written.annotations.remove(crate::api::keys::TRUSTSTORE_SHA256);
            }
            written.labels.extend(content.labels.clone());
            written.annotations.extend(content.annotations.clone());
            Fact::Written(namespace.clone(), written)
        }
        Action::Remove { namespace, .. } => Fact::Removed(namespace.clone()),
        Action::Hold => Fact::Held(true),
        Action::Release => Fact::Held(false),
    }
}

/// One pass, as the controller does it: what was done, and the status.
fn pass(world: &mut World) -> (Vec<String>, MailTrustBundleStatus) {
    let mut all = Vec::new();
    let mut version = 100;
    for _ in 0..4 {
        let decision = decide(world);
        if decision.actions.is_empty() {
            return (all, decision.status);
        }
        for action in decision.actions {
            let fact = act(&action, &mut version);
            all.push(action.to_string());
            world.learn(fact);
        }
    }
    panic!("no end after {all:?}");
}

/// The world of the next pass.
fn next(world: &World, status: &MailTrustBundleStatus, after: SignedDuration) -> World {
    let mut object = world.object.as_ref().clone();
    object.status = Some(status.clone());
    World { object: Arc::new(object), now: world.now + after, done: Done::default(), ..world.clone() }
}

fn ready(status: &MailTrustBundleStatus) -> String {
    let c = find(&status.conditions, "Ready").unwrap();
    format!("{} {}: {}", c.status, c.reason, c.message)
}

fn findings(status: &MailTrustBundleStatus) -> Vec<String> {
    status.findings.iter().map(|f| format!("{}: {}", f.reason, f.message)).collect()
}

fn ours(world: &World) -> TargetContent {
    TargetContent { resource_version: "7".to_owned(), labels: labels(world), ..TargetContent::default() }
}
