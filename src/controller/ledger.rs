//! The leader's ledgers: what has been asked of each ACME account, kept where a restart and a new leader find it.
//!
//! Each MailIssuer has a Secret `<issuer>-order-ledger` with one ledger for each account that it has used. An order is
//! written there before the CA is asked for it. Passes that come at the same time share one write.
//!
//! The Secret has no owner: deleting and creating an issuer again must not set its counts to zero. It holds nothing
//! secret; it is a Secret because the operator may write those anyway. What is a week old is removed from it.

mod book;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;

use self::book::Change;
pub use self::book::Ledgers;
use self::store::Trouble;
use super::context::Context;
use super::index::Key;
use super::pass::PassError;
use super::relations::key;
use crate::decide::guard::{Blocked, LimitKind, Limits, Request};
use crate::operating::lease::Leader;
use crate::pki::Fingerprint;

/// When a ledger that cannot be used is looked at again.
const TRY_AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// An order that is counted, and may be asked for once.
#[derive(Clone, Debug)]
pub struct Reserved {
    issuer: Key,
    account: String,
    request: Request,
    at: Timestamp,
}

impl Reserved {
    /// Whether it stands for this order.
    pub fn is_for(&self, issuer: &Key, request: &Request) -> bool {
        self.issuer == *issuer && self.request == *request
    }
}

/// Counts an order that is about to be asked for, where the limits leave room for it, and writes that down.
///
/// The inner error: it must not be asked for yet.
///
/// # Errors
/// When it could not be written down: then it must not be asked for either, and is not counted.
pub async fn reserve(
    context: &Context,
    issuer: &Key,
    account_uri: &str,
    limits: &Limits,
    request: &Request,
    now: Timestamp,
) -> Result<Result<Reserved, Blocked>, PassError> {
    let issuers = sharing(context, issuer, account_uri);
    context.ledgers.reserve(Place::of(context), (issuer, &issuers), account_uri, limits, request, now).await
}

/// Takes back an order that the CA is certain not to have counted: it was never reached, or refused the request itself.
pub fn release(context: &Context, reserved: &Reserved) {
    context.ledgers.release(reserved);
}

/// Counts authorizations that failed, one for each name.
///
/// # Errors
/// When they could not be written down; they are not counted then.
pub async fn failed_authorizations(
    context: &Context,
    issuer: &Key,
    account_uri: &str,
    names: &[String],
    now: Timestamp,
) -> Result<(), PassError> {
    context.ledgers.failed_authorizations(Place::of(context), issuer, account_uri, names, now).await
}

/// Every issuer with this account, and this one.
fn sharing(context: &Context, issuer: &Key, account_uri: &str) -> BTreeSet<Key> {
    let uses = |i: &crate::api::MailIssuer| {
        i.status.as_ref().and_then(|s| s.acme.as_ref()).and_then(|a| a.account_uri.as_deref()) == Some(account_uri)
    };
    let others = context.kinds.issuers.all().into_iter().filter(|i| uses(i)).map(|i| key(&*i));
    others.chain([issuer.clone()]).collect()
}

/// Where ledgers are kept.
#[derive(Clone, Copy)]
struct Place<'a> {
    client: &'a Client,
    leader: &'a Leader,
}

impl<'a> Place<'a> {
    fn of(context: &'a Context) -> Self {
        Self { client: &context.client, leader: &context.leader }
    }
}

/// What stands for an account in a Secret's keys.
fn account(uri: &str) -> String {
    let digest = Fingerprint::of(uri.as_bytes()).to_string();
    format!("account-{}", digest.get(..16).unwrap_or_default())
}

impl Ledgers {
    async fn reserve(
        &self,
        place: Place<'_>,
        (issuer, sharing): (&Key, &BTreeSet<Key>),
        account_uri: &str,
        limits: &Limits,
        request: &Request,
        now: Timestamp,
    ) -> Result<Result<Reserved, Blocked>, PassError> {
        for issuer in sharing {
            if let Err(trouble) = self.load(place, issuer).await {
                return unusable(trouble, now).map(Err);
            }
        }
        let account = account(account_uri);
        let change = match self.record(issuer, &account, limits, request, now) {
            Ok(change) => change,
            Err(blocked) => return Ok(Err(blocked)),
        };
        match self.store(place, issuer, change, now).await {
            Ok(()) => Ok(Ok(Reserved { issuer: issuer.clone(), account, request: request.clone(), at: now })),
            Err(trouble) => unusable(trouble, now).map(Err),
        }
    }

    fn release(&self, reserved: &Reserved) {
        self.undo(&reserved.issuer, &reserved.account, &Change::Order(reserved.request.clone()), reserved.at);
    }

    async fn failed_authorizations(
        &self,
        place: Place<'_>,
        issuer: &Key,
        account_uri: &str,
        names: &[String],
        now: Timestamp,
    ) -> Result<(), PassError> {
        let stored = async {
            self.load(place, issuer).await?;
            let change = self.apply(issuer, &account(account_uri), Change::Failures(names.to_vec()), now);
            self.store(place, issuer, change, now).await
        };
        match stored.await {
            Ok(()) => Ok(()),
            Err(Trouble::Pass(error)) => Err(error),
            // The next order says so on the object.
            Err(Trouble::Unusable(words)) => {
                tracing::warn!(issuer = %format!("{}/{}", issuer.0, issuer.1), "failed authorizations are not counted: {words}");
                Ok(())
            }
        }
    }
}

/// What a person has to put right blocks orders; other trouble ends the pass.
fn unusable(trouble: Trouble, now: Timestamp) -> Result<Blocked, PassError> {
    match trouble {
        Trouble::Pass(error) => Err(error),
        Trouble::Unusable(words) => {
            let until = now.checked_add(TRY_AGAIN).unwrap_or(now);
            Ok(Blocked { limit: LimitKind::Ledger, until, words })
        }
    }
}
