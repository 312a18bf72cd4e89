//! The dns-01 solvers that go through the Kubernetes API, on a real API server: webhooks behind its aggregation layer,
//! and external-dns's DNSEndpoints with the CRD as external-dns publishes it.
#![allow(clippy::unwrap_used)]

#[path = "dns01_cluster/api.rs"]
mod api;
#[path = "dns01_cluster/dns_endpoint.rs"]
mod dns_endpoint;
#[path = "dns01_cluster/server.rs"]
mod server;
#[path = "dns01_cluster/webhook.rs"]
mod webhook;
