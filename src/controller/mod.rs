//! The controllers: what is watched, what a change concerns, and the pass over an object.
//!
//! ```text
//! watch ─ relations ─▶ pass(object): observe ─▶ decide ─▶ act ─▶ learn ─▶ decide ─▶ … ─▶ report
//! ```
//! `observe` and `act` are the only places with IO, and `act` makes no choices. A pass writes the object's status once,
//! and only when it has changed.

mod account;
mod account_key;
mod authority;
mod bindings;
mod caches;
mod calls;
mod certificate;
mod challenges;
mod config_maps;
mod context;
mod copies;
mod domain;
mod exec;
mod exposures;
mod index;
mod issuer;
mod ledger;
mod news;
mod next_keys;
mod open_orders;
mod operator;
mod order;
mod outputs;
mod pass;
pub mod plan;
mod pods;
mod preflight;
mod queue;
mod relations;
mod reloads;
mod report;
mod requests;
mod resolvers;
mod runner;
mod secrets;
mod sni;
mod sources;
mod system;
mod tlsa;
pub mod trust_bundle;
mod turns;
mod views;
mod watching;
mod workloads;

pub use account::failure as failed_step;
pub use calls::JOBS_CHART_VALUE;
pub use operator::{OperatorError, run};
pub use order::{unreadable as unreadable_chain, view as order_view};

/// What the operator asks of the API server in the namespaces that it serves: group, resource, subresource, verbs and
/// what they are for. The chart grants exactly this.
pub const NEEDED: &[(&str, &str, &str, &[&str], &str)] = &[
    ("mailcert.dev", "mailissuers", "", &["list", "watch"], "MailIssuers"),
    ("mailcert.dev", "mailissuers", "status", &["patch"], "MailIssuers"),
    ("mailcert.dev", "mailcertificates", "", &["list", "watch", "create", "patch", "delete"], "MailCertificates"),
    ("mailcert.dev", "mailcertificates", "status", &["patch"], "MailCertificates"),
    ("mailcert.dev", "maildomains", "", &["list", "watch", "patch"], "MailDomains"),
    ("mailcert.dev", "maildomains", "status", &["patch"], "MailDomains"),
    ("mailcert.dev", "mailtrustbundles", "", &["list", "watch", "patch"], "MailTrustBundles"),
    ("mailcert.dev", "mailtrustbundles", "status", &["patch"], "MailTrustBundles"),
    ("", "secrets", "", &["get", "list", "watch", "create", "patch", "delete"], "certificates and keys"),
    ("apps", "deployments", "", &["get", "list", "watch", "patch"], "rollout"),
    ("apps", "statefulsets", "", &["get", "list", "watch", "patch"], "rollout"),
    ("apps", "daemonsets", "", &["get", "list", "watch", "patch"], "rollout"),
    ("events.k8s.io", "events", "", &["create", "patch"], "Events"),
    ("", "namespaces", "", &["get"], "MailIssuers that allow namespaces by label"),
];
