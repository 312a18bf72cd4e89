//! The ACME actions of a MailCertificate: one request or two each, never a wait.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;

use super::account::{account, failure};
use super::context::Context;
use super::ledger;
use super::pass::PassError;
use super::relations::{issuer_of, key};
use super::turns;
use crate::api::certificate::ChallengeType;
use crate::api::reasons::certificate as reason;
use crate::api::revocation::RevocationReason;
use crate::api::{MailCertificate, MailIssuer};
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::{
    Asked, AuthorizationView, Blocked, ChallengeView, Download, Fact, KeyPair, OrderStatus, OrderView, Origin,
    RenewalAnswer, RenewalWindow, StepFailure,
};
use crate::decide::guard::{Limits, Request};
use crate::issuers::acme::account::AcmeAccount;
use crate::issuers::acme::challenge::{self, AuthorizationStatus, ChallengeKind, ChallengeStatus};
use crate::issuers::acme::failure::AcmeFailure;
use crate::issuers::acme::order::{self, OrderRequest};
use crate::pki::{Chain, PemLimits, PrivateKey};

/// How long an order waits for others of its issuer to end.
const BUSY_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// Whether a step is the first with the server in its pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Next,
}

async fn opened(
    context: &Context,
    object: &MailCertificate,
    turn: Turn,
) -> Result<Result<(Arc<AcmeAccount>, turns::Turn), StepFailure>, PassError> {
    let Some(key) = issuer_of(object) else { return Ok(Err(gone("issuerRef".to_owned()))) };
    let turn = match turn {
        Turn::First => context.turns.begin(&key)?,
        Turn::Next => context.turns.go_on(&key).await?,
    };
    match context.kinds.issuers.get(&key) {
        Some(issuer) => Ok(account(context, &issuer).await?.map(|account| (account, turn))),
        None => Ok(Err(gone(format!("MailIssuer {}/{}", key.0, key.1)))),
    }
}

fn gone(what: String) -> StepFailure {
    StepFailure {
        pace: Pace::Transient,
        reason: reason::ISSUER_NOT_FOUND,
        message: format!("{what} is gone"),
        retry_after: None,
        order_lost: false,
    }
}

fn fact<T>(result: Result<T, AcmeFailure>, make: impl FnOnce(T) -> Fact) -> Fact {
    match result {
        Ok(value) => make(value),
        Err(e) => Fact::Failed(failure(e)),
    }
}

macro_rules! account_or_failed {
    ($context:expr, $object:expr, $turn:expr) => {
        match opened($context, $object, $turn).await? {
            Ok(account) => account,
            Err(failure) => return Ok(Fact::Failed(failure)),
        }
    };
}

/// Has the guard count an order, where its limits allow one more.
pub async fn reserve(
    context: &Context,
    object: &MailCertificate,
    names: Vec<String>,
    exempt: bool,
) -> Result<Fact, PassError> {
    let own = key(object);
    let Some(at) = issuer_of(object) else { return Ok(Fact::Overtaken) };
    let Some(issuer) = context.kinds.issuers.get(&at) else { return Ok(Fact::Overtaken) };
    let (Some(acme), Some(uri)) = (&issuer.spec.acme, account_uri(&issuer)) else { return Ok(Fact::Overtaken) };
    let now = Context::now();
    let open = acme.limits.concurrent;
    if !context.open_orders.enter(&at, &own, usize::try_from(open).unwrap_or(usize::MAX)) {
        let words = format!("{open} orders of the issuer are under way, as many as its limits allow: this one waits");
        let until = now.checked_add(BUSY_PAUSE).unwrap_or(now);
        return Ok(Fact::Reserved(Err(Blocked { until, words, busy: true })));
    }
    let request = Request { names, exempt };
    if context.reservations.get(&own).is_some_and(|reserved| reserved.is_for(&at, &request)) {
        // Counted by a pass that did not get as far as asking for it.
        return Ok(Fact::Reserved(Ok(())));
    }
    let limits = Limits::from(acme.limits);
    let reserved = ledger::reserve(context, &at, &uri, &limits, &request, now).await;
    if !matches!(reserved, Ok(Ok(_))) {
        context.next_order(context.open_orders.leave(&at, &own));
    }
    Ok(match reserved? {
        Ok(reserved) => {
            context.reservations.set(own, Arc::new(reserved));
            Fact::Reserved(Ok(()))
        }
        Err(blocked) => Fact::Reserved(Err(Blocked { until: blocked.until, words: blocked.words, busy: false })),
    })
}

