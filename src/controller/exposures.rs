//! Ingresses and HTTPRoutes that bring the CA's requests to the operator, for as long as a challenge lasts.

use std::fmt::Debug;

use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Context;
use super::index::Key;
use super::pass::PassError;
use super::relations::{issuer_of, key};
use crate::api::issuer::Http01Solver;
use crate::api::reasons::certificate as reason;
use crate::api::{MailCertificate, MailIssuer};
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::{Fact, Routed, StepFailure};
use crate::operating::permissions::{Needed, review};
use crate::solvers::http01::PATH_PREFIX;
use crate::solvers::http01::exposure::{self, Exposure, ParentRef};

/// The port of the operator's challenge Service.
const PORT: u16 = 80;

/// An HTTP-01 solver of an ACME issuer.
fn solver(issuer: &MailIssuer, index: usize) -> Option<&Http01Solver> {
    issuer.spec.acme.as_ref()?.solvers.get(index)?.http01.as_ref()
}

fn ingresses(context: &Context) -> Api<Ingress> {
    Api::namespaced(context.client.clone(), &context.identity.namespace)
}

fn routes(context: &Context) -> Api<DynamicObject> {
    Api::namespaced_with(context.client.clone(), &context.identity.namespace, &exposure::http_route_resource())
}

/// Makes what the issuer's solver asks for.
pub async fn expose(context: &Context, object: &MailCertificate, challenges: &[Routed]) -> Result<Fact, PassError> {
    let own = key(object);
    let issuer = issuer_of(object).and_then(|at| context.kinds.issuers.get(&at));
    for Routed { name: host, token, solver: index } in challenges {
        let Some(solver) = issuer.as_deref().and_then(|i| solver(i, *index)) else { return Ok(Fact::Overtaken) };
        if let Some(off) = switched_off(context, solver).await {
            return Ok(Fact::Failed(off));
        }
        context.exposed.set(own.clone(), ());
        let exposure = Exposure {
            certificate_namespace: own.0.clone(),
            certificate_name: own.1.clone(),
            host: host.clone(),
            token: token.clone(),
            namespace: context.identity.namespace.clone(),
            service_name: context.identity.challenge_service.clone(),
            service_port: PORT,
        };
        let doing = || format!("routing the challenge of {host} to the operator");
        if let Some(ingress) = &solver.ingress {
            let made = exposure::ingress(&exposure, ingress.class_name.as_deref(), &ingress.annotations);
            put(&ingresses(context), &made, token).await.map_err(PassError::api(doing()))?;
        }
        if let Some(gateway) = &solver.gateway_http_route {
            let parents: Vec<ParentRef> = gateway
                .parent_refs
                .iter()
                .map(|p| ParentRef {
                    namespace: p.namespace.clone(),
                    name: p.name.clone(),
                    section_name: p.section_name.clone(),
                })
                .collect();
            let made = exposure::http_route(&exposure, &parents);
            match put(&routes(context), &made, token).await {
                Err(kube::Error::Api(s)) if s.code == 404 => return Ok(Fact::Failed(no_gateway_api())),
                result => result.map_err(PassError::api(doing()))?,
            }
        }
    }
    Ok(Fact::Exposed)
}

/// Creates it; what stands there for an older challenge of the same host gives way.
async fn put<K>(api: &Api<K>, made: &K, token: &str) -> Result<(), kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    match api.create(&PostParams::default(), made).await {
        Err(kube::Error::Api(s)) if s.code == 409 => {}
        other => return other.map(|_| ()),
    }
    let name = made.name_any();
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    if let Some(standing) = api.list(&named).await?.items.first() {
        let text = serde_json::to_string(standing).map_err(kube::Error::SerdeError)?;
        if text.contains(&format!("{PATH_PREFIX}{token}\"")) {
            return Ok(());
        }
        match api.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(s)) if s.code == 404 => {}
            other => drop(other?),
        }
    }
    api.create(&PostParams::default(), made).await.map(|_| ())
}

/// Whether the chart's value for a kind of route is on: asked anew each time, since it can change without a restart.
async fn may_list(context: &Context, group: &'static str, resource: &'static str) -> bool {
    let needed = Needed {
        verb: "list",
        group,
        resource,
        subresource: "",
        name: None,
        namespace: Some(context.identity.namespace.clone()),
        feature: "HTTP-01",
    };
    review(&context.client, &[needed]).await.missing.is_empty()
}

