//! MailCertificate: observe and act.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PartialObjectMeta;
use kube::{Api, Resource, ResourceExt};

use super::challenges::Published;
use super::context::Context;
use super::domain::Domains;
use super::index::Key;
use super::pass::{PassError, Subject};
use super::relations::{issuer_of, key};
use super::{
    authority, calls, challenges, exposures, next_keys, order, outputs, preflight, requests, secrets, sources, system,
    views,
};
use crate::api::certificate::{MailCertificate, MailCertificateStatus};
use crate::api::issuer::{MailIssuer, NamespacesFrom};
use crate::api::keys;
use crate::api::reasons::{certificate as reason, condition};
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::{
    CertManagerView, Dependent, Fresh, IssuerView, KeyPair, KeySource, Learnt, Origin, SecretView, StepFailure,
};
use crate::decide::certificate::{self, Action, Fact, World};
use crate::decide::events::Note;
use crate::decide::{Decision, conditions, issuer, jitter};
use crate::issuers::acme::order::OrderRequest;
use crate::operating::metrics::{CertificateSample, Expiry};
use crate::pki::{CaKeyPair, LeafSpec, PrivateKey, csr, self_signed};

/// The controller of MailCertificates.
pub struct Certificates;

impl Subject for Certificates {
    type Object = MailCertificate;
    type Status = MailCertificateStatus;
    type World = World;
    type Action = Action;
    type Fact = Fact;
    const KIND: &'static str = "MailCertificate";

    async fn observe(context: &Context, object: Arc<MailCertificate>, now: Timestamp) -> Result<World, PassError> {
        let own = key(&*object);
        let forbidden = context.bindings.ensure(&own.0).await.err();
        let issuer = match (&forbidden, &object.spec.import) {
            (None, Some(import)) => IssuerView::Import(Arc::new(sources::view(context, &object, import))),
            (None, None) => view_issuer(context, &object, &own, now).await?,
            (Some(why), _) => IssuerView::NotReady(why.clone()),
        };
        Ok(World {
            rival: rival(context, &object, &own),
            system: system::view(context, &object, &own),
            secret: secret_view(context, &object, &own.0),
            password: outputs::password_view(context, &object, &own.0),
            revisions: context.relations.secrets.revisions(&own.0, &own.1),
            read: BTreeMap::new(),
            next_key_seen: context.relations.secrets.get(&own.0, &certificate::next_key_name(&object)).is_some(),
            next_key: None,
            dependents: dependents(context, &own),
            next_renewal_check: next_renewal_check(context, &object, &own, now),
            learnt: Learnt::default(),
            object,
            now,
            forbidden,
            issuer,
        })
    }

    fn decide(world: &World) -> Decision<Action, MailCertificateStatus> {
        certificate::decide(world)
    }

    fn learn(world: &mut World, fact: Fact) {
        world.learn(fact);
    }

    fn ended(world: &World) -> bool {
        world.learnt.overtaken || world.learnt.failure.is_some()
    }

    fn abreast(action: &Action) -> bool {
        matches!(action, Action::SelfCheck { .. } | Action::Present { .. } | Action::CleanUp { .. })
    }

    async fn act(context: &Context, world: &World, action: Action) -> Result<Fact, PassError> {
        match act(context, world, action).await {
            // What the operator may not do is for a person to see, on the object.
            Err(PassError::Api { doing, source }) if is_forbidden(&source) => Ok(Fact::Failed(StepFailure {
                pace: Pace::Person,
                reason: reason::FORBIDDEN,
                message: format!("{doing}: {source}"),
                retry_after: None,
                order_lost: false,
            })),
            result => result,
        }
    }

    fn status(object: &MailCertificate) -> Option<&MailCertificateStatus> {
        object.status.as_ref()
    }

    fn notes(old: &MailCertificateStatus, new: &MailCertificateStatus) -> Vec<Note> {
        certificate::notes(old, new)
    }

