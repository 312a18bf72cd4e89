//! ACME accounts, opened once for each resourceVersion of their key's Secret.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;
use kube::ResourceExt;

use super::context::{Context, Memory};
use super::pass::PassError;
use super::relations::key;
use crate::api::issuer::AcmeIssuer;
use crate::api::reasons::certificate as reason;
use crate::api::{MailIssuer, keys};
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::StepFailure;
use crate::decide::issuer::{account_key_secret, server_url};
use crate::issuers::acme::account::{AcmeAccount, key_from_pem, open};
use crate::issuers::acme::failure::{AcmeFailure, Class};
use crate::issuers::acme::http::{BoundedHttp, Limits, Trust};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

/// Opened accounts, with what they were opened with.
pub type Accounts = Memory<(String, Arc<AcmeAccount>)>;

/// The HTTP client for an issuer's server.
///
/// # Errors
/// When the caBundle cannot be read.
pub fn http(acme: &AcmeIssuer, limits: Limits) -> Result<BoundedHttp, AcmeFailure> {
    let trust = match &acme.ca_bundle {
        Some(pem) => Trust::Bundle { pem: pem.clone(), and_mozilla: false },
        None => Trust::Mozilla,
    };
    BoundedHttp::new(&trust, limits)
}

/// The account of an issuer that is registered.
///
/// # Errors
/// The outer error: the key could not be read. The inner one: what the server, or the key, objects.
pub async fn account(
    context: &Context,
    issuer: &MailIssuer,
) -> Result<Result<Arc<AcmeAccount>, StepFailure>, PassError> {
    let issuer_key = key(issuer);
    let registered = issuer.status.as_ref().and_then(|s| s.acme.as_ref()).and_then(|a| a.account_uri.clone());
    let (Some(acme), Some(uri)) = (&issuer.spec.acme, registered) else {
        return Ok(Err(not_ready("its ACME account is not registered yet".to_owned())));
    };
    let secret = account_key_secret(issuer);
    let version = context.relations.secrets.get(&issuer_key.0, &secret).map(|m| m.version);
    let stamp = format!("{version:?} {uri} {:?} {}", issuer.metadata.generation, issuer.uid().unwrap_or_default());
    if let Some((at, account)) = context.accounts.get(&issuer_key)
        && at == stamp
    {
        return Ok(Ok(account));
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &issuer_key.0);
    let found = api.get_opt(&secret).await.map_err(PassError::api(format!("reading Secret {secret}")))?;
    let pem = found.and_then(|s| s.data).and_then(|d| d.get(keys::TLS_KEY).cloned());
    let Some(pem) = pem else {
        return Ok(Err(not_ready(format!("the Secret {secret} with its ACME account key is gone, or lacks tls.key"))));
    };
    let opened = async {
        let server = server_url(&acme.server).map_err(not_ready)?;
        let key = key_from_pem(&pem.0).map_err(failure)?;
        open(server, &http(acme, context.acme_limits).map_err(failure)?, &uri, &key).await.map_err(failure)
    };
    Ok(match opened.await {
        Ok(account) => {
            let account = Arc::new(account);
            context.accounts.set(issuer_key, (stamp, account.clone()));
            Ok(account)
        }
        Err(failure) => Err(failure),
    })
}

fn not_ready(message: String) -> StepFailure {
    StepFailure {
        pace: Pace::Transient,
        reason: reason::ISSUER_NOT_READY,
        message,
        retry_after: None,
        order_lost: false,
    }
}

/// How an ACME failure is retried, and what it is called.
pub fn pace(class: &Class) -> (Pace, &'static str, Option<SignedDuration>) {
    let asked = |d: &Option<std::time::Duration>| d.and_then(|d| SignedDuration::try_from(d).ok());
    match class {
        Class::Transient { retry_after } => (Pace::Transient, reason::SERVER_UNAVAILABLE, asked(retry_after)),
        Class::RateLimited { retry_after } => (Pace::Refusal, reason::RATE_LIMITED, asked(retry_after)),
        Class::NeedsUser => (Pace::Person, reason::ORDER_REFUSED, None),
        Class::AccountGone => (Pace::Person, reason::ISSUER_NOT_READY, None),
        Class::OrderLost => (Pace::Transient, reason::ORDER_REFUSED, None),
        Class::Refused => (Pace::Refusal, reason::ORDER_REFUSED, None),
        Class::Unusable => (Pace::Refusal, reason::ISSUED_INVALID, None),
    }
}

/// An ACME failure as a failed step.
pub fn failure(failure: AcmeFailure) -> StepFailure {
    let (pace, reason, retry_after) = pace(&failure.class);
    let order_lost = matches!(failure.class, Class::OrderLost | Class::Refused | Class::Unusable);
    StepFailure { pace, reason, message: failure.words, retry_after, order_lost }
}
