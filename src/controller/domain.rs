//! MailDomain: observe and act.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::Patch;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::context::Context;
use super::index::Key;
use super::pass::{PassError, Subject};
use super::relations::key;
use super::{copies, pods, reloads, secrets, sni, system, tlsa, workloads};
use crate::api::certificate::{MailCertificate, MailCertificateSpec};
use crate::api::domain::{EndpointVerdict, MailDomain, MailDomainStatus};
use crate::api::endpoint::Protocol;
use crate::api::keys;
use crate::decide::Decision;
use crate::decide::domain;
use crate::decide::domain::world::{Action, CertificateView, Fact, LookFailure, ProbeTarget, Served, World, anchors};
use crate::decide::events::{self, Note};
use crate::operating::metrics::EndpointSample;
use crate::probes::Target;

/// The controller of MailDomains.
pub struct Domains;

impl Subject for Domains {
    type Object = MailDomain;
    type Status = MailDomainStatus;
    type World = World;
    type Action = Action;
    type Fact = Fact;
    const KIND: &'static str = "MailDomain";

    async fn observe(context: &Context, object: Arc<MailDomain>, now: Timestamp) -> Result<World, PassError> {
        let own = key(&*object);
        let named = context.kinds.certificates.get(&(own.0.clone(), CertificateView::name_for(&object)));
        let mut world = World::new(object.clone(), now, CertificateView::of(&object, named));
        world.looks = context.looks.get(&own).unwrap_or_default();
        world.tlsa = tlsa::observe(context, &object).await?;
        if object.metadata.deletion_timestamp.is_some() {
            // Nothing else is done about it any more.
            return Ok(world);
        }
        world.forbidden = context.bindings.ensure(&own.0).await.err();
        if world.forbidden.is_none() {
            world.fallback = copies::observe(context, &object).await?;
        }
        if object.spec.certificate.disabled {
            world.certificate = match &world.fallback {
                Some(fallback) => fallback.in_use(&object),
                None => CertificateView::NoSystem { name: object.name_any() },
            };
        }
        if world.forbidden.is_some() {
            return Ok(world);
        }
        world.sni = sni::observe(context, &object, &own);
        let certificate = match &world.certificate {
            CertificateView::Found(certificate) => Some(certificate.clone()),
            _ => None,
        };
        world.workloads = workloads::observe(context, &object).await?;
        world.budgets = pods::budgets(context, &object).await?;
        if let Some(certificate) = certificate.filter(|c| has_active(c) && !object.spec.endpoints.is_empty()) {
            let ca = ca_crt(context, &own.0, &certificate.spec.secret_name).await?;
            world.anchors = anchors(ca.as_deref());
        }
        Ok(world)
    }

    fn decide(world: &World) -> Decision<Action, MailDomainStatus> {
        domain::decide(world)
    }

    fn learn(world: &mut World, fact: Fact) {
        world.learn(fact);
    }

    fn ended(_: &World) -> bool {
        false
    }

    fn abreast(action: &Action) -> bool {
        let is_look = matches!(action, Action::Probe(_) | Action::Tlsa(_));
        is_look || matches!(action, Action::Nudge { .. } | Action::Read { .. } | Action::Reload { .. })
    }

    async fn act(context: &Context, world: &World, action: Action) -> Result<Fact, PassError> {
        let namespace = world.object.namespace().unwrap_or_default();
        match action {
            Action::ApplyCertificate { name, spec } => apply(context, &world.object, &name, &spec).await,
            Action::Roll { kind, name, value } => {
                Ok(Fact::Rolled(workloads::roll(context, &namespace, kind, &name, &value).await?))
            }
            Action::ReadSni { name } => sni::read(context, &namespace, &name).await,
            Action::WriteSni { name, plan, stale, over } => {
                sni::write(context, &namespace, &name, &plan, &stale, over.as_deref()).await
            }
            Action::CopySystem { certificate, from, source, to, over } => {
                copies::copy(context, &world.object, &certificate, [&from, &source, &to], over.as_deref()).await
            }
            Action::RemoveSecret { name } => copies::remove_secret(context, &world.object, name).await,
            Action::RemoveCertificate { name, uid } => {
                copies::remove_certificate(context, &world.object, &name, uid).await
            }
            Action::Nudge { pod, uid, value } => Ok(reloads::nudge(context, &namespace, &pod, &uid, &value).await),
            Action::Read { pod, uid, secret, places } => {
                let result = reloads::read(context, &namespace, &pod, &places).await;
                Ok(Fact::Read { uid, secret, result })
            }
            Action::Reload { pod, uid, ip, steps } => {
                let result = reloads::reload(context, &namespace, &pod, ip.as_deref(), &steps).await;
                Ok(Fact::Reloaded { uid, at: Context::now(), result })
            }
            Action::Probe(target) => Ok(probe(context, target).await),
            Action::Tlsa(step) => Ok(Fact::Tlsa(tlsa::act(context, &world.object, step).await?)),
            Action::Hold | Action::Release => {
                let is_wanted = matches!(action, Action::Hold);
                let written = system::with_finalizer(context, &*world.object, keys::TLSA_FINALIZER, is_wanted).await?;
                Ok(written.map_or(Fact::Overtaken, Fact::Held))
            }
        }
    }