    fn keep(context: &Context, world: &World, status: &MailCertificateStatus) {
        let (namespace, name) = key(&*world.object);
        let sample = CertificateSample {
            issuer: world.object.spec.issuer_ref.as_ref().map(|i| i.name.clone()).unwrap_or_default(),
            ready: conditions::is_true(&status.conditions, condition::READY),
            not_after: status.active.as_ref().map(|a| a.not_after.0.as_second()),
            renewal: status.renewal_time.as_ref().map(|t| t.0.as_second()),
            overdue: conditions::is_true(&status.conditions, condition::RENEWAL_OVERDUE),
            watched: certificate::watched(&world.object, status).iter().map(Expiry::from).collect(),
        };
        context.metrics.set_certificate(&namespace, &name, sample);
        let own = (namespace, name);
        let order = status.attempt.as_ref().and_then(|a| a.order.as_ref());
        match order.is_some_and(|o| o.exposed) {
            true => context.exposed.set(own.clone(), ()),
            false => context.exposed.forget(&own),
        }
        match status.published_records.is_empty() {
            true => context.published.forget(&own),
            false => {
                let records = status.published_records.clone();
                context.published.set(own.clone(), Published { object: world.object.clone(), records });
            }
        }
        match (order, issuer_of(&world.object)) {
            (Some(_), Some(issuer)) => drop(context.open_orders.enter(&issuer, &own, usize::MAX)),
            // One that is held back stays in the row.
            _ if matches!(world.learnt.reserved, Some(Err(_))) => {}
            (None, Some(issuer)) => context.next_order(context.open_orders.leave(&issuer, &own)),
            (_, None) => {}
        }
        if let Some(answer) = &world.learnt.renewal_info {
            let uid = world.object.uid().unwrap_or_default();
            let next = certificate::next_renewal_check(world.now, answer, &uid);
            context.renewal_checks.set(own, (answer.certificate_id.clone(), next));
        }
    }

    fn is_held(object: &MailCertificate) -> bool {
        object.finalizers().iter().any(|f| f == keys::SYSTEM_FINALIZER)
    }

