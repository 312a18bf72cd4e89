//! What surrounds the controllers: settings, the API client, leadership, servers, logs, metrics, permissions.
//!
//! Nothing here knows a certificate from a mail domain. The controllers get a [`kube::Client`] whose requests
//! all end, a [`lease::Leader`] to ask before each external side effect, and a [`metrics::Metrics`] to tell.

pub mod client;
pub mod http;
pub mod import_settings;
pub mod lease;
pub mod logging;
pub mod metrics;
pub mod permissions;
pub mod process;
pub mod settings;
