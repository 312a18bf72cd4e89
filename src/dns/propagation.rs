//! Whether every server that a CA may ask has a TXT record already.

use std::net::{IpAddr, SocketAddr};

use futures::future::join_all;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::Dns;
use super::answer::{self, absolute, shown};
use super::exchange::{Manner, Trouble, ask};
use super::failure::DnsFailure;
use super::lookups::texts;
use super::settings::PORT;
use super::zone::Nameserver;

/// How many servers a sentence names.
const NAMED: usize = 4;

/// What one server says about a TXT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAnswer {
    /// The authoritative server's name, or the resolver's address.
    pub server: String,
    /// The values there, or why the server did not say, in words without the server's name.
    pub result: Result<Vec<String>, String>,
}

/// A sentence that names the servers from which `value` cannot be had; `None` when all of them have it, and there is
/// at least one.
pub fn missing(answers: &[ServerAnswer], value: &str) -> Option<String> {
    let problem = |answer: &ServerAnswer| match &answer.result {
        Ok(values) if values.iter().any(|found| found == value) => None,
        Ok(values) if values.is_empty() => Some(format!("{} does not have the TXT record yet", answer.server)),
        Ok(_) => Some(format!("{} has other values of the TXT record, but not this one yet", answer.server)),
        Err(why) => Some(format!("{}: {why}", answer.server)),
    };
    let problems: Vec<String> = answers.iter().filter_map(problem).collect();
    if answers.is_empty() {
        return Some("no server was asked for the TXT record".into());
    }
    if problems.is_empty() {
        return None;
    }
    let more = problems.len().saturating_sub(NAMED);
    let mut sentence = problems.into_iter().take(NAMED).collect::<Vec<_>>().join("; ");
    if more > 0 {
        sentence.push_str(&format!("; and {more} more servers"));
    }
    Some(sentence)
}

impl Dns {
    /// Asks every authoritative server of the name's zone for the TXT records at `fqdn`, or every resolver where the
    /// settings say so. An alias there is not followed: see [`Dns::follow`].
    pub async fn txt_everywhere(&self, fqdn: &str) -> Result<Vec<ServerAnswer>, DnsFailure> {
        let name = absolute(fqdn)?;
        self.bounded(fqdn, async {
            if self.0.recursive_only {
                let mut asked = Vec::new();
                for server in &self.0.resolvers {
                    asked.push(self.through(*server, &name));
                }
                return Ok(join_all(asked).await);
            }
            let zone = self.zone_of(&name).await?;
            let mut asked = Vec::new();
            for server in &zone.servers {
                asked.push(self.at(server, &name));
            }
            Ok(join_all(asked).await)
        })
        .await
    }

    async fn through(&self, resolver: SocketAddr, name: &Name) -> ServerAnswer {
        let result = self.resolve_by(Some(resolver), name, RecordType::TXT).await;
        ServerAnswer {
            server: resolver.to_string(),
            result: result.map(|found| texts(found.records)).map_err(|failure| failure.words),
        }
    }

    async fn at(&self, server: &Nameserver, name: &Name) -> ServerAnswer {
        let mut asked = Vec::new();
        for address in &server.addresses {
            asked.push(self.authoritative(*address, name));
        }
        let common = |known: Vec<String>, found: Vec<String>| known.into_iter().filter(|v| found.contains(v)).collect();
        ServerAnswer { server: server.name.clone(), result: agreed(server, join_all(asked).await, common) }
    }

    async fn authoritative(&self, address: IpAddr, name: &Name) -> Result<Vec<String>, Unusable> {
        let server = SocketAddr::new(address, PORT);
        match ask(server, name, RecordType::TXT, Manner::default(), self.0.timeout).await {
            Ok(message) => judge(&message, name),
            Err(trouble @ (Trouble::Silent(_) | Trouble::Unreachable(_))) => Err(Unusable::Silent(trouble.to_string())),
            Err(trouble) => Err(Unusable::Wrong(trouble.to_string())),
        }
    }
}

