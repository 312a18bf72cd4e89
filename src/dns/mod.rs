//! Looks into DNS: names, zones and their authoritative servers, bounded in time and size.
//!
//! Nothing is cached here: what is looked at is what changes. Every question goes to a server of our choice, and what
//! it answers is taken for hostile: an answer about another name, a chain without an end, a text of any length or with
//! any bytes is either bounded or a [`DnsFailure`], never a panic.

mod anchors;
mod answer;
mod exchange;
mod failure;
mod lookups;
mod propagation;
mod resolve;
mod settings;
mod tlsa;
mod validate;
mod zone;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use anchors::Anchors;
pub(crate) use answer::{absolute, shown};
pub(crate) use exchange::{Transport, Trouble, transact};
pub use failure::DnsFailure;
pub use lookups::{Addresses, CaaAnswer, CaaRecord};
pub use propagation::{ServerAnswer, missing};
pub use settings::{Settings, parse_resolver};
pub(crate) use zone::above;
pub use zone::{Nameserver, Zone};

/// Asks DNS. Clones are cheap and share nothing that changes.
#[derive(Clone, Debug)]
pub struct Dns(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    resolvers: Vec<SocketAddr>,
    recursive_only: bool,
    timeout: Duration,
    total: Duration,
    anchors: Anchors,
    unchecked: bool,
}

impl Dns {
    /// Takes the settings; without resolvers in them, those of the system (`/etc/resolv.conf`). Fails when the system
    /// has none.
    pub fn new(settings: &Settings) -> Result<Self, DnsFailure> {
        let resolvers =
            if settings.resolvers.is_empty() { settings::of_the_system()? } else { settings.resolvers.clone() };
        Ok(Self(Arc::new(Inner {
            resolvers,
            recursive_only: settings.recursive_only,
            timeout: settings.timeout,
            total: settings.total,
            anchors: settings.anchors.clone(),
            unchecked: false,
        })))
    }

    /// The same, whose resolvers are to hand on also what they cannot validate: it is validated here.
    fn unchecked(&self) -> Self {
        Self(Arc::new(Inner { unchecked: true, ..Inner::clone(&self.0) }))
    }

    /// Does `work`, for at most the time that one question may take.
    async fn bounded<T>(&self, name: &str, work: impl Future<Output = Result<T, DnsFailure>>) -> Result<T, DnsFailure> {
        let late = |_| {
            let asked = answer::shown_text(name);
            DnsFailure::transient(format!("DNS gave no answer about {asked} within {}", exchange::span(self.0.total)))
        };
        tokio::time::timeout(self.0.total, work).await.map_err(late)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They are awaited in tasks that move between threads.
    #[test]
    fn questions_can_be_asked_in_any_task() {
        fn send<T: Send>(_: T) {}
        let dns = Dns::new(&Settings { resolvers: vec![([127, 0, 0, 1], 53).into()], ..Settings::default() }).unwrap();
        send(dns.follow("a.test"));
        send(dns.zone("a.test"));
        send(dns.txt("a.test"));
        send(dns.addresses("a.test"));
        send(dns.caa("a.test"));
        send(dns.txt_everywhere("a.test"));
        send(dns.tlsa_everywhere("_25._tcp.a.test", "a.test"));
    }
}
