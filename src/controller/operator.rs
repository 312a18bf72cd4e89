//! `mailcert operator`: everything together.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::reflector::Store;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::account::Accounts;
use super::authority::Authorities;
use super::bindings::Bindings;
use super::caches::{Caches, Kinds, KindsServed, Served, Watcher, watch_own};
use super::calls::Loopback;
use super::certificate::Certificates;
use super::config_maps::ConfigMaps;
use super::context::{Context, Identity, Memory};
use super::domain::Domains;
use super::issuer::Issuers;
use super::ledger::Ledgers;
use super::news::{self, News};
use super::open_orders::OpenOrders;
use super::queue::Queue;
use super::relations::Relations;
use super::runner;
use super::sources::ImportSettings;
use super::trust_bundle::TrustBundles;
use super::turns::Turns;
use super::watching::Watching;
use super::{challenges, exposures};
use crate::api::{MailCertificate, MailDomain, MailIssuer, MailTrustBundle};
use crate::dns::Settings;
use crate::operating::http::{BindError, Health, bind, health_router, metrics_router, serve};
use crate::operating::lease::{Candidate, Leader};
use crate::operating::metrics::Metrics;
use crate::operating::permissions::{Needed, report_missing, review};
use crate::operating::settings::OperatorSettings;
use crate::probes::{Limits, Prober};
use crate::solvers::http01::responder::{ChallengeTable, router};
use crate::solvers::tls_alpn01;
use crate::solvers::tls_alpn01::responder::AlpnTable;

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A port is taken or may not be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Another replica leads now, or nobody knows: without the Lease nothing may be done.
    #[error("the Lease was lost ({0}): ending, so that nothing is done twice")]
    LeaseLost(String),
    /// A part ended that must not end.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// Runs the operator until `stop`.
///
/// # Errors
/// When a port cannot be bound, the Lease is lost, or a part of it ends.
pub async fn run(
    settings: OperatorSettings,
    client: Client,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), OperatorError> {
    let health = Health::default();
    let challenges = ChallengeTable::filling();
    let mut parts = Parts::new(stop.clone());
    parts.spawn("the challenge server", {
        let listener = bind("--challenge-listen", settings.challenge_listen).await?;
        serve(listener, router(challenges.clone()), stop.clone())
    });
    let tls_challenges = AlpnTable::filling();
    parts.spawn("the TLS challenge server", {
        let listener = bind("--challenge-tls-listen", settings.challenge_tls_listen).await?;
        tls_alpn01::responder::serve(listener, tls_challenges.clone(), stop.clone())
    });
    parts.spawn("the health server", {
        let listener = bind("--health-listen", settings.health_listen).await?;
        serve(listener, health_router(health.clone()), stop.clone())
    });
    parts.spawn("the metrics server", {
        let listener = bind("--metrics-listen", settings.metrics_listen).await?;
        serve(listener, metrics_router(metrics.clone()), stop.clone())
    });
    parts.spawn("the heartbeat", {
        let (health, stop) = (health.clone(), stop.clone());
        async move { health.heartbeat(&stop).await }
    });
    let namespace = settings.operator_namespace_or(client.default_namespace());
    let everywhere = permissions(&client, &settings, &namespace).await;
    let (kinds, served) = Kinds::new(&settings.namespaces);
    let (kinds, relations) = (Arc::new(kinds), Arc::new(Relations::default()));
    let open_orders = Arc::new(OpenOrders::default());
    let watching = Watching {
        kinds: kinds.clone(),
        relations: relations.clone(),
        challenges: challenges.clone(),
        tls_challenges: tls_challenges.clone(),
        open_orders: open_orders.clone(),
        dependents: Memory::default(),
        metrics: metrics.clone(),
    };
    let queues = watch(&mut parts, &client, served, Arc::new(watching), &health);

    // One task waits for the caches: of several at once, their library wakes only one.
    let known = CancellationToken::new();
    tokio::spawn({
        let (kinds, known) = (kinds.clone(), known.clone());
        async move {
            kinds.synced().await;
            challenges.filled();
            tls_challenges.filled();
            known.cancel();
        }
    });
    let leader = match settings.leader_elect {
        false => Leader::without_election(),
        true => {
            let candidate = Candidate::new(client.clone(), &namespace, &settings.lease_name, settings.lease_times());
            tracing::info!(namespace, lease = settings.lease_name, "waiting to lead");
            match candidate.acquire(&stop).await {
                Some(leader) => leader,
                None => return parts.finish(None).await,
            }
        }
    };
    metrics.set_leader(true);
    tracing::info!("leading");
    let bindings = Arc::new(Bindings::new(client.clone(), relations.clone(), kinds.clone(), everywhere));
    let work = stop.child_token();
    let (news, queue) = news::queue();
    parts.spawn("the publisher of Events", news::publish(client.clone(), queue, work.clone()));
    let context = Arc::new(context(
        &settings,
        client,
        namespace,
        (leader.clone(), news, metrics),
        (kinds.clone(), relations, bindings, open_orders),
    ));
    tokio::select! {
        () = known.cancelled() => {}
        () = stop.cancelled() => return parts.finish(Some(leader)).await,
        () = leader.token().cancelled() => return parts.finish(Some(leader)).await,
    }
    control(&mut parts, &context, queues, &settings, &work);
    parts.spawn("the clock watch", clock_watch(kinds, work.clone()));
    parts.spawn("the sweep", sweep(context, work.clone()));
    parts.finish(Some(leader)).await
}

