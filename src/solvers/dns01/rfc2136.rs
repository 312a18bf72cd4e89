//! Records published with dynamic updates (RFC 2136), signed with TSIG (RFC 8945): TXT here, TLSA in a file of its own.
//!
//! An update adds or removes one value and leaves the others at the name alone: two orders for `example.com` and
//! `*.example.com` publish theirs under the same name. Doing either twice changes nothing.

mod tlsa;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hickory_proto::op::{DnsResponse, Message, Query, ResponseCode, update_message};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::{Name, RData, Record, RecordSet, RecordType, TSigner};
use zeroize::Zeroizing;

use crate::dns::{self, DnsFailure, Transport as Wire, Trouble};

/// How far the clocks may differ, in seconds: what RFC 8945 section 10 recommends.
const FUDGE: u16 = 300;

/// The longest secret that is taken, in bytes; longer ones than a hash's block add nothing.
const MAX_SECRET: usize = 1024;

/// How many addresses of the server's name are tried.
const MAX_ADDRESSES: usize = 4;

/// A DNS server that takes updates, and the key that it knows.
#[derive(Clone, Debug)]
pub struct Rfc2136 {
    /// The zone's primary server: an address or a host name, with a port or without (`192.0.2.1`, `[2001:db8::1]:53`,
    /// `ns1.example.com:5353`).
    pub server: String,
    /// How updates travel.
    pub transport: Transport,
    /// The name of the TSIG key, as the server knows it.
    pub key_name: String,
    /// What the key is used with.
    pub algorithm: Algorithm,
    /// The TSIG key's secret.
    pub secret: Secret,
    /// How long one update has, all addresses of the server together.
    pub timeout: Duration,
}

/// How updates travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// With an answer that is known to have come.
    #[default]
    Tcp,
    /// For servers that take updates over UDP only.
    Udp,
}

/// What TSIG signs with (RFC 8945 section 6). SHA-1 and MD5 are left out on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha256`.
    #[default]
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        })
    }
}

/// A TSIG secret. It is wiped when dropped and never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Reads the base64 text that `tsig-keygen` and its like print; white space around it does not matter. The error
    /// says what is wrong without any part of it.
    pub fn from_base64(text: &[u8]) -> Result<Self, String> {
        let bytes = BASE64_STANDARD.decode(text.trim_ascii()).map(Zeroizing::new);
        match bytes {
            Err(_) => {
                Err("the TSIG secret is not base64; it must be as `tsig-keygen` prints it, without quotes".into())
            }
            Ok(bytes) if bytes.is_empty() => Err("the TSIG secret is empty".into()),
            Ok(bytes) if bytes.len() > MAX_SECRET => Err(format!("the TSIG secret is longer than {MAX_SECRET} bytes")),
            Ok(bytes) => Ok(Self(bytes)),
        }
    }
}

impl Rfc2136 {
    /// Adds `value` to the TXT records at `fqdn`, in the zone with its top at `zone_apex`; `ttl` in seconds. That it is
    /// there already is no failure.
    pub async fn present(&self, zone_apex: &str, fqdn: &str, value: &str, ttl: u32) -> Result<(), DnsFailure> {
        let (zone, name) = names(zone_apex, fqdn)?;
        let message = update_message::append(record_set(name, value, ttl), zone, false, false);
        self.update(zone_apex, fqdn, message).await
    }

    /// Removes `value` from the TXT records at `fqdn`. That it is not there is no failure.
    pub async fn clean_up(&self, zone_apex: &str, fqdn: &str, value: &str) -> Result<(), DnsFailure> {
        let (zone, name) = names(zone_apex, fqdn)?;
        let message = update_message::delete_by_rdata(record_set(name, value, 0), zone, false);
        self.update(zone_apex, fqdn, message).await
    }

