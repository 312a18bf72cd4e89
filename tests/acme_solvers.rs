//! Every way of answering an ACME challenge, and what else an ACME issuer can be told: the operator binary on a real API
//! server, with Pebble, and BIND where DNS matters.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the helpers here are tests too")]

#[path = "acme_operator/proxy.rs"]
#[allow(dead_code, reason = "every test binary takes its part")]
mod proxy;
#[path = "acme_operator/world.rs"]
#[allow(dead_code, reason = "every test binary takes its part")]
mod world;

#[path = "acme_solvers/accounts.rs"]
mod accounts;
#[path = "acme_solvers/caa.rs"]
mod caa;
#[path = "acme_solvers/chains.rs"]
mod chains;
#[path = "acme_solvers/endpoint.rs"]
mod endpoint;
#[path = "acme_solvers/guard.rs"]
mod guard;
#[path = "acme_solvers/persist.rs"]
mod persist;
#[path = "acme_solvers/renewal_info.rs"]
mod renewal_info;
#[path = "acme_solvers/revoking.rs"]
mod revoking;
#[path = "acme_solvers/rfc2136.rs"]
mod rfc2136;
#[path = "acme_solvers/scene.rs"]
mod scene;
#[path = "acme_solvers/selectors.rs"]
mod selectors;
#[path = "acme_solvers/temporary.rs"]
mod temporary;
#[path = "acme_solvers/tls_alpn.rs"]
mod tls_alpn;
