//! MailIssuer: observe and act.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt};

use super::account;
use super::context::Context;
use super::index::Key;
use super::pass::{PassError, Subject};
use super::relations::key;
use crate::api::issuer::{MailIssuer, MailIssuerStatus};
use crate::api::keys;
use crate::api::reasons::issuer as reason;
use crate::decide::Decision;
use crate::decide::events::{self, Note};
use crate::decide::issuer::world::{
    AccountFact, Action, DirectoryFact, Fact, SecretData, SecretState, StepFailure, World,
};
use crate::decide::issuer::{self, account_key_secret};
use crate::issuers::acme::account::{key_from_pem, key_to_pem, new_account_key, register, thumbprint};
use crate::issuers::acme::directory::directory;
use crate::issuers::acme::failure::{AcmeFailure, Class};

/// The controller of MailIssuers.
pub struct Issuers;

impl Subject for Issuers {
    type Object = MailIssuer;
    type Status = MailIssuerStatus;
    type World = World;
    type Action = Action;
    type Fact = Fact;
    const KIND: &'static str = "MailIssuer";

    async fn observe(context: &Context, object: Arc<MailIssuer>, now: Timestamp) -> Result<World, PassError> {
        let own = key(&*object);
        let mut world = World::new(object.clone(), now);
        world.default_domain = context.identity.default_domain.clone();
        world.domain_hint = domain_hint(context, &own);
        if object.spec.self_signed.is_some() {
            return Ok(world);
        }
        world.forbidden = context.bindings.ensure(&own.0).await.err();
        if world.forbidden.is_some() {
            return Ok(world);
        }
        if let Some(ca) = &object.spec.ca {
            world.ca_secret = read(context, &own.0, &ca.secret_ref.name).await?;
        }
        if object.spec.acme.is_some() {
            world.account_secret = read(context, &own.0, &account_key_secret(&object)).await?;
            if let SecretState::Found(data) = &world.account_secret {
                world.account_thumbprint = Some(thumbprint_of(data));
            }
        }
        Ok(world)
    }

    fn decide(world: &World) -> Decision<Action, MailIssuerStatus> {
        issuer::decide(world)
    }

    fn learn(world: &mut World, fact: Fact) {
        world.learn(fact);
    }

    fn ended(world: &World) -> bool {
        world.failure.is_some()
    }

    fn abreast(_: &Action) -> bool {
        false
    }

    async fn act(context: &Context, world: &World, action: Action) -> Result<Fact, PassError> {
        let Some(acme) = &world.object.spec.acme else { return Ok(Fact::Failed(other("it is no ACME issuer"))) };
        let http = match account::http(acme, context.acme_limits) {
            Ok(http) => http,
            Err(e) => return Ok(Fact::Failed(failed(e, reason::INVALID_SPEC))),
        };
        Ok(match action {
            Action::FetchDirectory { server } => match directory(&http, &server).await {
                Ok(d) => Fact::Directory(DirectoryFact {
                    terms_of_service: d.terms_of_service,
                    external_account_required: d.external_account_required,
                }),
                Err(e) => Fact::Failed(failed(e, reason::SERVER_UNAVAILABLE)),
            },
            Action::CreateAccountKey { secret_name } => create_key(context, &world.object, &secret_name).await?,
            Action::Register { server, contacts, key } => {
                let registered =
                    async { register(&server, &http, &key_from_pem(&key.0)?, &contacts, true, None).await };
                match registered.await {
                    Ok(a) => Fact::Registered(AccountFact { uri: a.uri, thumbprint: a.thumbprint }),
                    Err(e) => Fact::Failed(failed(e, reason::ACCOUNT_REFUSED)),
                }
            }
        })
    }

    fn status(object: &MailIssuer) -> Option<&MailIssuerStatus> {
        object.status.as_ref()
    }

    fn notes(old: &MailIssuerStatus, new: &MailIssuerStatus) -> Vec<Note> {
        events::of_conditions(&old.conditions, &new.conditions)
    }

    fn keep(_: &Context, _: &World, _: &MailIssuerStatus) {}

    fn forget(context: &Context, key: &Key) {
        context.accounts.forget(key);
        context.turns.forget(key);
    }
}

/// The domain of the first MailDomain whose template names this issuer.
fn domain_hint(context: &Context, issuer: &Key) -> Option<String> {
    let users = context.relations.templates.of(issuer);
    let domain = users.first().and_then(|k| context.kinds.domains.get(k))?;
    crate::pki::to_ascii(&domain.spec.domain).ok()
}

async fn read(context: &Context, namespace: &str, name: &str) -> Result<SecretState, PassError> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(PassError::api(format!("reading Secret {name}")))?;
    Ok(found.map_or(SecretState::Absent, |s| SecretState::Found(SecretData(s.data.unwrap_or_default()))))
}

fn thumbprint_of(data: &SecretData) -> Result<String, String> {
    let pem = data.get(keys::TLS_KEY).ok_or("it has no tls.key")?;
    let key = key_from_pem(pem).map_err(|e| e.words)?;
    thumbprint(&key).map_err(|e| e.words)
}

async fn create_key(context: &Context, object: &MailIssuer, name: &str) -> Result<Fact, PassError> {
    let key = match new_account_key() {
        Ok(key) => key,
        Err(e) => return Ok(Fact::Failed(failed(e, reason::SECRET_INVALID))),
    };
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(keys::MANAGED_BY.to_owned(), keys::MANAGER.to_owned())])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(keys::TLS_KEY.to_owned(), ByteString(key_to_pem(&key).as_bytes().to_vec()))])),
        ..Secret::default()
    };
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let data = match api.create(&PostParams::default(), &secret).await {
        Ok(made) => SecretData(made.data.unwrap_or_default()),
        // Made meanwhile, by a person or by a pass that was interrupted: what is there counts.
        Err(kube::Error::Api(s)) if s.code == 409 => match read(context, &namespace, name).await? {
            SecretState::Found(data) => data,
            SecretState::Absent | SecretState::NotLooked => SecretData::default(),
        },
        Err(e) => return Err(PassError::api(format!("storing the ACME account key in Secret {name}"))(e)),
    };
    let thumbprint = thumbprint_of(&data);
    Ok(Fact::KeyStored { data, thumbprint })
}

fn failed(failure: AcmeFailure, refused: &str) -> StepFailure {
    let (pace, _, retry_after): (_, _, Option<SignedDuration>) = account::pace(&failure.class);
    let reason = match failure.class {
        Class::Transient { .. } | Class::RateLimited { .. } => reason::SERVER_UNAVAILABLE,
        Class::NeedsUser | Class::OrderLost | Class::AccountGone | Class::Refused | Class::Unusable => refused,
    };
    StepFailure { pace, reason: reason.to_owned(), message: failure.words, retry_after }
}

fn other(message: &str) -> StepFailure {
    StepFailure {
        pace: crate::decide::backoff::Pace::Person,
        reason: reason::INVALID_SPEC.to_owned(),
        message: message.to_owned(),
        retry_after: None,
    }
}