    /// The top of the zone to update for `fqdn`, by what the server itself says: it may be a primary that no NS record
    /// names. Fails when the server has no such zone.
    pub async fn zone_of(&self, fqdn: &str) -> Result<String, DnsFailure> {
        let name = dns::absolute(fqdn)?;
        self.bounded(async {
            let mut at = name.clone();
            while !at.is_root() {
                let mut message = Message::query();
                message.metadata.recursion_desired = false;
                message.add_query(Query::query(at.clone(), RecordType::SOA));
                let answer = self.signed(message).await?.into_message();
                let known = matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
                // A server says REFUSED or refers to others when it has no zone that holds the name.
                if !known || !answer.metadata.authoritative {
                    break;
                }
                match dns::above(&answer, &at)? {
                    None => return Ok(dns::shown(&at)),
                    Some(next) => at = next,
                }
            }
            Err(DnsFailure::lasting(format!(
                "the DNS server {} has no zone that holds {}; updates must go to the zone's primary server",
                self.server_shown(),
                dns::shown(&name)
            )))
        })
        .await
    }

    async fn update(&self, zone: &str, fqdn: &str, message: Message) -> Result<(), DnsFailure> {
        let code = self.bounded(self.signed(message)).await?.metadata.response_code;
        self.judged(zone, fqdn, "TXT", code)
    }

    /// What the answer to an update of records of a kind means.
    fn judged(&self, zone: &str, fqdn: &str, kind: &str, code: ResponseCode) -> Result<(), DnsFailure> {
        if code == ResponseCode::NoError {
            return Ok(());
        }
        let server = self.server_shown();
        let what = format!("the DNS server {server} did not update {} in the zone {}", shown(fqdn), shown(zone));
        let key = self.key_shown();
        Err(match code {
            ResponseCode::Refused => DnsFailure::lasting(format!(
                "{what}: REFUSED; let the TSIG key {key} update {kind} records of that name (in BIND: update-policy)"
            )),
            ResponseCode::NotAuth => DnsFailure::lasting(format!(
                "{what}: NOTAUTH; it is not the primary server of that zone, to which updates must go"
            )),
            ResponseCode::NotZone => {
                DnsFailure::lasting(format!("{what}: NOTZONE; for it the name is in another zone"))
            }
            ResponseCode::NotImp => DnsFailure::lasting(format!("{what}: NOTIMP; it takes no updates")),
            ResponseCode::ServFail => DnsFailure::transient(format!("{what}: SERVFAIL; see the server's log")),
            code => DnsFailure::transient(format!("{what}: {}", Trouble::Code(code))),
        })
    }

    /// Signs, sends, and takes the answer only when it is signed with the same key or says why it cannot be.
    async fn signed(&self, mut message: Message) -> Result<DnsResponse, DnsFailure> {
        let named = |failure: DnsFailure| DnsFailure::lasting(format!("the TSIG key's name: {failure}"));
        let key_name = dns::absolute(&self.key_name).map_err(named)?;
        let unsigned = |error: &dyn fmt::Display| DnsFailure::lasting(format!("cannot sign the DNS update: {error}"));
        let signer = TSigner::new(self.secret.0.to_vec(), self.algorithm.into(), key_name, FUDGE)
            .map_err(|error| unsigned(&error))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let verifier = message.finalize(&signer, now).map_err(|error| unsigned(&error))?;
        let response = self.send(&message).await?;
        // Such an answer cannot be signed, so anybody may have sent it: it is a failure in any case.
        if let Some(error) = response.signature().and_then(|tsig| tsig.data.error) {
            return Err(self.key_failure(error, response.signature().map_or(&[], |tsig| &tsig.data.other), now));
        }
        let done = response.metadata.response_code == ResponseCode::NoError;
        let genuine = verifier.is_some_and(|mut verifier| verifier.verify(response.as_buffer()).is_ok());
        if done && !genuine {
            return Err(DnsFailure::transient(format!(
                "the answer of the DNS server {} is not signed with the TSIG key {}, so nothing is known",
                self.server_shown(),
                self.key_shown()
            )));
        }
        Ok(response)
    }

