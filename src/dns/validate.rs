//! DNSSEC: whether an authoritative server's own answer is signed, by keys that lead to a trust anchor (RFC 4035).
//!
//! The question goes to that one server; keys (DNSKEY) and their chain (DS) are asked of the resolvers, which need not be
//! trusted: nothing is taken that does not verify.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::Stream;
use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::xfer::FirstAnswer;
use hickory_net::{DnsError, DnsHandle, NetError};
use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::Dns;
use super::answer::shown;
use super::exchange::{Manner, Trouble, ask};
use super::propagation::Unusable;
use crate::decide::domain::tlsa::Trust;

/// The most questions about one answer.
const MAX_QUESTIONS: usize = 100;

impl Dns {
    /// What `server` says about `name`, and what DNSSEC says of that.
    pub(super) async fn validated(
        &self,
        server: SocketAddr,
        recursive: bool,
        name: &Name,
        kind: RecordType,
    ) -> Result<(Message, Trust), Unusable> {
        let route = Route {
            dns: self.clone(),
            server,
            recursive,
            target: Query::query(name.clone(), kind),
            asked: Arc::default(),
            troubles: Arc::default(),
        };
        let handle = DnssecDnsHandle::with_trust_anchor(route.clone(), self.0.anchors.shared());
        let result = handle.lookup(route.target.clone(), DnsRequestOptions::default()).first_answer().await;
        let troubles = route.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(trouble) = troubles.at_server {
            return Err(match trouble {
                Trouble::Silent(_) | Trouble::Unreachable(_) => Unusable::Silent(trouble.to_string()),
                trouble => Unusable::Wrong(trouble.to_string()),
            });
        }
        let (message, denied) = match result {
            Ok(response) => (response.into_message(), None),
            Err(NetError::Dns(DnsError::Nsec { response, proof, .. })) => (response.into_message(), Some(proof)),
            Err(error) => return Err(Unusable::Wrong(super::answer::shown_text(&error.to_string()))),
        };
        let proof = denied.unwrap_or_else(|| worst(&message, name, kind));
        let trust = match (proof, troubles.on_the_way) {
            (Proof::Secure, _) => Trust::Secure,
            (Proof::Insecure, _) => Trust::Insecure,
            // What could not be asked looks to the library like a chain that is broken.
            (_, Some(why)) => Trust::Unknown(why),
            (_, None) => Trust::Bogus(why(&message, name, kind)),
        };
        Ok((message, trust))
    }
}

/// The least proof among the records asked for, or among those that say that there are none.
fn worst(message: &Message, name: &Name, kind: RecordType) -> Proof {
    let is_asked_for = |r: &&hickory_proto::rr::Record| r.name == *name && r.record_type() == kind;
    let records: Vec<Proof> = message.answers.iter().filter(is_asked_for).map(|r| r.proof).collect();
    let denial = message.authorities.iter().filter(|r| r.record_type() == RecordType::SOA).map(|r| r.proof);
    let proofs = if records.is_empty() { denial.collect() } else { records };
    proofs.into_iter().min().unwrap_or(Proof::Indeterminate)
}

/// What is wrong with the signatures of an answer, as far as the answer shows it.
fn why(message: &Message, name: &Name, kind: RecordType) -> String {
    let has_records = message.answers.iter().any(|r| r.name == *name && r.record_type() == kind);
    let (section, covered) =
        if has_records { (&message.answers, kind) } else { (&message.authorities, RecordType::SOA) };
    let signatures: Vec<_> = section
        .iter()
        .filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) if rrsig.input().type_covered == covered => Some(rrsig.input()),
            _ => None,
        })
        .collect();
    if signatures.is_empty() {
        return "it is not signed, although the parent zone has a DS record for the zone".into();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let ends: Vec<u64> = signatures.iter().map(|input| u64::from(input.sig_expiration.get())).collect();
    match ends.iter().max() {
        Some(end) if *end < now => {
            let at = i64::try_from(*end).ok().and_then(|s| k8s_openapi::jiff::Timestamp::from_second(s).ok());
            format!("its signature expired at {}", at.map(|at| at.to_string()).unwrap_or_default())
        }
        _ => format!(
            "its signature does not lead to a trust anchor: does the DS record in the parent zone name a key of {}?",
            signatures.first().map(|input| shown(&input.signer_name)).unwrap_or_default()
        ),
    }
}

/// What went wrong while asking.
#[derive(Clone, Debug, Default)]
struct Troubles {
    /// At the server whose answer is validated.
    at_server: Option<Trouble>,
    /// At the resolvers.
    on_the_way: Option<String>,
}

/// Leads the question to its server, and those about keys to the resolvers.
#[derive(Clone)]
struct Route {
    dns: Dns,
    server: SocketAddr,
    recursive: bool,
    target: Query,
    asked: Arc<AtomicUsize>,
    troubles: Arc<Mutex<Troubles>>,
}

impl Route {
    async fn answer(self, query: Query) -> Result<DnsResponse, NetError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) >= MAX_QUESTIONS {
            self.note(format!("more than {MAX_QUESTIONS} questions would be needed"));
            return Err(NetError::from("too many questions"));
        }
        let message =
            if query == self.target { self.of_the_server(&query).await } else { self.of_a_resolver(&query).await };
        Ok(DnsResponse::from_message(message?.into_response())?)
    }

    async fn of_the_server(&self, query: &Query) -> Result<Message, NetError> {
        let manner = Manner { recursive: self.recursive, unchecked: self.recursive, signed: true };
        ask(self.server, query.name(), query.query_type(), manner, self.dns.0.timeout).await.map_err(|trouble| {
            let words = trouble.to_string();
            self.troubles.lock().unwrap_or_else(PoisonError::into_inner).at_server = Some(trouble);
            NetError::from(words)
        })
    }

    async fn of_a_resolver(&self, query: &Query) -> Result<Message, NetError> {
        let manner = Manner { recursive: true, unchecked: true, signed: true };
        let mut failed = Vec::new();
        for server in &self.dns.0.resolvers {
            match ask(*server, query.name(), query.query_type(), manner, self.dns.0.timeout).await {
                Ok(message) if is_stripped(&message, query) => failed.push(format!(
                    "the resolver {server} hands on no signatures (RRSIG); name one that does, in spec.dns.resolvers or \
                     the operator's --dns-resolvers"
                )),
                Ok(message)
                    if matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
                {
                    return Ok(message);
                }
                Ok(message) => failed.push(format!("{server}: {}", Trouble::Code(message.metadata.response_code))),
                Err(trouble) => failed.push(format!("{server}: {trouble}")),
            }
        }
        failed.truncate(3);
        let (kind, name) = (query.query_type(), shown(query.name()));
        self.note(format!("the {kind} records of {name} cannot be looked up: {}", failed.join("; ")));
        Err(NetError::from("no resolver answered"))
    }

    fn note(&self, words: String) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).on_the_way.get_or_insert(words);
    }
}

/// Whether a resolver leaves the signatures out: keys are always signed.
fn is_stripped(message: &Message, query: &Query) -> bool {
    let has = |kind: RecordType| message.answers.iter().any(|record| record.record_type() == kind);
    query.query_type() == RecordType::DNSKEY && has(RecordType::DNSKEY) && !has(RecordType::RRSIG)
}

impl DnsHandle for Route {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let route = self.clone();
        Box::pin(futures::stream::once(async move {
            let query = request.queries.first().cloned();
            route.answer(query.ok_or_else(|| NetError::from("no question"))?).await
        }))
    }
}
