//! Finalization, certificates, their revocation and their renewal information.

use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

use super::answer::{Answer, Problem};
use super::core::{Core, Post, State};
use super::faults::Fault;
use super::issue::{Leaf, Request};
use super::jws::decode;
use super::log::CertificateRecord;
use super::orders::rfc3339;

/// The lifetime where there are no profiles, in seconds.
const LIFETIME: i64 = 90 * 86_400;

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    leaf: Leaf,
    at: i64,
    account: usize,
    names: Vec<String>,
    key: Vec<u8>,
    spki: Vec<u8>,
    replaced: bool,
    revoked: Option<u8>,
}

impl State {
    /// Whether an order may say that it replaces this certificate (RFC 9773 section 5); its number.
    pub fn may_replace(&self, id: &str, account: usize, names: &[String]) -> Result<usize, Problem> {
        let unknown = || Problem::not_found(format!("there is no certificate {id:?} to replace"));
        let number = *self.by_ari_id.get(id).ok_or_else(unknown)?;
        let old = &self.certificates[number];
        if old.account != account {
            return Err(Problem::unauthorized("the certificate to replace belongs to another account"));
        }
        if old.replaced {
            return Err(Problem::new(409, "alreadyReplaced", format!("the certificate {id} is already replaced")));
        }
        if old.leaf.not_after < self.now() {
            return Err(Problem::malformed("the certificate to replace has expired"));
        }
        if !old.names.iter().any(|name| names.contains(name)) {
            return Err(Problem::malformed("the order shares no name with the certificate that it replaces"));
        }
        Ok(number)
    }

    /// RFC 9773 section 4.
    pub fn renewal_info(&self, path: &str) -> Result<Answer, Problem> {
        let id = path.trim_start_matches("/renewal-info/");
        let number = self.by_ari_id.get(id).filter(|_| self.script.renewal_info);
        let number = *number.ok_or_else(|| Problem::not_found(format!("there is no certificate {id:?}")))?;
        let certificate = &self.certificates[number];
        let (from, until) = (certificate.leaf.not_before, certificate.leaf.not_after);
        let window = match self.windows.get(id) {
            Some(scripted) => scripted.clone(),
            None if certificate.revoked.is_some() => window(self.now() - 3600, self.now() - 3599),
            None => {
                // As Let's Encrypt does: a third of the lifetime before the end, and two percent of it around that.
                let (lifetime, ideal) = (until + 1 - from, until - (until + 1 - from) / 3);
                window(ideal - lifetime / 100, ideal + lifetime / 100)
            }
        };
        Ok(Answer::json(200, &window).retry_after(Some(self.script.renewal_retry_after)))
    }
}

fn window(start: i64, end: i64) -> Value {
    json!({"suggestedWindow": {"start": rfc3339(start), "end": rfc3339(end)}})
}

impl Core {
    pub fn finalize(&self, state: &mut State, post: &Post<'_>, fault: Option<&Fault>) -> Result<Answer, Problem> {
        let number = self.own_order(state, post)?;
        let order = &state.orders[number];
        let status = state.order_status(order);
        if status != "ready" {
            return Err(Problem::new(403, "orderNotReady", format!("the order is {status}, not ready")));
        }
        let csr = post.payload()?["csr"].as_str().and_then(decode);
        let csr = csr.ok_or_else(|| Problem::malformed("there is no CSR in base64url"))?;
        let request = Request::parse(&csr)?;
        if request.names != order.names.iter().cloned().collect() {
            return Err(Problem::new(400, "badCSR", "the CSR's names are not those of the order"));
        }
        if post.key.is_spki(&request.key) {
            return Err(Problem::new(400, "badCSR", "the CSR's key is the account's"));
        }
        if let Some(Fault::InvalidOrder(problem)) = fault {
            state.orders[number].error = Some(problem.clone());
            return Ok(self.order_answer(200, state, number));
        }
        let (certificate, now) = (self.issue(state, number, request, fault)?, state.now());
        let delay = if let Some(Fault::Processing(seconds)) = fault { *seconds } else { state.script.issuance_delay };
        state.orders[number].issued = Some((certificate, now.saturating_add(delay)));
        Ok(self.order_answer(200, state, number))
    }

