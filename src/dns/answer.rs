//! What an answer says about the name that was asked, and nothing of what it says besides.

use std::collections::BTreeSet;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::failure::DnsFailure;
use crate::probes::Printable;

/// How many aliases (CNAMEs) in a row are followed.
pub(super) const MAX_HOPS: usize = 10;

/// The longest TXT value that is taken over, in bytes; the rest of a longer one is left out.
const MAX_TXT: usize = 1024;

/// The end of the chain of aliases that begins at the name asked for.
#[derive(Debug)]
pub(super) struct Found {
    /// The last name of the chain; the name asked for when it is no alias.
    pub end: Name,
    /// The aliases on the way.
    pub hops: usize,
    /// The records of the kind asked for at the end.
    pub records: Vec<RData>,
    /// Whether the answer says that it is final: there are records, or it says that there are none.
    pub closed: bool,
}

/// Reads an answer to a question about `name`; its response code must be NOERROR or NXDOMAIN.
pub(super) fn read(message: &Message, name: &Name, kind: RecordType) -> Result<Found, DnsFailure> {
    let answers: Vec<&Record> = message.answers.iter().filter(|record| record.dns_class == DNSClass::IN).collect();
    if !answers.is_empty() && !answers.iter().any(|record| record.name == *name) {
        return Err(lie(name, "the answer is about another name"));
    }
    let mut end = name.clone();
    let mut seen = BTreeSet::from([end.to_lowercase()]);
    let alias = |from: &Name| {
        answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *from => Some(target.0.clone()),
            _ => None,
        })
    };
    if kind != RecordType::CNAME {
        while let Some(target) = alias(&end) {
            if !seen.insert(target.to_lowercase()) {
                return Err(looped(name));
            }
            if seen.len() > MAX_HOPS + 1 {
                return Err(too_long(name));
            }
            end = target;
        }
    }
    let at_end = |record: &&&Record| record.name == end && record.record_type() == kind;
    let records: Vec<RData> = answers.iter().filter(at_end).map(|record| record.data.clone()).collect();
    let nothing = message.metadata.response_code == ResponseCode::NXDomain || authority(message).is_some();
    let closed = !records.is_empty() || nothing;
    Ok(Found { hops: seen.len() - 1, end, records, closed })
}

/// The zone that an answer without records says it is from: the owner of the SOA in its authority section (RFC 2308).
pub(super) fn authority(message: &Message) -> Option<&Name> {
    message.authorities.iter().find(|record| record.record_type() == RecordType::SOA).map(|record| &record.name)
}

pub(super) fn lie(name: &Name, how: &str) -> DnsFailure {
    DnsFailure::lasting(format!("DNS lies about the zone of {}: {how}", shown(name)))
}

pub(super) fn looped(name: &Name) -> DnsFailure {
    DnsFailure::lasting(format!(
        "the aliases (CNAME records) that begin at {} lead in a circle; remove one of them",
        shown(name)
    ))
}

pub(super) fn too_long(name: &Name) -> DnsFailure {
    DnsFailure::lasting(format!(
        "more than {MAX_HOPS} aliases (CNAME records) follow one another from {}; shorten the chain",
        shown(name)
    ))
}

/// The text of a TXT record, at most 1 KiB of it.
pub(super) fn text(strings: &[Box<[u8]>]) -> String {
    let bytes: Vec<u8> = strings.iter().flat_map(|part| part.iter().copied()).take(MAX_TXT).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The name with all its labels, in lower case.
pub(crate) fn absolute(name: &str) -> Result<Name, DnsFailure> {
    let wrong = |why: &str| DnsFailure::lasting(format!("\"{}\" is not a name in DNS: {why}", shown_text(name)));
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        return Err(wrong("it is empty"));
    }
    let parsed = Name::from_ascii(format!("{bare}.")).map_err(|error| wrong(&shown_text(&error.to_string())))?;
    Ok(parsed.to_lowercase())
}

/// A name for people: lower case, no final dot, every unusual byte escaped; at most 1020 characters.
pub(crate) fn shown(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    if name.is_root() { text } else { text.strip_suffix('.').map_or(text.clone(), str::to_owned) }
}

/// A text from outside for people.
pub(super) fn shown_text(text: &str) -> String {
    Printable::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;
    use hickory_proto::rr::rdata::{CNAME, SOA, TXT};
    use proptest::prelude::*;

    use super::super::zone::above;
    use super::*;

    #[test]
    fn names_are_absolute_lower_case_and_shown_so() {
        for (given, there) in
            [("Mail.Example.COM", "mail.example.com"), ("_acme-challenge.a.test.", "_acme-challenge.a.test")]
        {
            let name = absolute(given).unwrap();
            assert!(name.is_fqdn());
            assert_eq!(shown(&name), there);
        }
        for wrong in ["", ".", "a..test", &"a".repeat(64), &"a.".repeat(128)] {
            let failure = absolute(wrong).unwrap_err();
            assert!(failure.words.contains("is not a name in DNS") && !failure.transient, "{failure}");
        }
        let hostile = Name::from_labels([b"a\x1b[31m".as_slice(), b"b\xff", b"test"]).unwrap();
        assert!(shown(&hostile).bytes().all(|byte| (b'!'..=b'~').contains(&byte)), "{}", shown(&hostile));
    }

    fn answer() -> Message {
        let name = |text| absolute(text).unwrap();
        let record = |owner, data| Record::from_rdata(name(owner), 60, data);
        let mut message = Message::query();
        message.add_query(Query::query(name("a.test"), RecordType::TXT));
        message.add_answer(record("a.test", RData::CNAME(CNAME(name("b.test")))));
        message.add_answer(record("b.test", RData::CNAME(CNAME(name("c.test")))));
        message.add_answer(record("c.test", RData::TXT(TXT::new(vec!["one".into(), "two".into()]))));
        message.add_answer(record("d.test", RData::TXT(TXT::new(vec!["other".into()]))));
        let soa = SOA::new(name("ns.test"), name("h.test"), 1, 1, 1, 1, 1);
        message.add_authority(record("test", RData::SOA(soa)));
        message
    }

    #[test]
    fn the_chain_is_read_from_the_name_asked_for() {
        let asked = absolute("A.Test").unwrap();
        let found = read(&answer(), &asked, RecordType::TXT).unwrap();
        assert_eq!((shown(&found.end).as_str(), found.hops, found.closed), ("c.test", 2, true));
        assert_eq!(found.records.len(), 1, "{found:?}");
        let alias = read(&answer(), &asked, RecordType::CNAME).unwrap();
        assert_eq!((alias.end, alias.hops, alias.records.len()), (asked, 0, 1));
        read(&answer(), &absolute("e.test").unwrap(), RecordType::TXT).unwrap_err();
    }

    proptest! {
        #[test]
        fn no_answer_breaks_anything(changes in prop::collection::vec((0usize..400, any::<u8>()), 1..12)) {
            let mut bytes = answer().to_vec().unwrap();
            for (at, byte) in changes {
                let length = bytes.len();
                bytes[at % length] = byte;
            }
            let name = absolute("a.test").unwrap();
            if let Ok(message) = Message::from_vec(&bytes) {
                for kind in [RecordType::TXT, RecordType::CNAME, RecordType::CAA] {
                    if let Err(failure) = read(&message, &name, kind) {
                        prop_assert!(failure.words.chars().all(|c| (' '..='~').contains(&c)), "{}", failure);
                    }
                }
                if let Ok(Some(next)) = above(&message, &name) {
                    // Each step leads up, so that the walk ends.
                    prop_assert!(next.zone_of(&name) && next != name);
                }
            }
        }
    }
}