/// What every pass has at hand.
fn context(
    settings: &OperatorSettings,
    client: Client,
    namespace: String,
    (leader, news, metrics): (Leader, mpsc::Sender<News>, Arc<Metrics>),
    (kinds, relations, bindings, open_orders): (Arc<Kinds>, Arc<Relations>, Arc<Bindings>, Arc<OpenOrders>),
) -> Context {
    let client_of_maps = client.clone();
    Context {
        news,
        prober: Prober::with_concurrency(
            Limits { total: settings.probe_timeout, ..Limits::default() },
            usize::from(settings.probe_concurrency),
        ),
        client,
        leader,
        identity: Identity {
            namespace,
            challenge_service: settings.challenge_service.clone(),
            default_domain: settings.default_domain.clone(),
        },
        config_maps: Arc::new(ConfigMaps::new(client_of_maps, kinds.clone(), relations.clone())),
        trust_bundles_from: settings.trust_bundles_from.clone(),
        kinds,
        relations,
        bindings,
        authorities: Authorities::default(),
        accounts: Accounts::default(),
        acme_limits: crate::issuers::acme::http::Limits::within(settings.reconcile_timeout),
        ledgers: Ledgers::default(),
        dns: Settings {
            resolvers: settings.dns_resolvers.clone(),
            recursive_only: settings.dns_recursive_only,
            anchors: settings.dnssec_trust_anchors.clone().unwrap_or_default(),
            ..Settings::default()
        },
        imports: ImportSettings { limits: settings.imports.limits(), may_fetch: settings.imports.import_fetch_issuers },
        open_orders,
        loopback: if settings.loopback_calls { Loopback::Allowed } else { Loopback::Refused },
        published: Memory::default(),
        reservations: Memory::default(),
        renewal_checks: Memory::default(),
        turns: Turns::new(usize::from(settings.concurrency)),
        ca_certificates: Memory::default(),
        looks: Memory::default(),
        tlsa: Memory::default(),
        failures: Memory::default(),
        exposed: Memory::default(),
        left_behind: Notify::new(),
        metrics,
    }
}

