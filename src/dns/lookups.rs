//! What a CA will look up: addresses, texts, and who may issue (CAA).

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::CAA;
use hickory_proto::rr::{RData, RecordType};

use super::Dns;
use super::answer::{absolute, shown, text};
use super::failure::DnsFailure;

/// As many addresses of one family as are taken over.
const MAX_ADDRESSES: usize = 64;

/// The addresses of a name, at most 64 of each family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// From A records.
    pub v4: Vec<Ipv4Addr>,
    /// From AAAA records.
    pub v6: Vec<Ipv6Addr>,
}

/// Which CAA records apply to a name (RFC 8659 section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaaAnswer {
    /// The name at which the walk up the tree found records: the name asked for or one above it, without aliases
    /// followed. `None` when there are none, so that every CA may issue.
    pub at: Option<String>,
    /// All records there.
    pub records: Vec<CaaRecord>,
}

/// One CAA record, as it is in DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaRecord {
    /// Whether a CA that does not know the tag must refuse.
    pub critical: bool,
    /// `issue`, `issuewild`, `issuemail`, `iodef`, …, in lower case.
    pub tag: String,
    /// The value, at most 1 KiB.
    pub value: String,
}

impl Dns {
    /// The TXT records of `name`, aliases followed, each with its strings put together; at most 1 KiB of each.
    /// Empty when there are none.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, DnsFailure> {
        let asked = absolute(name)?;
        let found = self.bounded(name, self.resolve(&asked, RecordType::TXT)).await?;
        Ok(texts(found.records))
    }

    /// The addresses of `name`, aliases followed. Both empty when the name does not exist or has none.
    pub async fn addresses(&self, name: &str) -> Result<Addresses, DnsFailure> {
        let asked = absolute(name)?;
        let both = async {
            let (v4, v6) =
                futures::future::join(self.resolve(&asked, RecordType::A), self.resolve(&asked, RecordType::AAAA))
                    .await;
            Ok((v4?.records, v6?.records))
        };
        let (v4, v6) = self.bounded(name, both).await?;
        let of_v4 = |data| if let RData::A(address) = data { Some(address.0) } else { None };
        let of_v6 = |data| if let RData::AAAA(address) = data { Some(address.0) } else { None };
        Ok(Addresses {
            v4: v4.into_iter().filter_map(of_v4).take(MAX_ADDRESSES).collect(),
            v6: v6.into_iter().filter_map(of_v6).take(MAX_ADDRESSES).collect(),
        })
    }

    /// The CAA records that apply to `name` (RFC 8659 section 3): its own, or those of the nearest name above that has
    /// some; aliases are followed at each. For a wildcard, those of the name below the asterisk. A server that fails on
    /// the way is a failure, as it is one for a CA.
    pub async fn caa(&self, name: &str) -> Result<CaaAnswer, DnsFailure> {
        let mut at = absolute(name.strip_prefix("*.").unwrap_or(name))?;
        self.bounded(name, async {
            while !at.is_root() {
                let found = self.resolve(&at, RecordType::CAA).await?;
                let records: Vec<CaaRecord> = found.records.into_iter().filter_map(caa_record).collect();
                if !records.is_empty() {
                    return Ok(CaaAnswer { at: Some(shown(&at)), records });
                }
                at = at.base_name();
            }
            Ok(CaaAnswer::default())
        })
        .await
    }
}

/// The texts of TXT records; other records are left out.
pub(super) fn texts(records: Vec<RData>) -> Vec<String> {
    let of = |data| if let RData::TXT(txt) = data { Some(text(&txt.txt_data)) } else { None };
    records.into_iter().filter_map(of).collect()
}

fn caa_record(data: RData) -> Option<CaaRecord> {
    let RData::CAA(CAA { issuer_critical, tag, value, .. }) = data else { return None };
    let value = text(&[value.into_boxed_slice()]);
    Some(CaaRecord { critical: issuer_critical, tag: tag.to_ascii_lowercase(), value })
}
