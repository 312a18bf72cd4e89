//! BIND with its zones, and clients of it.

use std::net::SocketAddr;
use std::time::Duration;

use mailcert::dns::{Dns, Settings};
use mailcert::solvers::dns01::rfc2136::{Algorithm, Rfc2136, Secret, Transport};
use mailcert_testenv::{Bind, BindOptions, BindZone};

pub const VALUE: &str = "gfj9Xq0Rg85nMb2yPvVe4uvKqVzcPYzLnNi0vGQz3xY";
pub const OTHER: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

/// The primary server as the one resolver.
pub fn dns(server: SocketAddr) -> Dns {
    Dns::new(&settings(server)).unwrap()
}

pub fn settings(server: SocketAddr) -> Settings {
    Settings { resolvers: vec![server], ..Settings::default() }
}

pub fn bind(zones: Vec<BindZone>) -> Option<Bind> {
    Bind::start_or_skip(&BindOptions { zones, ..BindOptions::default() })
}

/// A solver with the key that BIND has for `algorithm`.
pub fn solver(bind: &Bind, algorithm: Algorithm, transport: Transport) -> Rfc2136 {
    let (key_name, secret) = bind.key(&algorithm.to_string());
    Rfc2136 {
        server: bind.address().to_string(),
        transport,
        key_name,
        algorithm,
        secret: Secret::from_base64(secret.as_bytes()).unwrap(),
        timeout: Duration::from_secs(30),
    }
}
