//! Which zone a name is in, and which servers answer for it.

use std::net::IpAddr;

use futures::future::join_all;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, RecordType};

use super::Dns;
use super::answer::{self, absolute, lie, shown};
use super::failure::DnsFailure;

/// As many servers of a zone as are asked.
const MAX_SERVERS: usize = 16;

/// As many addresses of one server as are asked.
const MAX_ADDRESSES: usize = 4;

/// A zone and who answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The name at its top, where its SOA is; in lower case, without the final dot.
    pub apex: String,
    /// Its authoritative servers by its NS records, at most 16.
    pub servers: Vec<Nameserver>,
}

/// An authoritative server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    /// Its name, in lower case, without the final dot.
    pub name: String,
    /// Its addresses, at most 4; none when they cannot be found.
    pub addresses: Vec<IpAddr>,
}

impl Dns {
    /// The zone that `name` is in, or will be in when it does not exist yet.
    pub async fn zone(&self, name: &str) -> Result<Zone, DnsFailure> {
        let asked = absolute(name)?;
        self.bounded(name, self.zone_of(&asked)).await
    }

    pub(super) async fn zone_of(&self, name: &Name) -> Result<Zone, DnsFailure> {
        let apex = self.apex(name).await?;
        let found = self.resolve(&apex, RecordType::NS).await?;
        if found.hops > 0 {
            return Err(lie(name, &format!("{} has both an SOA record and an alias", shown(&apex))));
        }
        let mut names: Vec<Name> = Vec::new();
        for data in found.records {
            if let RData::NS(server) = data
                && !names.contains(&server.0)
                && names.len() < MAX_SERVERS
            {
                names.push(server.0);
            }
        }
        if names.is_empty() {
            return Err(lie(name, &format!("{} has an SOA record but no NS records", shown(&apex))));
        }
        let mut asked = Vec::new();
        for server in &names {
            asked.push(self.nameserver(server));
        }
        let servers = join_all(asked).await;
        let first_failure = servers.iter().find_map(|(_, failure)| failure.clone());
        let servers: Vec<Nameserver> = servers.into_iter().map(|(server, _)| server).collect();
        match first_failure {
            Some(failure) if servers.iter().all(|server| server.addresses.is_empty()) => Err(failure),
            _ => Ok(Zone { apex: shown(&apex), servers }),
        }
    }

    /// The top of the zone, by asking for its SOA from the name upwards.
    async fn apex(&self, name: &Name) -> Result<Name, DnsFailure> {
        let mut at = name.clone();
        while !at.is_root() {
            match above(&self.question(&at, RecordType::SOA).await?, &at)? {
                None => return Ok(at),
                Some(next) => at = next,
            }
        }
        Err(DnsFailure::lasting(format!(
            "no zone in DNS holds {}: there is no SOA record at it or above it; is its domain registered and delegated?",
            shown(name)
        )))
    }

    async fn nameserver(&self, name: &Name) -> (Nameserver, Option<DnsFailure>) {
        let kinds = [RecordType::A, RecordType::AAAA];
        let mut addresses = Vec::new();
        let mut failure = None;
        for found in join_all(kinds.map(|kind| self.resolve(name, kind))).await {
            match found {
                // Half of the places for each family, so that many of one leave room for the other.
                Ok(found) => addresses.extend(found.records.iter().filter_map(RData::ip_addr).take(MAX_ADDRESSES / 2)),
                Err(error) => failure = Some(error),
            }
        }
        (Nameserver { name: shown(name), addresses }, failure)
    }
}

/// Where to ask next when looking for the zone of `at`: `None` when the SOA is here.
pub(crate) fn above(message: &Message, at: &Name) -> Result<Option<Name>, DnsFailure> {
    let has = |kind: RecordType| message.answers.iter().any(|r| r.name == *at && r.record_type() == kind);
    if has(RecordType::SOA) {
        return Ok(None);
    }
    // The rest of an alias's answer is about its target.
    if has(RecordType::CNAME) {
        return Ok(Some(at.base_name()));
    }
    if let Some(other) = message.answers.iter().find(|record| record.record_type() == RecordType::SOA) {
        return Err(lie(at, &format!("the answer holds the SOA record of {}", shown(&other.name))));
    }
    match answer::authority(message) {
        Some(owner) if !owner.zone_of(at) => {
            Err(lie(at, &format!("the answer says that it belongs to {}", shown(owner))))
        }
        // The nearest that it can be: the answer comes from the zone with this top.
        Some(owner) if owner != at => Ok(Some(owner.to_lowercase())),
        _ => Ok(Some(at.base_name())),
    }
}
