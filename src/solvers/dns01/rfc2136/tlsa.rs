//! TLSA records (RFC 6698) changed with dynamic updates.

use std::collections::BTreeSet;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode, UpdateMessage};
use hickory_proto::rr::rdata::TLSA;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::{Rfc2136, names, shown};
use crate::dns::DnsFailure;

impl Rfc2136 {
    /// Adds `add` to and takes `remove` from the TLSA records at `fqdn`, all in one message and so all or nothing
    /// (RFC 2136 section 3.4.2); `ttl` in seconds, for all of them. Records that are in neither stay. Values are as in a
    /// zone file (`3 1 1 <hex>`).
    ///
    /// The prerequisite is that no alias stands at the name: without it the server would pass over what is to be added
    /// and say that all is well (section 3.4.2.2).
    pub async fn replace_tlsa(
        &self,
        zone_apex: &str,
        fqdn: &str,
        add: &BTreeSet<String>,
        remove: &BTreeSet<String>,
        ttl: u32,
    ) -> Result<(), DnsFailure> {
        let (zone, name) = names(zone_apex, fqdn)?;
        let message = message(zone, &name, add, remove, ttl)?;
        let done = self.bounded(self.signed(message)).await?.metadata.response_code;
        match done {
            ResponseCode::YXRRSet => Err(DnsFailure::lasting(format!(
                "{} is an alias (CNAME record), so it cannot have TLSA records: remove one of the two",
                shown(fqdn)
            ))),
            code => self.judged(zone_apex, fqdn, "TLSA", code),
        }
    }
}

fn message(
    zone: Name,
    name: &Name,
    add: &BTreeSet<String>,
    remove: &BTreeSet<String>,
    ttl: u32,
) -> Result<Message, DnsFailure> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    let mut of = Query::query(zone, RecordType::SOA);
    of.set_query_class(DNSClass::IN);
    message.add_query(of);
    let mut no_alias = Record::update0(name.clone(), 0, RecordType::CNAME);
    no_alias.dns_class = DNSClass::NONE;
    message.add_pre_requisite(no_alias);
    // In this order: whatever the server does between two of them, there is never none.
    for value in add {
        message.add_update(Record::from_rdata(name.clone(), ttl, data(value)?));
    }
    for value in remove.difference(add) {
        let mut gone = Record::from_rdata(name.clone(), 0, data(value)?);
        gone.dns_class = DNSClass::NONE;
        message.add_update(gone);
    }
    Ok(message)
}

/// Reads `3 1 1 <hex>`.
fn data(value: &str) -> Result<RData, DnsFailure> {
    let wrong = || DnsFailure::lasting(format!("\"{}\" is not the value of a TLSA record", shown(value)));
    let parts: Vec<&str> = value.split(' ').collect();
    let [usage, selector, matching, hex] = parts.as_slice() else { return Err(wrong()) };
    let number = |text: &str| text.parse::<u8>().map_err(|_| wrong());
    if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return Err(wrong());
    }
    let byte = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong);
    let bytes = (0..hex.len()).step_by(2).map(byte).collect::<Result<Vec<u8>, _>>()?;
    Ok(RData::TLSA(TLSA::new(number(usage)?.into(), number(selector)?.into(), number(matching)?.into(), bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::absolute;

    #[test]
    fn one_message_adds_before_it_removes_and_never_removes_what_it_adds() {
        let set = |values: &[&str]| values.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
        let name = absolute("_25._tcp.mail.a.test").unwrap();
        let made = message(
            absolute("a.test").unwrap(),
            &name,
            &set(&["3 1 1 aa", "3 1 1 bb"]),
            &set(&["3 1 1 bb", "3 1 1 cc"]),
            60,
        )
        .unwrap();
        // Over the wire and back: what a server reads.
        let read = Message::from_vec(&made.to_vec().unwrap()).unwrap();
        let updates: Vec<String> =
            read.authorities.iter().map(|r| format!("{} {} {}", r.dns_class, r.ttl, r.data)).collect();
        assert_eq!(updates, ["IN 60 3 1 1 aa", "IN 60 3 1 1 bb", "NONE 0 3 1 1 cc"]);
        assert_eq!(read.metadata.op_code, OpCode::Update);
        let prerequisites: Vec<_> = read.answers.iter().map(|r| (r.dns_class, r.record_type())).collect();
        assert_eq!(prerequisites, [(DNSClass::NONE, RecordType::CNAME)]);
    }

    #[test]
    fn values_that_are_none_are_refused() {
        for wrong in ["", "3 1 1", "3 1 1 abc", "3 1 1 zz", "3 1 1 ü", "300 1 1 aa", "3 1 1 aa bb"] {
            assert!(data(wrong).unwrap_err().words.ends_with("is not the value of a TLSA record"), "{wrong}");
        }
    }
}