    fn issue(
        &self,
        state: &mut State,
        number: usize,
        request: Request,
        fault: Option<&Fault>,
    ) -> Result<usize, Problem> {
        let (order, now) = (state.orders[number].clone(), state.now());
        let profiles = &state.script.profiles;
        let named = profiles.iter().find(|p| Some(&p.name) == order.profile.as_ref()).or(profiles.first());
        let lifetime = named.map_or(LIFETIME, |profile| profile.lifetime);
        let (key, spki) = (request.key.clone(), request.spki.clone());
        let from = now - state.script.backdating;
        let leaf = self.authority.sign(request, &order.names, from, lifetime, fault)?;
        if let Some(old) = order.replaces.as_ref().and_then(|id| state.by_ari_id.get(id)) {
            state.certificates[*old].replaced = true;
        }
        if !order.exempt {
            state.counts.issued(&order.names, now);
        }
        state.by_ari_id.insert(leaf.ari_id.clone(), state.certificates.len());
        state.certificates.push(Issued {
            leaf,
            at: now,
            account: order.account,
            names: order.names,
            key,
            spki,
            replaced: false,
            revoked: None,
        });
        Ok(state.certificates.len() - 1)
    }

    pub fn certificate(&self, state: &State, post: &Post<'_>, fault: Option<&Fault>) -> Result<Answer, Problem> {
        let (number, account) = (post.number(0)?, post.account()?);
        let missing = || Problem::not_found("there is no such certificate of this account");
        let certificate = state.certificates.get(number).filter(|c| c.account == account).ok_or_else(missing)?;
        let chain = post.number(1).unwrap_or(0);
        let pem = self.authority.chain(&certificate.leaf.pem, chain, fault).ok_or_else(missing)?;
        let others = (0..self.authority.chains()).filter(|n| *n != chain);
        let answer = Answer::typed(200, "application/pem-certificate-chain", pem);
        Ok(others.fold(answer, |answer, n| {
            answer.with("link", format!("<{}>;rel=\"alternate\"", self.url(&format!("/cert/{number}/{n}"))))
        }))
    }

    /// RFC 8555 section 7.6.
    pub fn revoke(&self, state: &mut State, post: &Post<'_>) -> Result<Answer, Problem> {
        let payload = post.payload()?;
        let der = payload["certificate"].as_str().and_then(decode);
        let der = der.ok_or_else(|| Problem::malformed("there is no certificate in base64url"))?;
        let reason = payload.get("reason").map_or(Some(0), Value::as_u64);
        // RFC 5280, section 5.3.1: there is no 7, and what is above 10 is nothing.
        let reason = reason.and_then(|r| u8::try_from(r).ok()).filter(|r| [0, 1, 3, 4, 5].contains(r));
        let reason = reason.ok_or_else(|| Problem::new(400, "badRevocationReason", "this reason is not allowed"))?;
        let is =
            |c: &&mut Issued| CertificateDer::from_pem_slice(c.leaf.pem.as_bytes()).is_ok_and(|known| *known == *der);
        let found = state.certificates.iter_mut().find(is);
        let found = found.ok_or_else(|| Problem::not_found("this certificate was not issued here"))?;
        let allowed = match post.account {
            Some(account) => account == found.account,
            None => post.key.is_spki(&found.key),
        };
        if !allowed {
            return Err(Problem::unauthorized("this key may not revoke this certificate"));
        }
        if found.revoked.is_some() {
            return Err(Problem::new(400, "alreadyRevoked", "this certificate is revoked already"));
        }
        found.revoked = Some(reason);
        Ok(Answer::empty(200))
    }

    pub fn certificate_records(&self, state: &State) -> Vec<CertificateRecord> {
        let record = |issued: &Issued| CertificateRecord {
            at: issued.at,
            names: issued.names.clone(),
            serial: issued.leaf.serial.clone(),
            spki: issued.spki.clone(),
            not_before: issued.leaf.not_before,
            not_after: issued.leaf.not_after,
            ari_id: issued.leaf.ari_id.clone(),
            replaced: issued.replaced,
            revoked: issued.revoked,
            pem: issued.leaf.pem.clone(),
        };
        state.certificates.iter().map(record).collect()
    }
}