    fn key_failure(&self, error: TsigError, other: &[u8], now: u64) -> DnsFailure {
        let (server, key, algorithm) = (self.server_shown(), self.key_shown(), self.algorithm);
        match error {
            TsigError::BadKey => DnsFailure::lasting(format!(
                "the DNS server {server} does not know the TSIG key {key} with {algorithm} (BADKEY); the key's name or \
                 algorithm is wrong"
            )),
            TsigError::BadSig => DnsFailure::lasting(format!(
                "the DNS server {server} has another secret for the TSIG key {key} (BADSIG)"
            )),
            TsigError::BadTime => {
                DnsFailure::transient(format!("{} (BADTIME); set the clocks right", clocks(&server, other, now)))
            }
            TsigError::BadTrunc => DnsFailure::lasting(format!(
                "the DNS server {server} does not take {algorithm} for the TSIG key {key} at this length (BADTRUNC)"
            )),
            TsigError::Unknown(code) => DnsFailure::lasting(format!(
                "the DNS server {server} does not accept the TSIG key {key} (error {code})"
            )),
        }
    }

    /// Tries the server's addresses until one answers; each has its share of the time.
    async fn send(&self, message: &Message) -> Result<DnsResponse, DnsFailure> {
        let addresses = self.addresses().await?;
        let share = self.timeout / u32::try_from(addresses.len()).unwrap_or(1);
        let wire = match self.transport {
            Transport::Tcp => Wire::Tcp,
            Transport::Udp => Wire::Udp,
        };
        let mut failed = Vec::new();
        for address in addresses {
            match dns::transact(address, wire, message.clone(), share).await {
                Ok(response) => return Ok(response),
                Err(trouble) => failed.push(format!("{address}: {trouble}")),
            }
        }
        Err(DnsFailure::transient(format!(
            "the DNS server {} did not answer over {}: {}",
            self.server_shown(),
            match wire {
                Wire::Tcp => "TCP",
                Wire::Udp => "UDP",
            },
            failed.join("; ")
        )))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, DnsFailure> {
        if let Ok(address) = dns::parse_resolver(&self.server) {
            return Ok(vec![address]);
        }
        let server = self.server_shown();
        let (host, port) = match self.server.rsplit_once(':') {
            None => (self.server.as_str(), 53),
            Some((host, port)) => {
                let wrong = |_| DnsFailure::lasting(format!("\"{server}\" is not a host with a port"));
                (host, port.parse::<u16>().map_err(wrong)?)
            }
        };
        let failed = |why: &dyn fmt::Display| {
            DnsFailure::transient(format!("the address of the DNS server {server} cannot be found: {why}"))
        };
        // Through the system's resolver, whose search list knows the names of Services.
        let found = tokio::net::lookup_host((host, port)).await.map_err(|error| failed(&error))?;
        let addresses: Vec<_> = found.take(MAX_ADDRESSES).collect();
        if addresses.is_empty() { Err(failed(&"it has none")) } else { Ok(addresses) }
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, DnsFailure>>) -> Result<T, DnsFailure> {
        let late = |_| {
            let (server, limit) = (self.server_shown(), self.timeout.as_millis());
            DnsFailure::transient(format!("the DNS server {server} did not answer within {limit} ms"))
        };
        tokio::time::timeout(self.timeout, work).await.map_err(late)?
    }

    fn server_shown(&self) -> String {
        shown(&self.server)
    }

    fn key_shown(&self) -> String {
        shown(&self.key_name)
    }
}

impl From<Algorithm> for TsigAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::HmacSha256 => Self::HmacSha256,
            Algorithm::HmacSha384 => Self::HmacSha384,
            Algorithm::HmacSha512 => Self::HmacSha512,
        }
    }
}

/// Both names, checked: the library panics on a name outside of the zone.
fn names(zone_apex: &str, fqdn: &str) -> Result<(Name, Name), DnsFailure> {
    let (zone, name) = (dns::absolute(zone_apex)?, dns::absolute(fqdn)?);
    if !zone.zone_of(&name) {
        let (zone, name) = (dns::shown(&zone), dns::shown(&name));
        return Err(DnsFailure::lasting(format!("{name} is not in the zone {zone}, so no update there can set it")));
    }
    Ok((zone, name))
}