    fn forget(context: &Context, key: &Key) {
        context.metrics.remove_certificate(&key.0, &key.1);
        context.renewal_checks.forget(key);
        context.reservations.forget(key);
        context.next_order(context.open_orders.left(key));
        let exposed = context.exposed.get(key).is_some();
        context.exposed.forget(key);
        if exposed || context.published.get(key).is_some() {
            context.left_behind.notify_one();
        }
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

async fn act(context: &Context, world: &World, action: Action) -> Result<Fact, PassError> {
    let object = &world.object;
    match action {
        Action::ReadSecret => Ok(Fact::Secret(secrets::read_active(context, world).await?)),
        Action::ReadPassword => Ok(Fact::Password(outputs::read_password(context, object).await?)),
        Action::ReadRevision { revision, name } => {
            Ok(Fact::Revision(revision, secrets::read_revision(context, object, &name).await?))
        }
        Action::ReadSource { issuers } => sources::read(context, object, issuers).await,
        Action::FetchIssuer { urls } => Ok(sources::fetch(urls).await),
        Action::Import { revision, pair, origin } => {
            context.metrics.issuance(issuer_kind(&world.issuer), "issued");
            Ok(Fact::Issued(Fresh { revision, pair, origin }))
        }
        Action::Sign { revision, key, ca, leaf, origin } => {
            let fact = sign(revision, key, ca, leaf, origin).await;
            context.metrics.issuance(issuer_kind(&world.issuer), outcome(&fact));
            Ok(fact)
        }
        Action::StoreKey { revision, name, key } => match obtain(key).await {
            Ok(key) => secrets::store_key(context, object, revision, &name, key).await,
            Err(failure) => Ok(Fact::Failed(failure)),
        },
        Action::StoreRevision { revision, name, exists, pair, origin } => {
            secrets::store_revision(context, object, revision, &name, exists, &pair, &origin).await
        }
        Action::WriteActive { revision, pair, origin, over } => {
            secrets::write_active(context, world, revision, &pair, &origin, over.as_deref()).await
        }
        Action::Prune { revision, name } => secrets::prune(context, object, revision, &name).await,
        Action::Preflight { asked } => match issuer_of(object).and_then(|at| context.kinds.issuers.get(&at)) {
            Some(issuer) => Ok(preflight::look(&context.dns, &issuer, asked).await),
            None => Ok(Fact::Overtaken),
        },
        Action::Reserve { dns_names, exempt } => order::reserve(context, object, dns_names, exempt).await,
        Action::CreateOrder { dns_names, profile, replaces, exempt } => {
            order::create(context, object, OrderRequest { names: dns_names, profile, replaces }, exempt).await
        }
        Action::LookAtOrder { url } => order::look(context, object, &url).await,
        Action::Expose { challenges } => exposures::expose(context, object, &challenges).await,
        Action::Unexpose => exposures::unexpose(context, &key(&**object)).await,
        Action::Present { name, solver, value } => challenges::present(context, object, name, solver, value).await,
        Action::CleanUp { name, solver, record } => challenges::clean_up(context, object, &name, solver, record).await,
        Action::SelfCheck { name, check } => Ok(challenges::check(context, object, name, check).await),
        Action::Answer { url, asked } => order::answer(context, object, &url, asked).await,
        Action::Finalize { url, key, subject, usages } => match csr(&key, &subject, &usages) {
            Ok(csr) => order::finalize(context, object, &url, &csr).await,
            Err(e) => Ok(Fact::Failed(StepFailure { reason: reason::INVALID_SPEC, ..signing_failed(e.to_string()) })),
        },
        Action::Download { url, revision, key, origin, alternates } => {
            let fact = order::download(context, object, &url, (revision, key, origin), alternates).await?;
            context.metrics.issuance(issuer_kind(&world.issuer), outcome(&fact));
            Ok(fact)
        }
        Action::FetchRenewalInfo { certificate_id } => order::renewal_info(context, object, certificate_id).await,
        Action::Revoke { pair, reason } => order::revoke(context, object, &pair, reason).await,
        Action::Hold => system::set_finalizer(context, object, true).await,
        Action::Release => system::set_finalizer(context, object, false).await,
        Action::WriteTemporary { key, leaf, over } => {
            match sign(0, KeySource::Generate(key), None, leaf, Origin::default()).await {
                Fact::Issued(fresh) => secrets::write_temporary(context, world, &fresh.pair, over.as_deref()).await,
                other => Ok(other),
            }
        }
        Action::CreateRequest { name, key, subject, usages } => match csr(&key, &subject, &usages) {
            Ok(csr) => requests::create(context, object, &world.issuer, &name, &csr, &usages).await,
            Err(e) => Ok(Fact::Failed(StepFailure { reason: reason::INVALID_SPEC, ..signing_failed(e.to_string()) })),
        },
        Action::LookAtRequest { name } => requests::look(context, object, &name).await,
        Action::Call { purpose, reach, told } => calls::call(context, object, purpose, &reach, &told).await,
        Action::ReadNextKey { name } => next_keys::read(context, object, &name).await,
        Action::StoreNextKey { name, key, exists } => match obtain(KeySource::Generate(key)).await {
            Ok(key) => next_keys::store(context, object, &name, exists, key).await,
            Err(failure) => Ok(Fact::Failed(failure)),
        },
        Action::DeleteRequest { name } => requests::delete(context, object, &name).await,
    }
}

/// The MailDomains that use it, by name or as the system certificate.
fn dependents(context: &Context, own: &Key) -> Vec<Dependent> {
    let users = context.relations.domains.of(own).into_iter().chain(system::fallbacks_of(context, own));
    let domains = users.filter_map(|k| context.kinds.domains.get(&k));
    // One that still has TLSA records counts until they are gone.
    let alive = domains.filter(|d| d.meta().deletion_timestamp.is_none() || Domains::is_held(d));
    let mut found: Vec<Dependent> = alive.map(|d| Dependent::of(&d)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    found
}

/// The MailCertificate that claimed the same Secret earlier, if there is one.
fn rival(context: &Context, object: &MailCertificate, own: &Key) -> Option<String> {
    let age = |o: &MailCertificate| (o.meta().creation_timestamp.as_ref().map(|t| t.0), o.name_any());
    let claim = (own.0.clone(), object.spec.secret_name.clone());
    // Who has the Secret keeps it: ages are whole seconds, and a younger object may have been seen first.
    if context.relations.secrets.get(&claim.0, &claim.1).and_then(|s| s.owner).as_ref() == Some(&own.1) {
        return None;
    }
    let others = context.relations.claims.of(&claim).into_iter().filter(|k| k != own);
    let others = others.filter_map(|k| context.kinds.certificates.get(&k));
    let alive =
        others.filter(|o| o.meta().deletion_timestamp.is_none() && o.spec.secret_name == object.spec.secret_name);
    alive.filter(|o| age(o) < age(object)).map(|o| o.name_any()).min()
}

/// When the CA is asked about the active certificate's renewal. Where its window is known, but not when it was asked for,
/// the questions are spread: a restart does not ask about all at once.
fn next_renewal_check(context: &Context, object: &MailCertificate, own: &Key, now: Timestamp) -> Option<Timestamp> {
    const WITHIN_SECONDS: f64 = 1800.0;
    let status = object.status.as_ref()?;
    let id = status.active.as_ref()?.ari_id.as_ref()?;
    match context.renewal_checks.get(own) {
        Some((known, at)) => (known == *id).then_some(at),
        None => {
            status.renewal_info.as_ref().filter(|info| info.certificate_id == *id)?;
            let share = jitter::fraction(&[&object.uid().unwrap_or_default(), "renewalInfo"]);
            let at = now.checked_add(SignedDuration::from_secs((WITHIN_SECONDS * share) as i64)).ok()?;
            context.renewal_checks.set(own.clone(), (id.clone(), at));
            Some(at)
        }
    }
}

/// The active Secret as far as the watch shows it. Only a first issuance may rely on its absence there.
fn secret_view(context: &Context, object: &MailCertificate, namespace: &str) -> SecretView {
    let seen = context.relations.secrets.get(namespace, &object.spec.secret_name);
    let active = object.status.as_ref().and_then(|s| s.active.as_ref());
    match (seen, active) {
        (None, None) => SecretView::Absent,
        (Some(seen), None) => match object.status.as_ref().and_then(|s| s.temporary.clone()) {
            Some(temporary) if temporary.secret_resource_version.as_ref() == Some(&seen.version) => {
                SecretView::Temporary(temporary)
            }
            _ => SecretView::NotRead,
        },
        (Some(seen), Some(active)) if active.secret_resource_version.as_ref() == Some(&seen.version) => {
            SecretView::Unchanged
        }
        _ => SecretView::NotRead,
    }
}

async fn view_issuer(
    context: &Context,
    object: &MailCertificate,
    own: &Key,
    now: Timestamp,
) -> Result<IssuerView, PassError> {
    let Some(at) = issuer_of(object) else { return Ok(IssuerView::NotFound) };
    let Some(issuer) = context.kinds.issuers.get(&at) else { return Ok(IssuerView::NotFound) };
    let labels = namespace_labels(context, &issuer, &at, &own.0).await;
    if let Err(why) = issuer::allows(&issuer, &at.0, &own.0, labels.as_ref()) {
        return Ok(IssuerView::NotAllowed(why));
    }
    if issuer.spec.self_signed.is_some() {
        return Ok(IssuerView::SelfSigned);
    }
    if let Some(ca) = &issuer.spec.ca {
        if let Err(why) = context.bindings.ensure(&at.0).await {
            return Ok(IssuerView::NotReady(why));
        }
        let secret = (at.0.clone(), ca.secret_ref.name.clone());
        return Ok(match authority::authority(context, &secret, now).await? {
            Ok(ca) => IssuerView::Ca(ca),
            Err(why) => IssuerView::NotReady(why),
        });
    }
    if let Some(why) = not_ready(&issuer) {
        return Ok(IssuerView::NotReady(why));
    }
    if let Some(cert_manager) = &issuer.spec.cert_manager {
        let at = cert_manager.issuer_ref.clone();
        return Ok(IssuerView::CertManager(CertManagerView { name: at.name, kind: at.kind, group: at.group }));
    }
    Ok(views::acme(&issuer))
}

/// Why an issuer is not ready, in its own words. One that its controller has not seen yet is not.
fn not_ready(issuer: &MailIssuer) -> Option<String> {
    let status = issuer.status.clone().unwrap_or_default();
    let ready = conditions::find(&status.conditions, condition::READY);
    match ready {
        Some(c) if c.status == "True" => None,
        Some(c) => Some(c.message.clone()),
        None => Some("it has not been looked at yet".to_owned()),
    }
}

/// The labels of a namespace, where an issuer of another one asks for them.
async fn namespace_labels(
    context: &Context,
    issuer: &MailIssuer,
    at: &Key,
    from: &str,
) -> Option<BTreeMap<String, String>> {
    if at.0 == from || issuer.spec.allowed_namespaces.from != NamespacesFrom::Selector {
        return None;
    }
    let api: Api<Namespace> = Api::all(context.client.clone());
    let meta: Option<PartialObjectMeta<Namespace>> = api.get_metadata_opt(from).await.ok().flatten();
    meta.map(|m| m.labels().clone())
}

async fn obtain(source: KeySource) -> Result<Arc<PrivateKey>, StepFailure> {
    let spec = match source {
        KeySource::Keep(key) => return Ok(key),
        KeySource::Generate(spec) => spec,
    };
    // RSA keys take seconds of CPU.
    let made = tokio::task::spawn_blocking(move || PrivateKey::generate(&spec)).await;
    match made {
        Ok(Ok(key)) => Ok(Arc::new(key)),
        Ok(Err(e)) => Err(signing_failed(e.to_string())),
        Err(_) => Err(signing_failed("making the key was interrupted".to_owned())),
    }
}

async fn sign(revision: i64, key: KeySource, ca: Option<Arc<CaKeyPair>>, leaf: Box<LeafSpec>, origin: Origin) -> Fact {
    let key = match obtain(key).await {
        Ok(key) => key,
        Err(failure) => return Fact::Failed(failure),
    };
    let signed = match &ca {
        Some(ca) => ca.sign(key.spki_der(), &leaf).map(|chain| (chain, ca.roots().to_vec())),
        None => self_signed(&key, &leaf).map(|chain| {
            let own = chain.leaf().clone();
            (chain, vec![own])
        }),
    };
    match signed {
        Ok((chain, roots)) => {
            let pair = KeyPair { key, chain: Arc::new(chain), ca: Arc::new(roots), canonical: true };
            Fact::Issued(Fresh { revision, pair, origin })
        }
        Err(e) => Fact::Failed(signing_failed(e.to_string())),
    }
}

fn signing_failed(message: String) -> StepFailure {
    StepFailure { pace: Pace::Person, reason: reason::SIGNING_FAILED, message, retry_after: None, order_lost: false }
}

fn issuer_kind(issuer: &IssuerView) -> &'static str {
    match issuer {
        IssuerView::SelfSigned => "selfSigned",
        IssuerView::Ca(_) => "ca",
        IssuerView::Acme(_) => "acme",
        IssuerView::CertManager(_) => "certManager",
        IssuerView::Import(_) => "import",
        IssuerView::NotFound | IssuerView::NotAllowed(_) | IssuerView::NotReady(_) => "none",
    }
}

fn outcome(fact: &Fact) -> &'static str {
    if matches!(fact, Fact::Issued(_) | Fact::Downloaded(_)) { "issued" } else { "failed" }
}