async fn may_list_ingresses(context: &Context) -> bool {
    may_list(context, "networking.k8s.io", "ingresses").await
}

async fn may_list_routes(context: &Context) -> bool {
    may_list(context, "gateway.networking.k8s.io", "httproutes").await
}

/// What the solver needs and the installation lacks.
async fn switched_off(context: &Context, solver: &Http01Solver) -> Option<StepFailure> {
    let (kind, value, on) = if solver.ingress.is_some() {
        ("Ingresses", "http01.ingress.enabled", may_list_ingresses(context).await)
    } else if solver.gateway_http_route.is_some() {
        ("HTTPRoutes", "http01.gateway.enabled", may_list_routes(context).await)
    } else {
        return None;
    };
    let namespace = &context.identity.namespace;
    let message =
        format!("the operator may not make {kind} in namespace {namespace}: install the chart with --set {value}=true");
    let (pace, reason) = (Pace::Person, reason::FORBIDDEN);
    (!on).then_some(StepFailure { pace, reason, message, retry_after: None, order_lost: false })
}

fn no_gateway_api() -> StepFailure {
    StepFailure {
        pace: Pace::Person,
        reason: reason::FORBIDDEN,
        message: "this cluster has no HTTPRoutes: install the Gateway API, or choose another solver".to_owned(),
        retry_after: None,
        order_lost: false,
    }
}

/// Removes what was made for a MailCertificate.
pub async fn unexpose(context: &Context, certificate: &Key) -> Result<Fact, PassError> {
    let labels = exposure::labels(&certificate.0, &certificate.1);
    let selector: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let params = ListParams::default().labels(&selector.join(","));
    remove(context, &params, |_| true).await?;
    Ok(Fact::Unexposed)
}

/// Removes what no MailCertificate with an open order needs. The MailCertificates must be known.
pub async fn sweep(context: &Context) -> Result<(), PassError> {
    let needed = |certificate: &str| {
        let Some((namespace, name)) = certificate.split_once('/') else { return false };
        if !context.kinds.certificates.serves(namespace) {
            // Another operator's.
            return true;
        }
        let certificate = context.kinds.certificates.get(&(namespace.to_owned(), name.to_owned()));
        certificate
            .is_some_and(|c| c.status.as_ref().and_then(|s| s.attempt.as_ref()).is_some_and(|a| a.order.is_some()))
    };
    let params =
        ListParams::default().labels(&format!("{}=mailcert,{}", exposure::MANAGED_BY, exposure::CERTIFICATE_NAMESPACE));
    // Asked after they were listed: an order is in a status before anything is made for it.
    remove(context, &params, |annotation| annotation.is_none_or(|c| !needed(c))).await
}

async fn remove(
    context: &Context,
    params: &ListParams,
    unneeded: impl Fn(Option<&str>) -> bool,
) -> Result<(), PassError> {
    let standing =
        if may_list_ingresses(context).await { listed(ingresses(context).list(params).await)? } else { Vec::new() };
    for ingress in standing {
        if unneeded(ingress.annotations().get(exposure::CERTIFICATE).map(String::as_str)) {
            gone(ingresses(context).delete(&ingress.name_any(), &DeleteParams::default()).await)?;
        }
    }
    let standing =
        if may_list_routes(context).await { listed(routes(context).list(params).await)? } else { Vec::new() };
    for route in standing {
        if unneeded(route.annotations().get(exposure::CERTIFICATE).map(String::as_str)) {
            gone(routes(context).delete(&route.name_any(), &DeleteParams::default()).await)?;
        }
    }
    Ok(())
}

/// Where the kind does not exist there is nothing to remove.
fn listed<T: Clone>(result: Result<kube::api::ObjectList<T>, kube::Error>) -> Result<Vec<T>, PassError> {
    match result {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(Vec::new()),
        Err(e) => Err(PassError::api("listing the routes of challenges")(e)),
    }
}

fn gone<T>(result: Result<T, kube::Error>) -> Result<(), PassError> {
    match result {
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(()),
        other => other.map(|_| ()).map_err(PassError::api("removing the route of a challenge")),
    }
}