/// What a server says at all of its addresses. Those from which nothing comes do not count as long as another one
/// answers: often only one family can be reached. Of those that answer, `worse` puts together what counts, since a CA,
/// or a mail server, may happen to ask any of them.
pub(super) fn agreed<T>(
    server: &Nameserver,
    each: Vec<Result<T, Unusable>>,
    worse: impl Fn(T, T) -> T,
) -> Result<T, String> {
    let mut values: Option<T> = None;
    let mut refusal = None;
    let mut silence = None;
    for (address, result) in server.addresses.iter().zip(each) {
        match result {
            Ok(found) => {
                values = Some(match values {
                    Some(known) => worse(known, found),
                    None => found,
                });
            }
            Err(Unusable::Silent(why)) => silence = silence.or(Some(format!("{why} at {address}"))),
            Err(Unusable::Wrong(why)) => refusal = refusal.or(Some(format!("{why} at {address}"))),
        }
    }
    match (refusal, values, silence) {
        (Some(why), _, _) | (None, None, Some(why)) => Err(why),
        (None, Some(values), _) => Ok(values),
        (None, None, None) => Err("its name has no address".into()),
    }
}

/// Why one address of a server gave no values.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Nothing came back.
    Silent(String),
    /// Something came back.
    Wrong(String),
}

/// Whether an answer comes with authority.
pub(super) fn with_authority(message: &Message) -> Result<(), Unusable> {
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        ResponseCode::Refused => {
            return Err(Unusable::Wrong("it is named as a server of the zone, but answers REFUSED (lame)".into()));
        }
        code => return Err(Unusable::Wrong(Trouble::Code(code).to_string())),
    }
    if !message.metadata.authoritative {
        return Err(Unusable::Wrong(
            "it is named as a server of the zone, but does not answer with authority (lame)".into(),
        ));
    }
    Ok(())
}

/// The values in an authoritative server's answer.
fn judge(message: &Message, name: &Name) -> Result<Vec<String>, Unusable> {
    with_authority(message)?;
    let found = answer::read(message, name, RecordType::TXT).map_err(|failure| Unusable::Wrong(failure.words))?;
    if found.hops > 0 && found.records.is_empty() {
        return Err(Unusable::Wrong(format!("it says that the name is an alias of {}", shown(&found.end))));
    }
    Ok(texts(found.records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_the_servers_that_lack_the_value() {
        let answer = |server: &str, result: Result<&[&str], &str>| ServerAnswer {
            server: server.into(),
            result: result.map(|values| values.iter().map(ToString::to_string).collect()).map_err(str::to_owned),
        };
        let has = answer("ns1.a.test", Ok(&["other", "value"]));
        assert_eq!(missing(std::slice::from_ref(&has), "value"), None);
        assert_eq!(missing(&[], "value").unwrap(), "no server was asked for the TXT record");
        let answers = [
            has,
            answer("ns2.a.test", Ok(&[])),
            answer("ns3.a.test", Ok(&["valu", "Value", "value "])),
            answer("ns4.a.test", Err("SERVFAIL")),
        ];
        assert_eq!(
            missing(&answers, "value").unwrap(),
            "ns2.a.test does not have the TXT record yet; ns3.a.test has other values of the TXT record, but not this \
             one yet; ns4.a.test: SERVFAIL"
        );
        let many: Vec<_> = (0..9).map(|i| answer(&format!("ns{i}.a.test"), Err("SERVFAIL"))).collect();
        let sentence = missing(&many, "value").unwrap();
        assert!(sentence.ends_with("ns3.a.test: SERVFAIL; and 5 more servers"), "{sentence}");
    }

    #[test]
    fn only_an_answer_with_authority_counts() {
        let name = absolute("a.test").unwrap();
        let mut message = Message::query();
        let words = |message: &Message| match judge(message, &name) {
            Ok(values) => format!("{values:?}"),
            Err(Unusable::Wrong(words) | Unusable::Silent(words)) => words,
        };
        assert_eq!(words(&message), "it is named as a server of the zone, but does not answer with authority (lame)");
        message.metadata.authoritative = true;
        assert_eq!(words(&message), "[]");
        message.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(words(&message), "[]");
        message.metadata.response_code = ResponseCode::ServFail;
        assert_eq!(words(&message), "SERVFAIL");
        message.metadata.response_code = ResponseCode::Refused;
        assert_eq!(words(&message), "it is named as a server of the zone, but answers REFUSED (lame)");
    }
}