fn account_uri(issuer: &MailIssuer) -> Option<String> {
    issuer.status.as_ref()?.acme.as_ref()?.account_uri.clone()
}

/// Creates an order.
pub async fn create(
    context: &Context,
    object: &MailCertificate,
    request: OrderRequest,
    exempt: bool,
) -> Result<Fact, PassError> {
    let own = key(object);
    let (account, _turn) = account_or_failed!(context, object, Turn::First);
    // Taken before it is used: where the pass is lost inside the request, the order may have been made, and counts.
    let reserved = context.reservations.get(&own);
    context.reservations.forget(&own);
    match account.new_order(&request).await {
        Ok(order) => {
            if exempt
                && order.replaces_dropped.is_some()
                && let Err(error) = count(context, object, request.names).await
            {
                // The order stands whatever becomes of the count: its URL must reach the status.
                tracing::warn!(%error, "an order could not be counted");
            }
            Ok(Fact::OrderCreated(view(order)))
        }
        Err(e) => {
            if let Some(reserved) = reserved.filter(|_| !e.unanswered) {
                ledger::release(context, &reserved);
            }
            context.next_order(context.open_orders.left(&own));
            Ok(Fact::Failed(failure(e)))
        }
    }
}

/// Counts an order that was made as a renewal that the CA asked for, and that the CA did not take as one.
async fn count(context: &Context, object: &MailCertificate, names: Vec<String>) -> Result<(), PassError> {
    let Some(at) = issuer_of(object) else { return Ok(()) };
    let uri = context.kinds.issuers.get(&at).and_then(|issuer| account_uri(&issuer));
    let Some(uri) = uri else { return Ok(()) };
    // It is made already: no limit can hold it back any more.
    let none =
        Limits { per_name_set: u32::MAX, per_domain: u32::MAX, per_account: u32::MAX, failed_authorizations: u32::MAX };
    let request = Request { names, exempt: false };
    ledger::reserve(context, &at, &uri, &none, &request, Context::now()).await.map(|_| ())
}

/// Looks at an order. Names that could not be validated are counted.
pub async fn look(context: &Context, object: &MailCertificate, url: &str) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::First);
    let order = match account.look(url).await {
        Ok(order) => view(order),
        Err(e) => return Ok(Fact::Failed(failure(e))),
    };
    if let Some(at) = issuer_of(object).filter(|_| order.status == OrderStatus::Invalid) {
        let failed = order.authorizations.iter().filter(|a| a.failed).map(|a| a.name.clone()).collect::<Vec<_>>();
        ledger::failed_authorizations(context, &at, account.uri(), &failed, Context::now()).await?;
    }
    Ok(Fact::Order(order))
}

/// Tells the CA that it can look at the challenges of these names.
pub async fn answer(
    context: &Context,
    object: &MailCertificate,
    url: &str,
    asked: Vec<Asked>,
) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::Next);
    let chosen: Vec<_> = asked.iter().map(|a| (a.name.clone(), kind(a.kind))).collect();
    let names = asked.into_iter().map(|a| a.name).collect();
    Ok(fact(account.answer(url, &chosen).await, |()| Fact::Answered(names)))
}

fn kind(kind: ChallengeType) -> ChallengeKind {
    match kind {
        ChallengeType::Http01 => ChallengeKind::Http01,
        ChallengeType::TlsAlpn01 => ChallengeKind::TlsAlpn01,
        ChallengeType::Dns01 => ChallengeKind::Dns01,
        ChallengeType::DnsPersist01 => ChallengeKind::DnsPersist01,
    }
}

/// Sends the CSR.
pub async fn finalize(context: &Context, object: &MailCertificate, url: &str, csr: &[u8]) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::Next);
    Ok(fact(account.finalize(url, csr).await, |o| Fact::Finalized(view(o))))
}

