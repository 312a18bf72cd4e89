//! A real Kubernetes control plane, node, ACME server and mail server for mailcert's tests and demo.
//!
//! Nothing here needs a container engine. [`tools`] builds the servers from their Go modules, [`Cluster`] runs etcd,
//! kube-apiserver and the controllers on loopback, or the whole with a kubelet in a network namespace of its own, and
//! [`Pebble`] is the ACME server with the DNS that it believes. [`Bind`] is a real DNS server that takes updates, and
//! [`dane::Judges`] are programs of others that judge what is in it.
//! [`images`] makes what the node's pods run.
//!
//! Invariants:
//! - Nothing outlives the process that started it, even when that process is killed: a reaper waits for the end of a
//!   pipe that only this process holds (`reap.sh`).
//! - Instances in parallel never meet: ports and addresses are claimed with file locks, and every name that is global
//!   on a machine (network namespace, cgroup, socket folder) carries the instance's own identifier.
//! - Servers listen on loopback or inside the namespace, so nothing is reachable from another machine.

pub mod acme;
mod bind;
pub mod cache;
mod client;
mod cluster;
pub mod dane;
mod dns;
mod error;
mod http;
pub mod images;
mod instance;
mod mail;
mod netns;
pub mod packages;
mod pebble;
pub mod pki;
mod ports;
pub mod published;
pub mod tools;
pub mod vectors;

pub use bind::{ALGORITHMS as TSIG_ALGORITHMS, Bind, BindOptions, BindZone};
pub use client::MailClient;
pub use cluster::{Cluster, NODE_ADDRESS, Options};
pub use dns::Dns;
pub use error::{Error, Result};
pub use mail::MAIL_MANIFEST;
pub use pebble::{Pebble, PebbleOptions};
pub use ports::{Port, claim as claim_port};
