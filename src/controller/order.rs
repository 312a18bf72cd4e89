//! The ACME actions of a MailCertificate: one request or two each, never a wait.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;

use super::account::{account, failure};
use super::context::Context;
use super::pass::PassError;
use super::relations::issuer_key;
use super::turns;
use crate::api::MailCertificate;
use crate::api::reasons::certificate as reason;
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::{
    AuthorizationView, Fact, Fresh, Http01View, KeyPair, OrderStatus, OrderView, Origin, StepFailure,
};
use crate::issuers::acme::account::AcmeAccount;
use crate::issuers::acme::challenge::{self, AuthorizationStatus, ChallengeKind, ChallengeStatus};
use crate::issuers::acme::failure::AcmeFailure;
use crate::issuers::acme::order::{self, OrderRequest};
use crate::pki::{Chain, PemLimits, PrivateKey};
use crate::solvers::http01::selfcheck::{SelfCheck, self_check};
use kube::ResourceExt;

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
    let key = issuer_key(&object.spec.issuer_ref, &object.namespace().unwrap_or_default());
    let turn = match turn {
        Turn::First => context.turns.begin(&key)?,
        Turn::Next => context.turns.go_on(&key).await?,
    };
    match context.kinds.issuers.get(&key) {
        Some(issuer) => Ok(account(context, &issuer).await?.map(|account| (account, turn))),
        None => Ok(Err(StepFailure {
            pace: Pace::Transient,
            reason: reason::ISSUER_NOT_FOUND,
            message: format!("MailIssuer {}/{} is gone", key.0, key.1),
            retry_after: None,
            order_lost: false,
        })),
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

/// Creates an order.
pub async fn create(context: &Context, object: &MailCertificate, names: Vec<String>) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::First);
    let request = OrderRequest { names, profile: None, replaces: None };
    Ok(fact(account.new_order(&request).await, |o| Fact::OrderCreated(view(o))))
}

/// Looks at an order.
pub async fn look(context: &Context, object: &MailCertificate, url: &str) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::First);
    Ok(fact(account.look(url).await, |o| Fact::Order(view(o))))
}

/// Tells the CA that it can look at the challenges of these names.
pub async fn answer(
    context: &Context,
    object: &MailCertificate,
    url: &str,
    names: Vec<String>,
) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::Next);
    let chosen: Vec<_> = names.iter().map(|name| (name.clone(), ChallengeKind::Http01)).collect();
    Ok(fact(account.answer(url, &chosen).await, |()| Fact::Answered(names.clone())))
}

/// Sends the CSR.
pub async fn finalize(context: &Context, object: &MailCertificate, url: &str, csr: &[u8]) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::Next);
    Ok(fact(account.finalize(url, csr).await, |o| Fact::Finalized(view(o))))
}

/// Fetches the certificate.
pub async fn download(
    context: &Context,
    object: &MailCertificate,
    url: &str,
    revision: i64,
    key: Arc<PrivateKey>,
    origin: Origin,
) -> Result<Fact, PassError> {
    let (account, _turn) = account_or_failed!(context, object, Turn::Next);
    let pem = match account.download(url).await {
        Ok(pem) => pem,
        Err(e) => return Ok(Fact::Failed(failure(e))),
    };
    Ok(match Chain::from_pem(pem.as_bytes(), &PemLimits::CHAIN) {
        Ok(chain) => {
            // What readers may take as trust anchor: the topmost certificate that the CA sent.
            let ca = chain.rest().last().cloned().into_iter().collect();
            let pair = KeyPair { key, chain: Arc::new(chain), ca: Arc::new(ca), canonical: true };
            Fact::Issued(Fresh { revision, pair, origin })
        }
        Err(e) => Fact::Failed(StepFailure {
            pace: Pace::Refusal,
            reason: reason::ISSUED_INVALID,
            message: format!("what the CA sent cannot be read: {e}"),
            retry_after: None,
            order_lost: true,
        }),
    })
}

/// Asks for a challenge as the CA would.
pub async fn check(name: String, token: &str, key_authorization: &str) -> Fact {
    let result = self_check(&name, token, key_authorization, &SelfCheck::default()).await;
    Fact::SelfChecked(name, result.map_err(|p| p.to_string()))
}

fn view(order: order::OrderView) -> OrderView {
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
    }
}

fn authorization(authorization: challenge::AuthorizationView) -> AuthorizationView {
    let valid = authorization.status == AuthorizationStatus::Valid;
    let http01 = authorization.challenge(&ChallengeKind::Http01).cloned();
    let error = authorization.error;
    AuthorizationView {
        name: authorization.name,
        valid,
        failed: !valid && authorization.status != AuthorizationStatus::Pending,
        http01: http01.map(|h| Http01View {
            token: h.token.unwrap_or_default(),
            key_authorization: h.key_authorization.unwrap_or_default(),
            pending: h.status == ChallengeStatus::Pending,
            error: h.error.or(error),
        }),
    }
}