/// Fetches the certificate, with the CA's other chains where they are asked for.
pub async fn download(
    context: &Context,
    object: &MailCertificate,
    url: &str,
    (revision, key, origin): (i64, Arc<PrivateKey>, Origin),
    alternates: bool,
) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::Next);
    let (pem, others) = match account.download_with_alternates(url).await {
        Ok(found) => found,
        Err(e) => return Ok(Fact::Failed(failure(e))),
    };
    let mut chains = match Chain::from_pem(pem.as_bytes(), &PemLimits::CHAIN) {
        Ok(chain) => vec![chain],
        Err(e) => {
            return Ok(Fact::Failed(unreadable(&e)));
        }
    };
    for other in others.iter().filter(|_| alternates) {
        // One that cannot be had is one less to choose from: the certificate is the same.
        match account.download_alternate(other).await.map(|pem| Chain::from_pem(pem.as_bytes(), &PemLimits::CHAIN)) {
            Ok(Ok(chain)) => chains.push(chain),
            Ok(Err(error)) => tracing::warn!(%error, "an alternate chain cannot be read"),
            Err(error) => tracing::warn!(%error, "an alternate chain cannot be fetched"),
        }
    }
    Ok(Fact::Downloaded(Download { revision, key, origin, chains }))
}

/// Asks the CA when it suggests to renew a certificate.
pub async fn renewal_info(context: &Context, object: &MailCertificate, id: String) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::First);
    let asked = account.renewal_info(&id, Context::now()).await;
    let retry_after = asked.as_ref().ok().and_then(|info| info.retry_after);
    Ok(Fact::RenewalInfo(RenewalAnswer {
        certificate_id: id,
        retry_after: retry_after.and_then(|d| SignedDuration::try_from(d).ok()),
        window: asked.map_err(|e| e.words).map(|info| RenewalWindow {
            start: info.start,
            end: info.end,
            explanation_url: info.explanation_url,
        }),
    }))
}

/// Revokes the active certificate: with its own key when that is compromised, which tells the CA that it is; else with
/// the account's.
pub async fn revoke(
    context: &Context,
    object: &MailCertificate,
    pair: &KeyPair,
    reason: RevocationReason,
) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::First);
    let der = pair.chain.leaf().der();
    let by_key = reason == RevocationReason::KeyCompromise;
    let revoked = match by_key {
        true => account.revoke_with_key(&pair.key, der, reason).await,
        false => account.revoke(der, reason).await,
    };
    Ok(fact(revoked, |()| Fact::Revoked))
}

/// A chain that cannot be read, as a failed step.
pub fn unreadable(error: &impl std::fmt::Display) -> StepFailure {
    StepFailure {
        pace: Pace::Refusal,
        reason: reason::ISSUED_INVALID,
        message: format!("what the CA sent cannot be read: {error}"),
        retry_after: None,
        order_lost: true,
    }
}

/// An order of the ACME client, as decisions see it.
pub fn view(order: order::OrderView) -> OrderView {
    OrderView {
        url: order.url,
        status: match order.status {
            order::OrderStatus::Pending => OrderStatus::Pending,
            order::OrderStatus::Ready => OrderStatus::Ready,
            order::OrderStatus::Processing => OrderStatus::Processing,
            order::OrderStatus::Valid => OrderStatus::Valid,
            order::OrderStatus::Invalid => OrderStatus::Invalid,
        },
        error: order.error,
        authorizations: order.authorizations.into_iter().map(authorization).collect(),
        retry_after: order.retry_after.and_then(|d| SignedDuration::try_from(d).ok()),
        not_replaced: order.replaces_dropped,
    }
}

fn authorization(authorization: challenge::AuthorizationView) -> AuthorizationView {
    let valid = authorization.status == AuthorizationStatus::Valid;
    let (mut challenges, mut unknown) = (Vec::new(), Vec::new());
    for challenge in authorization.challenges {
        let kind = match challenge.kind {
            ChallengeKind::Http01 => ChallengeType::Http01,
            ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
            ChallengeKind::Dns01 => ChallengeType::Dns01,
            ChallengeKind::DnsPersist01 => ChallengeType::DnsPersist01,
            ChallengeKind::Other(name) => {
                unknown.push(name);
                continue;
            }
        };
        challenges.push(ChallengeView {
            kind,
            token: challenge.token.unwrap_or_default(),
            key_authorization: challenge.key_authorization.unwrap_or_default(),
            dns_value: challenge.dns_value,
            pending: challenge.status == ChallengeStatus::Pending,
            error: challenge.error,
        });
    }
    AuthorizationView {
        name: authorization.name,
        valid,
        failed: !valid && authorization.status != AuthorizationStatus::Pending,
        challenges,
        error: authorization.error,
        unknown,
    }
}