/// A context for one look at some namespaces, with their objects known, that nothing acts upon. The watches end with
/// `stop`.
pub(super) async fn bystander(
    client: Client,
    settings: &OperatorSettings,
    namespaces: Vec<String>,
    stop: &CancellationToken,
) -> Context {
    let (kinds, served) = Kinds::new(&namespaces);
    let (kinds, relations) = (Arc::new(kinds), Arc::new(Relations::default()));
    let (open_orders, metrics) = (Arc::new(OpenOrders::default()), Arc::new(Metrics::new()));
    let watching = Watching {
        kinds: kinds.clone(),
        relations: relations.clone(),
        challenges: ChallengeTable::filling(),
        tls_challenges: AlpnTable::filling(),
        open_orders: open_orders.clone(),
        dependents: Memory::default(),
        metrics: metrics.clone(),
    };
    let mut parts = Parts::new(stop.clone());
    // The queues are of no use here: nobody passes over what they name.
    drop(watch(&mut parts, &client, served, Arc::new(watching), &Health::default()));
    tokio::spawn(async move { while parts.tasks.join_next().await.is_some() {} });
    kinds.synced().await;
    let bindings = Arc::new(Bindings::new(client.clone(), relations.clone(), kinds.clone(), false));
    let (news, _) = news::queue();
    let own = namespaces.into_iter().next().unwrap_or_default();
    let parts = (kinds, relations, bindings, open_orders);
    context(settings, client, own, (Leader::without_election(), news, metrics), parts)
}

/// What runs besides, until the operator ends.
struct Parts {
    tasks: JoinSet<&'static str>,
    stop: CancellationToken,
}

impl Parts {
    fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), stop }
    }

    fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            name
        });
    }

    /// Waits for the stop, for the loss of the Lease or for a part that ends too early; then ends the others.
    async fn finish(mut self, leader: Option<Leader>) -> Result<(), OperatorError> {
        let lost = async {
            match &leader {
                Some(leader) => leader.token().cancelled().await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            () = lost => {
                let why = leader.as_ref().and_then(|l| l.lost().map(str::to_owned)).unwrap_or_default();
                Err(OperatorError::LeaseLost(why))
            }
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(_) if self.stop.is_cancelled() => Ok(()),
                Ok(name) => Err(OperatorError::Ended(name)),
                Err(_) => Err(OperatorError::Ended("a part that panicked")),
            },
        };
        self.stop.cancel();
        // Passes end within their own bounds; waiting longer than a grace period would only delay the next leader.
        let _ =
            tokio::time::timeout(Duration::from_secs(15), async { while self.tasks.join_next().await.is_some() {} })
                .await;
        if let Some(leader) = leader {
            leader.release().await;
        }
        result
    }
}

/// The queues of every kind, one for each cache.
struct Queues {
    issuers: Vec<(Store<MailIssuer>, Queue)>,
    certificates: Vec<(Store<MailCertificate>, Queue)>,
    domains: Vec<(Store<MailDomain>, Queue)>,
    trust_bundles: Vec<(Store<MailTrustBundle>, Queue)>,
}

fn watch(parts: &mut Parts, client: &Client, served: KindsServed, watching: Arc<Watching>, health: &Health) -> Queues {
    Queues {
        issuers: watch_kind(parts, client, served.issuers, &watching, health, "mailissuers", |k| &k.issuers),
        certificates: watch_kind(parts, client, served.certificates, &watching, health, "mailcertificates", |k| {
            &k.certificates
        }),
        domains: watch_kind(parts, client, served.domains, &watching, health, "maildomains", |k| &k.domains),
        trust_bundles: watch_kind(parts, client, served.trust_bundles, &watching, health, "mailtrustbundles", |k| {
            &k.trust_bundles
        }),
    }
}

fn watch_kind<K>(
    parts: &mut Parts,
    client: &Client,
    served: Vec<Served<K>>,
    watching: &Arc<Watching>,
    health: &Health,
    name: &'static str,
    caches: fn(&Kinds) -> &Caches<K>,
) -> Vec<(Store<K>, Queue)>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
    Watching: Watcher<K>,
{
    let mut queues = Vec::new();
    for (namespace, writer, store, queue) in served {
        let (client, watching, gate, stop) = (client.clone(), watching.clone(), health.gate(name), parts.stop.clone());
        parts.spawn(name, async move {
            let caches = caches(&watching.kinds);
            tokio::select! {
                () = watch_own(client, namespace, writer, caches, &*watching, gate) => {}
                () = stop.cancelled() => {}
            }
        });
        queues.push((store, queue));
    }
    queues
}

