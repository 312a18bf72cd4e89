//! ACME accounts, opened once for each resourceVersion of their key's Secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::context::{Context, Memory};
use super::index::Key;
use super::pass::PassError;
use super::relations::key;
use crate::api::issuer::AcmeIssuer;
use crate::api::reasons::certificate as reason;
use crate::api::{MailIssuer, keys};
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::StepFailure;
use crate::decide::issuer::world::DirectoryFact;
use crate::decide::issuer::{account_key_secret, server_url};
use crate::issuers::acme::account::{AcmeAccount, key_from_pem, open, thumbprint};
use crate::issuers::acme::failure::{AcmeFailure, Class};
use crate::issuers::acme::http::{BoundedHttp, Limits, Trust};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

/// How long a directory is believed.
const DIRECTORY_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// What is remembered of ACME issuers' accounts and servers.
#[derive(Default)]
pub struct Accounts {
    /// Opened accounts, with what they were opened with.
    opened: Memory<(String, Arc<AcmeAccount>)>,
    /// What directories said, of which spec, and when.
    directories: Memory<(String, Timestamp, DirectoryFact)>,
    /// Issuers whose account the CA was said not to know.
    doubted: Arc<Memory<()>>,
}

impl Accounts {
    /// Forgets the opened account of an issuer.
    pub fn close(&self, issuer: &Key) {
        self.opened.forget(issuer);
    }

    /// Forgets everything about an issuer.
    pub fn forget(&self, issuer: &Key) {
        self.close(issuer);
        self.directories.forget(issuer);
        self.believe(issuer);
    }

    /// What the directory of the issuer's server said not long ago.
    pub fn directory(&self, issuer: &MailIssuer, now: Timestamp) -> Option<DirectoryFact> {
        let (of, at, directory) = self.directories.get(&key(issuer))?;
        let age = now.duration_since(at);
        (of == spec_stamp(issuer) && (SignedDuration::ZERO..DIRECTORY_LIFE).contains(&age)).then_some(directory)
    }

    /// Remembers what the directory of the issuer's server says now.
    pub fn set_directory(&self, issuer: &MailIssuer, now: Timestamp, directory: DirectoryFact) {
        self.directories.set(key(issuer), (spec_stamp(issuer), now, directory));
    }

    /// Whether the CA has said to a certificate that it does not know the issuer's account.
    pub fn is_doubted(&self, issuer: &Key) -> bool {
        self.doubted.get(issuer).is_some()
    }

    /// The CA was asked about the account itself.
    pub fn believe(&self, issuer: &Key) {
        self.doubted.forget(issuer);
    }
}

/// What a directory is remembered for.
fn spec_stamp(issuer: &MailIssuer) -> String {
    format!("{} {:?}", issuer.uid().unwrap_or_default(), issuer.metadata.generation)
}

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
    let known = issuer.status.as_ref().and_then(|s| s.acme.as_ref()).filter(|a| !a.deactivated);
    let uri = known.and_then(|a| a.account_uri.clone());
    let (Some(acme), Some(uri)) = (&issuer.spec.acme, uri) else {
        return Ok(Err(not_ready("its ACME account is not registered yet".to_owned())));
    };
    let secret = account_key_secret(issuer);
    let version = context.relations.secrets.get(&issuer_key.0, &secret).map(|m| m.version);
    let stamp = format!("{version:?} {uri} {:?} {}", issuer.metadata.generation, issuer.uid().unwrap_or_default());
    if let Some((at, account)) = context.accounts.opened.get(&issuer_key)
        && at == stamp
    {
        return Ok(Ok(account));
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &issuer_key.0);
    let found = api.get_opt(&secret).await.map_err(PassError::api(format!("reading Secret {secret}")))?;
    let data = found.and_then(|s| s.data).unwrap_or_default();
    let pem = match present_key(&data, &secret, known.and_then(|a| a.key_thumbprint.as_deref())) {
        Ok(pem) => pem,
        Err(message) => return Ok(Err(not_ready(message))),
    };
    let opened = async {
        let server = server_url(&acme.server).map_err(not_ready)?;
        let key = key_from_pem(pem).map_err(failure)?;
        open(server, &http(acme, context.acme_limits).map_err(failure)?, &uri, &key).await.map_err(failure)
    };
    Ok(match opened.await {
        Ok(account) => {
            let (doubted, kinds, of) = (context.accounts.doubted.clone(), context.kinds.clone(), issuer_key.clone());
            let account = Arc::new(account.on_account_gone(move || {
                doubted.set(of.clone(), ());
                kinds.issuers.trigger(&of);
            }));
            context.accounts.opened.set(issuer_key, (stamp, account.clone()));
            Ok(account)
        }
        Err(failure) => Err(failure),
    })
}

/// The key of the registered account, as long as it is certain that it is.
fn present_key<'a>(
    data: &'a BTreeMap<String, ByteString>,
    secret: &str,
    registered: Option<&str>,
) -> Result<&'a [u8], String> {
    let pem = data.get(keys::TLS_KEY).map(|pem| pem.0.as_slice());
    let pem = pem
        .ok_or_else(|| format!("the Secret {secret} with its ACME account key is gone, or lacks {}", keys::TLS_KEY))?;
    if data.contains_key(keys::NEXT_KEY) {
        return Err("its ACME account is being given a new key".to_owned());
    }
    let thumbprint = key_from_pem(pem).and_then(|key| thumbprint(&key)).ok();
    if registered.is_some() && thumbprint.as_deref() != registered {
        return Err(format!("the key in Secret {secret} is not, or not yet, that of its ACME account"));
    }
    Ok(pem)
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
