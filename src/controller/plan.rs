//! What a pass over a MailCertificate would do, found out by the very code of the pass, without doing it.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::certificate::Certificates;
use super::context::Context;
use super::operator::{self, OperatorError};
use super::pass::{PassError, Subject};
use crate::api::{MailCertificate, MailDomain, MailIssuer, MailTrustBundle};
use crate::decide::certificate::{self, Action, World};
use crate::operating::settings::OperatorSettings;

/// Looks in a row: as many as a pass has rounds.
const ROUNDS: usize = 12;

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// What the operator looks at may not be looked at.
    #[error("a plan looks at the {plural} of namespace {namespace}, as the operator does, and they cannot be listed")]
    List {
        /// The kind.
        plural: String,
        /// Where.
        namespace: String,
        /// What the API server says.
        source: Box<kube::Error>,
    },
    /// Something that it depends on cannot be read.
    #[error("{0}")]
    Look(#[from] PassError),
    /// The objects could not be watched.
    #[error("{0}")]
    Watch(#[from] OperatorError),
}

/// What is known, and what would be done about it.
pub struct Plan {
    /// What is known.
    pub world: World,
    /// What a pass would do next.
    pub actions: Vec<Action>,
    /// What the status would say.
    pub status: crate::api::MailCertificateStatus,
}

/// Looks at everything as a pass would, and decides. Only what the API server has is looked at; nothing is written.
///
/// # Errors
/// Something cannot be read.
pub async fn plan(client: Client, settings: &OperatorSettings, object: MailCertificate) -> Result<Plan, PlanError> {
    let mut namespaces = vec![object.namespace().unwrap_or_default()];
    namespaces.extend(object.spec.issuer_ref.as_ref().and_then(|i| i.namespace.clone()));
    namespaces.dedup();
    for namespace in &namespaces {
        // A watch would try again for ever.
        may_list::<MailIssuer>(&client, namespace).await?;
        may_list::<MailCertificate>(&client, namespace).await?;
        may_list::<MailDomain>(&client, namespace).await?;
        may_list::<MailTrustBundle>(&client, namespace).await?;
        may_list::<Secret>(&client, namespace).await?;
    }
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    let context = operator::bystander(client, settings, namespaces, &stop).await;
    let mut world = Certificates::observe(&context, Arc::new(object), Context::now()).await?;
    let mut decision = certificate::decide(&world);
    for _ in 0..ROUNDS {
        let looks: Vec<Action> = decision.actions.iter().take_while(|a| is_look(a)).cloned().collect();
        if looks.is_empty() {
            break;
        }
        for look in looks {
            let fact = Certificates::act(&context, &world, look).await?;
            world.learn(fact);
        }
        decision = certificate::decide(&world);
    }
    drop(guard);
    Ok(Plan { world, actions: decision.actions, status: decision.status })
}

async fn may_list<K>(client: &Client, namespace: &str) -> Result<(), PlanError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let listed = api.list_metadata(&ListParams::default().limit(1)).await;
    listed.map(drop).map_err(|source| PlanError::List {
        plural: K::plural(&()).into_owned(),
        namespace: namespace.to_owned(),
        source: Box::new(source),
    })
}

/// Whether an action only reads from the API server.
fn is_look(action: &Action) -> bool {
    matches!(
        action,
        Action::ReadSecret
            | Action::ReadRevision { .. }
            | Action::ReadPassword
            | Action::ReadNextKey { .. }
            | Action::LookAtRequest { .. }
    )
}