fn record_set(name: Name, value: &str, ttl: u32) -> RecordSet {
    // A string in a TXT record has at most 255 bytes (RFC 1035 section 3.3); a longer value is made of several.
    let strings: Vec<&[u8]> = value.as_bytes().chunks(255).collect();
    RecordSet::from(Record::from_rdata(name, ttl, RData::TXT(TXT::from_bytes(strings))))
}

/// Whose clock is ahead, by the time that a server sends with BADTIME (RFC 8945 section 5.2.3).
fn clocks(server: &str, other: &[u8], now: u64) -> String {
    let Ok(bytes) = <[u8; 6]>::try_from(other) else {
        return format!("the clocks here and at the DNS server {server} differ by more than {FUDGE} s");
    };
    let theirs = bytes.iter().fold(0u64, |time, byte| time << 8 | u64::from(*byte));
    let (by, where_to) = if theirs >= now { (theirs - now, "ahead of") } else { (now - theirs, "behind") };
    format!("the clock of the DNS server {server} is {by} s {where_to} the one here; {FUDGE} s are allowed")
}

fn shown(text: &str) -> String {
    crate::probes::Printable::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Rfc2136 {
        Rfc2136 {
            server: "192.0.2.1".into(),
            transport: Transport::Tcp,
            key_name: "mailcert".into(),
            algorithm: Algorithm::HmacSha256,
            secret: Secret::from_base64(b"c2VjcmV0").unwrap(),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn secrets_are_base64_and_never_shown() {
        assert_eq!(Secret::from_base64(b" c2VjcmV0\n").unwrap().0.as_slice(), b"secret");
        assert!(!format!("{:?}", key()).contains("115"), "the secret's first byte");
        assert!(format!("{:?}", key()).contains("secret: Secret,"));
        for wrong in ["", " ", "\"c2VjcmV0\"", "not base64!", &BASE64_STANDARD.encode([0; 1025])] {
            let error = Secret::from_base64(wrong.as_bytes()).unwrap_err();
            assert!(wrong.trim().is_empty() || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn each_refusal_of_a_key_says_what_to_mend() {
        let words = |error, other: &[u8]| key().key_failure(error, other, 1_000_000).words;
        assert_eq!(
            words(TsigError::BadKey, &[]),
            "the DNS server 192.0.2.1 does not know the TSIG key mailcert with hmac-sha256 (BADKEY); the key's name or \
             algorithm is wrong"
        );
        assert_eq!(
            words(TsigError::BadSig, &[]),
            "the DNS server 192.0.2.1 has another secret for the TSIG key mailcert (BADSIG)"
        );
        let at = |seconds: u64| words(TsigError::BadTime, &seconds.to_be_bytes()[2..]);
        assert_eq!(
            at(1_003_600),
            "the clock of the DNS server 192.0.2.1 is 3600 s ahead of the one here; 300 s are allowed (BADTIME); set \
             the clocks right"
        );
        assert!(at(996_400).contains("is 3600 s behind the one here"));
        assert!(words(TsigError::BadTime, &[1, 2]).contains("differ by more than 300 s"));
        assert!(key().key_failure(TsigError::BadTime, &[], 0).transient);
        assert!(!key().key_failure(TsigError::BadKey, &[], 0).transient);
    }

    #[tokio::test]
    async fn a_name_outside_of_the_zone_is_refused_before_anything_is_sent() {
        let failure = key().present("example.com", "_acme-challenge.example.net", "v", 60).await.unwrap_err();
        assert_eq!(
            failure.words,
            "_acme-challenge.example.net is not in the zone example.com, so no update there can set it"
        );
        assert!(!failure.transient);
        key().clean_up("example.com", "badexample.com", "v").await.unwrap_err();
        key().present("example.com", "a..example.com", "v", 60).await.unwrap_err();
    }
}
