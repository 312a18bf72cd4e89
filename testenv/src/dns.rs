//! The DNS server that Pebble and the node's pods ask: it knows what it was told, and has no records for the rest.

use crate::{
    error::{Error, Result},
    http::Client,
    instance::Instance,
    netns::Netns,
    tools,
};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

/// A running pebble-challtestsrv. It ends with the cluster or the Pebble that started it.
#[derive(Clone, Debug)]
pub struct Dns {
    address: SocketAddr,
    management: SocketAddr,
    netns: Option<Netns>,
}

impl Dns {
    /// Starts it in `instance`; [`Dns::ready`] says when it answers.
    pub(crate) fn start(instance: &Instance, address: SocketAddr, management: SocketAddr) -> Result<Self> {
        let mut command = Command::new(tools::PEBBLE_CHALLTESTSRV.path()?);
        command
            .args(["-http01=", "-https01=", "-doh=", "-tlsalpn01=", "-defaultIPv4=", "-defaultIPv6="])
            .arg(format!("-dnsserver={address}"))
            .arg(format!("-management={management}"));
        instance.serve("dns", command)?;
        Ok(Self::at(instance, address, management))
    }

    /// The one that runs in `instance` already.
    pub(crate) fn at(instance: &Instance, address: SocketAddr, management: SocketAddr) -> Self {
        Self { address, management, netns: instance.netns().cloned() }
    }

    pub(crate) fn ready(&self) -> bool {
        self.call("clear-a", &json!({"host": "ready.invalid"})).is_ok()
    }

    /// Where it answers, on UDP and TCP (inside the namespace, with a node).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes `host` resolve to `ip` alone.
    pub fn set_a(&self, host: &str, ip: Ipv4Addr) -> Result<()> {
        self.call("clear-a", &json!({"host": host}))?;
        self.call("add-a", &json!({"host": host, "addresses": [ip]}))
    }

    /// What every name that it does not know resolves to; nothing at all when `None`, as in the beginning.
    pub fn set_default(&self, ip: Option<Ipv4Addr>) -> Result<()> {
        self.call("set-default-ipv4", &json!({"ip": ip.map_or(String::new(), |ip| ip.to_string())}))
    }

    /// Adds a TXT record to `host` (`_acme-challenge.example.com`).
    pub fn add_txt(&self, host: &str, value: &str) -> Result<()> {
        self.call("set-txt", &json!({"host": fully_qualified(host), "value": value}))
    }

    /// Removes the TXT records of `host`.
    pub fn clear_txt(&self, host: &str) -> Result<()> {
        self.call("clear-txt", &json!({"host": fully_qualified(host)}))
    }

    /// Any other call of its management interface: `set-cname`, `add-caa`, `set-servfail`, ….
    pub fn call(&self, name: &str, body: &Value) -> Result<()> {
        let client = Client::new(self.management, self.netns.clone());
        match client.post(&format!("/{name}"), &body.to_string())? {
            (200, _) => Ok(()),
            (status, _) => Err(Error::new(format!("the DNS server refused {name} {body} (HTTP {status})"))),
        }
    }
}

/// Its TXT calls, unlike its others, want the name with the final dot.
fn fully_qualified(host: &str) -> String {
    format!("{}.", host.trim_end_matches('.'))
}