fn control(
    parts: &mut Parts,
    context: &Arc<Context>,
    queues: Queues,
    settings: &OperatorSettings,
    stop: &CancellationToken,
) {
    for (store, queue) in queues.issuers {
        parts.spawn(
            "the MailIssuer controller",
            runner::run::<Issuers>(context.clone(), store, queue, settings, stop.clone(), |k| &k.issuers),
        );
    }
    for (store, queue) in queues.certificates {
        parts.spawn(
            "the MailCertificate controller",
            runner::run::<Certificates>(context.clone(), store, queue, settings, stop.clone(), |k| &k.certificates),
        );
    }
    for (store, queue) in queues.domains {
        parts.spawn(
            "the MailDomain controller",
            runner::run::<Domains>(context.clone(), store, queue, settings, stop.clone(), |k| &k.domains),
        );
    }
    for (store, queue) in queues.trust_bundles {
        parts.spawn(
            "the MailTrustBundle controller",
            runner::run::<TrustBundles>(context.clone(), store, queue, settings, stop.clone(), |k| &k.trust_bundles),
        );
    }
}

/// Looks at everything again when the clock was set, or the machine slept: timers count neither.
async fn clock_watch(kinds: Arc<Kinds>, stop: CancellationToken) {
    const EVERY: Duration = Duration::from_secs(10);
    const JUMP_SECONDS: i64 = 30;
    let mut before = (Timestamp::now(), Instant::now());
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        let now = (Timestamp::now(), Instant::now());
        let wall = now.0.duration_since(before.0).as_secs();
        let steady = i64::try_from(now.1.duration_since(before.1).as_secs()).unwrap_or(i64::MAX);
        if (wall - steady).abs() > JUMP_SECONDS {
            tracing::warn!(seconds = wall - steady, "the clock has jumped: looking at everything again");
            kinds.trigger_all();
        }
        before = now;
    }
}

/// Removes the routes of challenges that an earlier run, or a deleted MailCertificate, left behind.
async fn sweep(context: Arc<Context>, stop: CancellationToken) {
    loop {
        let swept = async {
            exposures::sweep(&context).await?;
            challenges::sweep(&context).await
        };
        let again = match swept.await {
            Ok(()) => Duration::MAX,
            Err(error) => {
                tracing::warn!(%error, "routes or records of former challenges could not be removed");
                Duration::from_secs(60)
            }
        };
        tokio::select! {
            () = context.left_behind.notified() => {}
            () = tokio::time::sleep(again) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Says which permissions are missing, and whether Secrets may be watched everywhere.
async fn permissions(client: &Client, settings: &OperatorSettings, own: &str) -> bool {
    let needed = needed(settings, own);
    let mut found = review(client, &needed).await;
    let by_namespace = |n: &Needed| n.namespace.is_none() && (n.resource == "secrets" || n.group == "apps");
    let missing = found.missing.iter().filter(|n| by_namespace(n)).count();
    // None of them at all is how the chart narrows it down, and no mistake.
    if missing > 0 && missing == needed.iter().filter(|n| by_namespace(n)).count() {
        tracing::info!("Secrets and workloads are used where a RoleBinding allows it; an object elsewhere says so");
        found.missing.retain(|n| !by_namespace(n));
    }
    let everywhere = settings.namespaces.is_empty() && missing == 0;
    report_missing(&found);
    everywhere
}

/// Every permission that the operator uses, in the namespaces that it serves.
fn needed(settings: &OperatorSettings, own: &str) -> Vec<Needed> {
    let scopes: Vec<Option<String>> = match &settings.namespaces[..] {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let mut all = Vec::new();
    for namespace in scopes {
        for (group, resource, subresource, verbs, feature) in super::NEEDED {
            all.extend(verbs.iter().map(|verb| Needed {
                verb,
                group,
                resource,
                subresource,
                name: None,
                namespace: namespace.clone(),
                feature,
            }));
        }
    }
    if settings.leader_elect {
        all.extend(["get", "create", "update"].map(|verb| Needed {
            verb,
            group: "coordination.k8s.io",
            resource: "leases",
            subresource: "",
            // A rule that names an object cannot grant its creation.
            name: (verb != "create").then(|| settings.lease_name.clone()),
            namespace: Some(own.to_owned()),
            feature: "leader election",
        }));
    }
    all
}
