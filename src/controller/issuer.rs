//! MailIssuer: observe and act.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;

use super::context::Context;
use super::index::Key;
use super::pass::{PassError, Subject};
use super::relations::key as key_of;
use super::{account, account_key};
use crate::api::issuer::{ExternalAccountBinding, MacAlgorithm, MailIssuer, MailIssuerStatus};
use crate::api::reasons::issuer as reason;
use crate::decide::Decision;
use crate::decide::events::{self, Note};
use crate::decide::issuer;
use crate::decide::issuer::world::{
    AccountFact, AccountKey, Action, Binding, DirectoryFact, Fact, SecretData, SecretState, StepFailure, World,
};
use crate::issuers::acme::account::{key_from_pem, open, register, registered};
use crate::issuers::acme::directory::{DirectoryView, directory};
use crate::issuers::acme::external::{self, ExternalAccount};
use crate::issuers::acme::failure::{AcmeFailure, Class};
use crate::issuers::acme::rollover::roll_over;
use crate::operating::metrics::Expiry;

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
        let own = key_of(&*object);
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
        if let Some(acme) = &object.spec.acme {
            account_key::look(context, &mut world).await?;
            if let Some(binding) = &acme.external_account_binding {
                world.binding_secret = read(context, &own.0, &binding.key_secret_ref.name).await?;
                world.binding_problem = binding_problem(binding, &world.binding_secret);
            }
            world.directory = context.accounts.directory(&object, now);
            world.doubted = context.accounts.is_doubted(&own);
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
            Action::FetchDirectory { server, is_needed } => match directory(&http, &server).await {
                Ok(view) => {
                    let directory = directory_fact(view);
                    context.accounts.set_directory(&world.object, world.now, directory.clone());
                    Fact::Directory(directory)
                }
                Err(_) if !is_needed => Fact::NoDirectory,
                Err(e) => Fact::Failed(failed(e, reason::SERVER_UNAVAILABLE)),
            },
            Action::CreateAccountKey { secret_name } => {
                account_key::create(context, &world.object, &secret_name).await?
            }
            Action::Register { server, contacts, key, binding } => {
                let registered = async {
                    let binding = binding.as_ref().map(external).transpose()?;
                    register(&server, &http, &key_from_pem(&key.0)?, &contacts, true, binding.as_ref()).await
                };
                match registered.await {
                    Ok(a) => Fact::Registered(AccountFact { uri: a.uri, thumbprint: a.thumbprint }),
                    Err(e) => Fact::Failed(failed(e, reason::ACCOUNT_REFUSED)),
                }
            }
            Action::FindAccount { server, key, of_next_key } => {
                let found = async { registered(&server, &http, &key_from_pem(&key.0)?).await };
                match found.await.map(|account| account.map(|a| a.uri)) {
                    Ok(uri) if of_next_key => Fact::NextAccount(uri),
                    Ok(uri) => {
                        context.accounts.believe(&key_of(&*world.object));
                        Fact::OwnAccount(uri)
                    }
                    Err(e) => Fact::Failed(failed(e, reason::ACCOUNT_REFUSED)),
                }
            }
            Action::StoreNextKey { secret_name, note } => {
                account_key::store_next(context, world, &secret_name, &note).await?
            }
            Action::RollOver { server, account_uri, old, new } => {
                let of = account_key::sharing(context, &world.object);
                let _alone = context.turns.alone(&of).await?;
                // Whoever opens the account from now on sees that there is a next key.
                of.iter().for_each(|issuer| context.accounts.close(issuer));
                let rolled = async {
                    let (old, new) = (key_from_pem(&old.0)?, key_from_pem(&new.0)?);
                    roll_over(&server, &http, &account_uri, &old, &new).await
                };
                match rolled.await {
                    Ok(()) => Fact::RolledOver(account_uri),
                    Err(e) => Fact::RolloverFailed(failed(e, reason::ACCOUNT_REFUSED)),
                }
            }
            Action::PromoteNextKey { secret_name } => account_key::promote(context, world, &secret_name).await?,
            Action::DropNextKey { secret_name } => account_key::drop_next(context, world, &secret_name).await?,
            Action::Deactivate { server, account_uri, key } => {
                let account =
                    async { open(&server, &http, &account_uri, &key_from_pem(&key.0)?).await?.deactivate().await };
                match account.await {
                    Ok(()) => Fact::Deactivated,
                    Err(e) => Fact::Failed(failed(e, reason::ACCOUNT_REFUSED)),
                }
            }
        })
    }

    fn status(object: &MailIssuer) -> Option<&MailIssuerStatus> {
        object.status.as_ref()
    }

    fn notes(old: &MailIssuerStatus, new: &MailIssuerStatus) -> Vec<Note> {
        let mut notes = events::of_conditions(&old.conditions, &new.conditions);
        issuer::tell_of_expiry(old, new, &mut notes);
        notes
    }

    fn keep(context: &Context, world: &World, status: &MailIssuerStatus) {
        let (namespace, name) = key_of(&*world.object);
        let watched = status.ca.iter().flat_map(|ca| &ca.watched).map(Expiry::from).collect::<Vec<_>>();
        match watched.is_empty() {
            true => context.metrics.remove_issuer(&namespace, &name),
            false => context.metrics.set_issuer(&namespace, &name, watched),
        }
    }

    fn forget(context: &Context, key: &Key) {
        context.metrics.remove_issuer(&key.0, &key.1);
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

pub(super) async fn read(context: &Context, namespace: &str, name: &str) -> Result<SecretState, PassError> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(PassError::api(format!("reading Secret {name}")))?;
    Ok(found.map_or(SecretState::Absent, |s| SecretState::Found(SecretData(s.data.unwrap_or_default()))))
}

fn directory_fact(view: DirectoryView) -> DirectoryFact {
    DirectoryFact {
        terms_of_service: view.terms_of_service,
        external_account_required: view.external_account_required,
        profiles: view.profiles.into_keys().collect(),
        caa_identities: view.caa_identities,
        renewal_info: view.renewal_info,
    }
}

/// Why the account elsewhere cannot be used, where its Secret has something for it.
fn binding_problem(binding: &ExternalAccountBinding, secret: &SecretState) -> Option<String> {
    let SecretState::Found(data) = secret else { return None };
    let mac = AccountKey(data.get(&binding.key_secret_ref.key)?.to_vec());
    let made = external(&Binding { key_id: binding.key_id.clone(), algorithm: binding.algorithm, mac });
    made.err().map(|failure| failure.words)
}

fn external(binding: &Binding) -> Result<ExternalAccount, AcmeFailure> {
    let algorithm = match binding.algorithm {
        MacAlgorithm::HS256 => external::MacAlgorithm::Hs256,
        MacAlgorithm::HS384 => external::MacAlgorithm::Hs384,
        MacAlgorithm::HS512 => external::MacAlgorithm::Hs512,
    };
    ExternalAccount::new(&binding.key_id, &binding.mac.0, algorithm)
}

pub(super) fn failed(failure: AcmeFailure, refused: &str) -> StepFailure {
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
