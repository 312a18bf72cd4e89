//! Questions to the recursive resolvers.

use std::net::SocketAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::Dns;
use super::answer::{self, Found, MAX_HOPS, absolute, shown};
use super::exchange::{Manner, Trouble, ask};
use super::failure::DnsFailure;

/// How many failed servers a message names.
const NAMED: usize = 3;

impl Dns {
    /// The end of the chain of aliases that begins at `name`, absolute, in lower case, without the final dot. It is
    /// `name` itself when that is no alias, or does not exist. Fails after 10 aliases, or when they lead in a circle.
    pub async fn follow(&self, name: &str) -> Result<String, DnsFailure> {
        let start = absolute(name)?;
        self.bounded(name, async {
            let mut chain = vec![start.clone()];
            while let Some(target) = self.alias(&chain[chain.len() - 1]).await? {
                if chain.contains(&target) {
                    return Err(answer::looped(&start));
                }
                if chain.len() > MAX_HOPS {
                    return Err(answer::too_long(&start));
                }
                chain.push(target);
            }
            Ok(shown(&chain[chain.len() - 1]))
        })
        .await
    }

    async fn alias(&self, name: &Name) -> Result<Option<Name>, DnsFailure> {
        let found = answer::read(&self.question(name, RecordType::CNAME).await?, name, RecordType::CNAME)?;
        let target = found.records.into_iter().find_map(|data| match data {
            RData::CNAME(target) => Some(target.0.to_lowercase()),
            _ => None,
        });
        Ok(target)
    }

    /// The records of one kind at `name` or at the end of its aliases. That there are none is no failure.
    pub(super) async fn resolve(&self, name: &Name, kind: RecordType) -> Result<Found, DnsFailure> {
        self.resolve_by(None, name, kind).await
    }

    /// The same, of `resolver` alone when there is one.
    pub(super) async fn resolve_by(
        &self,
        resolver: Option<SocketAddr>,
        name: &Name,
        kind: RecordType,
    ) -> Result<Found, DnsFailure> {
        let mut at = name.clone();
        let mut hops = 0;
        loop {
            let message = match resolver {
                None => self.question(&at, kind).await?,
                Some(server) => self
                    .one(server, &at, kind)
                    .await
                    .map_err(|trouble| DnsFailure::new(trouble.to_string(), trouble.passes()))?,
            };
            let found = answer::read(&message, &at, kind)?;
            hops += found.hops;
            if hops > MAX_HOPS {
                return Err(answer::too_long(name));
            }
            // A server that knows only the beginning of a chain leaves the rest to whoever asked.
            if found.closed || found.hops == 0 {
                return Ok(Found { hops, ..found });
            }
            at = found.end;
        }
    }

    /// Asks the resolvers in their order until one answers; its response code is NOERROR or NXDOMAIN.
    pub(super) async fn question(&self, name: &Name, kind: RecordType) -> Result<Message, DnsFailure> {
        let mut failed = Vec::new();
        for server in &self.0.resolvers {
            match self.one(*server, name, kind).await {
                Ok(message) => return Ok(message),
                Err(trouble) => failed.push((*server, trouble)),
            }
        }
        Err(unanswered(name, kind, &failed))
    }

    async fn one(&self, server: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, Trouble> {
        let manner = Manner { recursive: true, unchecked: self.0.unchecked, signed: false };
        let message = ask(server, name, kind, manner, self.0.timeout).await?;
        match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
            code => Err(Trouble::Code(code)),
        }
    }
}

fn unanswered(name: &Name, kind: RecordType, failed: &[(SocketAddr, Trouble)]) -> DnsFailure {
    let mut each: Vec<_> = failed.iter().take(NAMED).map(|(server, trouble)| format!("{server}: {trouble}")).collect();
    if failed.len() > NAMED {
        each.push(format!("and {} more", failed.len() - NAMED));
    }
    let words = format!("the {kind} records of {} cannot be looked up: {}", shown(name), each.join("; "));
    DnsFailure::new(words, failed.iter().any(|(_, trouble)| trouble.passes()))
}
