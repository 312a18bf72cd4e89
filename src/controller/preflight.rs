//! What DNS says about names before an order is made.

use std::time::Duration;

use futures::StreamExt;

use super::resolvers;
use crate::api::MailIssuer;
use crate::api::certificate::ChallengeType;
use crate::decide::caa::CaaRecord;
use crate::decide::certificate::Fact;
use crate::decide::certificate::world::{Asked, NameLook};
use crate::dns::{Dns, Settings};

/// Names that are asked about at once.
const ABREAST: usize = 16;
/// For all names together: what is not known by then is left out.
const LIMIT: Duration = Duration::from_secs(20);
/// Where the record of DNS-PERSIST-01 stands.
const PERSIST: &str = "_validation-persist";

/// Asks about every name, as far as its type of challenge depends on DNS.
pub async fn look(settings: &Settings, issuer: &MailIssuer, asked: Vec<Asked>) -> Fact {
    let identities = issuer.status.as_ref().and_then(|s| s.acme.as_ref()).map(|a| !a.caa_identities.is_empty());
    let known_ca = identities.unwrap_or(false);
    let dns = match resolvers::dns(settings, issuer) {
        Ok(dns) => dns,
        Err(words) => return Fact::Preflight(asked.into_iter().map(|a| unknown(a, &words)).collect()),
    };
    let until = tokio::time::Instant::now() + LIMIT;
    let looks = futures::stream::iter(asked.into_iter().map(|asked| {
        let dns = dns.clone();
        async move {
            let late = asked.clone();
            match tokio::time::timeout_at(until, name(&dns, asked, known_ca)).await {
                Ok(look) => look,
                Err(_) => unknown(late, "there was no time left to ask"),
            }
        }
    }));
    Fact::Preflight(looks.buffered(ABREAST).collect().await)
}

fn unknown(asked: Asked, words: &str) -> NameLook {
    let failed = || Err(words.to_owned());
    NameLook {
        has_address: connects(&asked).then(|| Err(words.to_owned())),
        caa: None,
        persist: (asked.kind == ChallengeType::DnsPersist01).then(failed),
        name: asked.name,
    }
}

/// Whether the CA connects to the name.
fn connects(asked: &Asked) -> bool {
    matches!(asked.kind, ChallengeType::Http01 | ChallengeType::TlsAlpn01)
}

async fn name(dns: &Dns, asked: Asked, known_ca: bool) -> NameLook {
    let base = asked.name.strip_prefix("*.").unwrap_or(&asked.name);
    let addresses = async {
        if !connects(&asked) {
            return None;
        }
        let found = dns.addresses(base).await.map_err(|e| e.to_string());
        Some(found.map(|a| !a.v4.is_empty() || !a.v6.is_empty()))
    };
    let caa = async {
        if !known_ca {
            return None;
        }
        let found = dns.caa(base).await.map_err(|e| e.to_string());
        Some(found.map(|answer| {
            let record = |r: crate::dns::CaaRecord| CaaRecord { critical: r.critical, tag: r.tag, value: r.value };
            (answer.at, answer.records.into_iter().map(record).collect())
        }))
    };
    let persist = async {
        if asked.kind != ChallengeType::DnsPersist01 {
            return None;
        }
        Some(dns.txt(&format!("{PERSIST}.{base}")).await.map_err(|e| e.to_string()))
    };
    let (has_address, caa, persist) = futures::join!(addresses, caa, persist);
    NameLook { has_address, caa, persist, name: asked.name }
}