    fn is_held(object: &MailDomain) -> bool {
        object.finalizers().iter().any(|f| f == keys::TLSA_FINALIZER)
    }

    fn status(object: &MailDomain) -> Option<&MailDomainStatus> {
        object.status.as_ref()
    }

    fn notes(old: &MailDomainStatus, new: &MailDomainStatus) -> Vec<Note> {
        events::of_conditions(&old.conditions, &new.conditions)
    }

    fn keep(context: &Context, world: &World, status: &MailDomainStatus) {
        let own = key(&*world.object);
        if world.object.metadata.deletion_timestamp.is_some() {
            // It may be gone by now, and forgotten.
            match world.done.held {
                Some(false) => context.tlsa.forget(&own),
                _ => context.tlsa.set(own, world.tlsa.clone()),
            }
            return;
        }
        let samples = status.endpoints.iter().map(|e| EndpointSample {
            endpoint: e.endpoint.clone(),
            verdict: crate::api::reasons::known_endpoint(&e.reason),
            served: e.verdict == EndpointVerdict::Served,
        });
        context.metrics.set_endpoints(&own.0, &own.1, samples.collect());
        match status.dns {
            Some(_) => context.tlsa.set(own.clone(), world.tlsa.clone()),
            None => context.tlsa.forget(&own),
        }
        context.looks.set(own, world.looks.clone());
    }

    fn forget(context: &Context, key: &Key) {
        context.looks.forget(key);
        context.tlsa.forget(key);
        context.metrics.remove_endpoints(&key.0, &key.1);
    }
}

fn has_active(certificate: &MailCertificate) -> bool {
    certificate.status.as_ref().is_some_and(|s| s.active.is_some())
}

async fn ca_crt(context: &Context, namespace: &str, name: &str) -> Result<Option<Vec<u8>>, PassError> {
    let version = context.relations.secrets.get(namespace, name).map(|m| m.version);
    let at = (namespace.to_owned(), name.to_owned());
    if let Some((read, pem)) = context.ca_certificates.get(&at)
        && Some(&read) == version.as_ref()
    {
        return Ok(pem);
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(PassError::api(format!("reading Secret {name}")))?;
    let Some(secret) = found else { return Ok(None) };
    let pem = secret.data.as_ref().and_then(|d| d.get(keys::CA_CRT)).map(|b| b.0.clone());
    context.ca_certificates.set(at, (secret.resource_version().unwrap_or_default(), pem.clone()));
    Ok(pem)
}

/// Makes the MailDomain's own MailCertificate, or gives the one there is this whole spec: what is not set goes.
async fn apply(
    context: &Context,
    owner: &MailDomain,
    name: &str,
    spec: &MailCertificateSpec,
) -> Result<Fact, PassError> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<MailCertificate> = Api::namespaced(context.client.clone(), &namespace);
    let doing = || format!("writing MailCertificate {name}");
    let applied = match context.kinds.certificates.get(&(namespace, name.to_owned())) {
        Some(present) => {
            let operations = json!([
                {"op": "test", "path": "/metadata/uid", "value": present.uid()},
                {"op": "replace", "path": "/spec", "value": spec},
            ]);
            let patch =
                serde_json::from_value(operations).map_err(|e| PassError::api(doing())(kube::Error::SerdeError(e)))?;
            api.patch(name, &secrets::params(), &Patch::Json::<()>(patch)).await
        }
        None => {
            let mut made = MailCertificate::new(name, spec.clone());
            made.metadata.owner_references = owner.controller_owner_ref(&()).map(|o| vec![o]);
            api.create(&secrets::post(), &made).await
        }
    };
    let applied = applied.map_err(PassError::api(doing()))?;
    context.kinds.certificates.remember(applied.clone());
    Ok(Fact::CertificateApplied(Arc::new(applied)))
}

async fn probe(context: &Context, target: ProbeTarget) -> Fact {
    let look = Target {
        tls: target.tls,
        address: target.address.clone(),
        port: target.port,
        sni: target.sni,
        algorithm: target.algorithm,
        proxy_protocol: target.proxy_protocol,
        ..Target::new(target.protocol, target.host.clone(), target.ehlo_name.clone())
    };
    let result = context.prober.look(&look).await;
    let verdict = result.as_ref().map_or_else(|e| e.word(), |_| "handshake");
    context.metrics.probe(protocol_name(target.protocol), verdict);
    let result = result
        .map(|s| Served { address: s.address.to_string(), chain: s.chain.iter().map(|c| c.to_vec()).collect() })
        .map_err(|e| LookFailure { word: e.word().to_owned(), message: e.to_string() });
    Fact::Probed { key: target.key, at: Context::now(), result }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::SMTP => "SMTP",
        Protocol::Submission => "Submission",
        Protocol::Submissions => "Submissions",
        Protocol::IMAP => "IMAP",
        Protocol::IMAPS => "IMAPS",
        Protocol::POP3 => "POP3",
        Protocol::POP3S => "POP3S",
        Protocol::Sieve => "Sieve",
        Protocol::HTTPS => "HTTPS",
        Protocol::LMTP => "LMTP",
    }
}
