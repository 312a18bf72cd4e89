//! The TLSA records of a name (RFC 6698) as every authoritative server has them, and what DNSSEC says of each.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures::future::join_all;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, RecordType};

use super::Dns;
use super::answer::absolute;
use super::failure::DnsFailure;
use super::propagation::{Unusable, agreed, with_authority};
use super::settings::PORT;
use crate::decide::domain::tlsa::{Alias, Answer, Server, Sighting};

/// As many records of one name as are taken over.
const MAX_RECORDS: usize = 64;
/// The most bytes of a record's data that are taken over: a SHA-512 hash has as many.
const MAX_DATA: usize = 64;

impl Dns {
    /// Asks every authoritative server of its zone, at each address, for the TLSA records at `name`, which is a port and
    /// a protocol below `host` (`_25._tcp.mail.example.com`); aliases of `name` are followed. Where the settings say so,
    /// every resolver is asked in their place.
    pub async fn tlsa_everywhere(&self, name: &str, host: &str) -> Result<Sighting, DnsFailure> {
        let asking = self.unchecked();
        let owner = asking.follow(name).await?;
        let at = absolute(&owner)?;
        asking.bounded(name, async { asking.sighting(&at, owner, name, host).await }).await
    }

    async fn sighting(&self, at: &Name, owner: String, name: &str, host: &str) -> Result<Sighting, DnsFailure> {
        let zone = self.zone_of(at).await?;
        let servers = if self.0.recursive_only {
            let mut asked = Vec::new();
            for resolver in &self.0.resolvers {
                asked.push(self.tlsa_through(*resolver, at));
            }
            join_all(asked).await
        } else {
            let mut asked = Vec::new();
            for server in &zone.servers {
                asked.push(self.tlsa_of(server, at));
            }
            join_all(asked).await
        };
        Ok(Sighting { owner, zone: zone.apex, servers, alias: self.alias_of(name, host).await? })
    }

    async fn tlsa_of(&self, server: &super::Nameserver, name: &Name) -> Server {
        let mut asked = Vec::new();
        for address in &server.addresses {
            asked.push(self.tlsa_at(SocketAddr::new(*address, PORT), false, name));
        }
        let each = join_all(asked).await;
        let worse = |a: Answer, b: Answer| Answer {
            values: a.values.intersection(&b.values).cloned().collect(),
            ttl: a.ttl.max(b.ttl),
            trust: a.trust.min(b.trust),
        };
        Server { name: server.name.clone(), answer: agreed(server, each, worse) }
    }

    async fn tlsa_through(&self, resolver: SocketAddr, name: &Name) -> Server {
        let answer = self.tlsa_at(resolver, true, name).await;
        let words = |unusable| match unusable {
            Unusable::Silent(why) | Unusable::Wrong(why) => why,
        };
        Server { name: resolver.to_string(), answer: answer.map_err(words) }
    }

    async fn tlsa_at(&self, server: SocketAddr, recursive: bool, name: &Name) -> Result<Answer, Unusable> {
        let (message, trust) = self.validated(server, recursive, name, RecordType::TLSA).await?;
        if !recursive {
            with_authority(&message)?;
        }
        let (values, ttl) = records(&message, name);
        Ok(Answer { values, ttl, trust })
    }

    /// Where the aliases of `host` lead, and the TLSA records there.
    async fn alias_of(&self, name: &str, host: &str) -> Result<Option<Alias>, DnsFailure> {
        let end = self.follow(host).await?;
        if end.eq_ignore_ascii_case(host) {
            return Ok(None);
        }
        let below = absolute(&name.replacen(host, &end, 1))?;
        let found = self.resolve(&below, RecordType::TLSA).await?;
        let values = found.records.iter().take(MAX_RECORDS).filter_map(value).collect();
        Ok(Some(Alias { end, values }))
    }
}

/// The TLSA records at a name, and the longest of their times to live.
fn records(message: &Message, name: &Name) -> (BTreeSet<String>, u32) {
    let here = message.answers.iter().filter(|r| r.name == *name && r.record_type() == RecordType::TLSA);
    let mut values = BTreeSet::new();
    let mut ttl = 0;
    for record in here.take(MAX_RECORDS) {
        values.extend(value(&record.data));
        ttl = ttl.max(record.ttl);
    }
    (values, ttl)
}

/// As in a zone file (`3 1 1 <hex>`).
fn value(data: &RData) -> Option<String> {
    let RData::TLSA(tlsa) = data else { return None };
    let hex: String = tlsa.cert_data.iter().take(MAX_DATA).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{} {} {} {hex}", u8::from(tlsa.cert_usage), u8::from(tlsa.selector), u8::from(tlsa.matching)))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::TLSA;
    use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};

    use super::*;

    #[test]
    fn records_are_shown_as_in_a_zone_file_and_bounded() {
        let name = absolute("_25._tcp.a.test").unwrap();
        let data =
            |length| RData::TLSA(TLSA::new(CertUsage::DaneEe, Selector::Spki, Matching::Sha256, vec![0xAB; length]));
        let mut message = Message::query();
        message.add_answer(Record::from_rdata(name.clone(), 60, data(2)));
        message.add_answer(Record::from_rdata(name.clone(), 90, data(5000)));
        message.add_answer(Record::from_rdata(absolute("b.test").unwrap(), 900, data(3)));
        let (values, ttl) = records(&message, &name);
        assert_eq!(values.first().map(String::as_str), Some("3 1 1 abab"));
        assert!(values.iter().all(|v| v.len() <= 6 + 2 * MAX_DATA) && values.len() == 2, "{values:?}");
        assert_eq!(ttl, 90);
    }
}
