//! Leadership and permission reviews on a real API server.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests too")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use mailcert::operating::{
    client,
    lease::{Candidate, Leader, LeaseTimes},
    metrics::Metrics,
    permissions::{self, Needed},
    settings::KubeSettings,
};
use mailcert_testenv::Cluster;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

const TIMES: LeaseTimes = LeaseTimes {
    duration: Duration::from_secs(6),
    renew_deadline: Duration::from_secs(4),
    retry_period: Duration::from_secs(1),
};
/// Long enough for a busy machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn cluster() -> &'static Cluster {
    tokio::task::spawn_blocking(Cluster::shared).await.unwrap()
}

async fn connect(cluster: &Cluster) -> Client {
    let settings = KubeSettings {
        kubeconfig: Some(cluster.kubeconfig().into()),
        api_timeout: Duration::from_secs(30),
        ..KubeSettings::default()
    };
    client::connect(&settings, None).await.unwrap()
}

async fn config(cluster: &Cluster) -> Config {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

fn candidate(client: &Client, name: &str) -> Candidate {
    Candidate::new(client.clone(), "default", name, TIMES)
}

/// Acquires in the background; the answer carries when it happened.
fn acquiring(candidate: Candidate) -> tokio::task::JoinHandle<(Leader, Instant)> {
    tokio::spawn(async move {
        let leader = candidate.acquire(&CancellationToken::new()).await.unwrap();
        (leader, Instant::now())
    })
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: nothing within {PATIENCE:?}"))
}

async fn spec(leases: &Api<Lease>, name: &str) -> LeaseSpec {
    leases.get(name).await.unwrap().spec.unwrap()
}

/// Waits until the lease was renewed since `before`.
async fn renewed(leases: &Api<Lease>, name: &str, before: &LeaseSpec) -> LeaseSpec {
    soon("a renewal", async {
        loop {
            let now = spec(leases, name).await;
            if now.renew_time > before.renew_time {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
}

/// A TCP line to the API server that can be frozen: connections stay open, and nothing passes any more.
async fn line(to: std::net::SocketAddr) -> (u16, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (freeze, frozen) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(pass(near_in, far_out, frozen.clone()));
            tokio::spawn(pass(far_in, near_out, frozen.clone()));
        }
    });
    (port, freeze)
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else { return };
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_leads_and_a_release_hands_over_at_once() {
    let client = connect(cluster().await).await;
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let (a, b) = (candidate(&client, "handover"), candidate(&client, "handover"));
    let names = [a.identity().to_owned(), b.identity().to_owned()];
    assert_ne!(names[0], names[1]);
    let (mut a, mut b) = (acquiring(a), acquiring(b));
    let (first, _, other, leading) = soon("a first leader", async {
        tokio::select! {
            won = &mut a => { let (leader, at) = won.unwrap(); (leader, at, b, 0) }
            won = &mut b => { let (leader, at) = won.unwrap(); (leader, at, a, 1) }
        }
    })
    .await;
    let won = spec(&leases, "handover").await;
    assert_eq!((won.holder_identity.as_deref(), won.lease_transitions), (Some(names[leading].as_str()), Some(0)));
    let later = renewed(&leases, "handover", &won).await;
    assert_eq!(later.acquire_time, won.acquire_time);
    assert!(first.is_leader() && !other.is_finished());

    first.release().await;
    let released = Instant::now();
    assert!(!first.is_leader() && first.token().is_cancelled());
    assert_eq!(first.lost(), None);
    let (second, at) = soon("the second leader", other).await.unwrap();
    // One retry period, its jitter, and the requests; a lease that was not given back would take six seconds.
    assert!(at - released < TIMES.retry_period.mul_f64(1.2) + Duration::from_secs(2), "{:?}", at - released);
    let now = spec(&leases, "handover").await;
    assert_eq!(now.holder_identity.as_deref(), Some(names[1 - leading].as_str()));
    assert!(second.is_leader());
    second.release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_the_api_stops_before_another_starts() {
    let cluster = cluster().await;
    let direct = connect(cluster).await;
    let mut through = config(cluster).await;
    let api = through.cluster_url.authority().unwrap().as_str().parse().unwrap();
    let (port, freeze) = line(api).await;
    through.cluster_url = format!("https://127.0.0.1:{port}").parse().unwrap();
    let through = client::from_config(through, Duration::from_secs(30), None).unwrap();

    let (first, _) = soon("the first leader", acquiring(candidate(&through, "frozen"))).await.unwrap();
    let second = acquiring(candidate(&direct, "frozen"));
    let leases: Api<Lease> = Api::default_namespaced(direct);
    let won = spec(&leases, "frozen").await;
    renewed(&leases, "frozen", &won).await;
    freeze.send(true).unwrap();
    soon("the loss", first.token().cancelled()).await;
    let stopped = Instant::now();
    assert!(!first.is_leader());
    assert_eq!(first.lost(), Some("not renewed for 4s"));
    let (second, started) = soon("the second leader", second).await.unwrap();
    assert!(started > stopped);
    // What the first had sent before it froze arrives now, and must change nothing.
    freeze.send(false).unwrap();
    let taken = spec(&leases, "frozen").await;
    let later = renewed(&leases, "frozen", &taken).await;
    assert_eq!((later.holder_identity, later.lease_transitions), (taken.holder_identity, Some(1)));
    assert!(second.is_leader());
    second.release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_followed_when_its_lease_lapses() {
    let cluster = cluster().await;
    let client = connect(cluster).await;
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let kubeconfig = cluster.kubeconfig().to_owned();
    // Its own runtime: when that goes, nothing of this candidate runs any more, as after SIGKILL.
    let (process, first) = tokio::task::spawn_blocking(move || {
        let process = tokio::runtime::Runtime::new().unwrap();
        let settings = KubeSettings {
            kubeconfig: Some(kubeconfig),
            api_timeout: Duration::from_secs(30),
            ..KubeSettings::default()
        };
        let leader = process.block_on(async {
            let client = client::connect(&settings, None).await.unwrap();
            candidate(&client, "killed").acquire(&CancellationToken::new()).await.unwrap()
        });
        (process, leader)
    })
    .await
    .unwrap();
    let second = acquiring(candidate(&client, "killed"));
    let won = spec(&leases, "killed").await;
    renewed(&leases, "killed", &won).await;
    process.shutdown_background();
    let last = spec(&leases, "killed").await;
    let (second, _) = soon("the second leader", second).await.unwrap();
    assert!(!first.is_leader(), "the deadline counts even when nothing runs that could cancel the token");
    let taken = spec(&leases, "killed").await;
    assert_eq!(taken.lease_transitions, Some(1));
    let gap = taken.acquire_time.unwrap().0.duration_since(last.renew_time.unwrap().0);
    assert!(gap.unsigned_abs() >= TIMES.duration, "{gap}");
    second.release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_writes_are_told_from_foreign_leaders() {
    let client = connect(cluster().await).await;
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let (leader, _) = soon("a leader", acquiring(candidate(&client, "meddled"))).await.unwrap();
    let merge = async |patch: serde_json::Value| {
        leases.patch("meddled", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap().spec.unwrap()
    };
    for i in 0..3 {
        let annotated = merge(serde_json::json!({"metadata": {"annotations": {"note": i.to_string()}}})).await;
        renewed(&leases, "meddled", &annotated).await;
    }
    assert!(leader.is_leader());
    merge(serde_json::json!({"spec": {"holderIdentity": "someone"}})).await;
    soon("the loss", leader.token().cancelled()).await;
    assert_eq!(leader.lost(), Some("the Lease is held by \"someone\""));
    leader.release().await;
    assert_eq!(spec(&leases, "meddled").await.holder_identity.as_deref(), Some("someone"), "not ours to give back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_the_wait_for_leadership() {
    let client = connect(cluster().await).await;
    let (leader, _) = soon("a leader", acquiring(candidate(&client, "waiting"))).await.unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let waiting = candidate(&client, "waiting");
    let waiting = tokio::spawn(async move { waiting.acquire(&stop).await.is_some() });
    shutdown.cancel();
    assert!(!soon("the end", waiting).await.unwrap());
    leader.release().await;
}

fn needed(verb: &'static str, resource: &'static str, namespace: Option<&str>) -> Needed {
    let namespace = namespace.map(str::to_owned);
    Needed { verb, group: "", resource, subresource: "", name: None, namespace, feature: "storing certificates" }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_permissions_are_found() {
    let cluster = cluster().await;
    let granted = tokio::task::spawn_blocking(|| {
        cluster.kubectl(&["create", "namespace", "granted"])?;
        cluster.kubectl(&["-n", "granted", "create", "role", "r", "--verb=get,update", "--resource=secrets"])?;
        cluster.kubectl(&["-n", "granted", "create", "rolebinding", "r", "--role=r", "--user=limited"])
    });
    granted.await.unwrap().unwrap();
    let mut config = config(cluster).await;
    config.auth_info.impersonate = Some("limited".to_owned());
    let metrics = Arc::new(Metrics::new());
    let client = client::from_config(config, Duration::from_secs(30), Some(metrics.clone())).unwrap();
    let asked = [
        needed("get", "secrets", Some("granted")),
        needed("delete", "secrets", Some("granted")),
        needed("get", "secrets", None),
        Needed { subresource: "exec", ..needed("create", "pods", Some("granted")) },
    ];
    // RBAC is evaluated from the API server's own cache, which the binding reaches a moment later.
    let review = soon("the binding", async {
        loop {
            let review = permissions::review(&client, &asked).await;
            if !review.missing.contains(&asked[0]) {
                return review;
            }
        }
    })
    .await;
    assert_eq!((review.missing, review.unknown), (asked[1..].to_vec(), None));
    permissions::report_missing(&permissions::Review { missing: asked.to_vec(), unknown: None });
    let text = metrics.render().unwrap();
    assert!(
        text.contains(r#"mailcert_api_requests_total{verb="create",resource="selfsubjectaccessreviews"}"#),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_review_is_not_taken_for_a_missing_permission() {
    let mut config = config(cluster().await).await;
    // The one user that is not in system:authenticated, and so without the right to ask.
    config.auth_info.impersonate = Some("system:anonymous".to_owned());
    let client = client::from_config(config, Duration::from_secs(30), None).unwrap();
    let review = permissions::review(&client, &[needed("get", "secrets", None)]).await;
    assert_eq!(review.missing, []);
    assert!(review.unknown.unwrap().contains("selfsubjectaccessreviews"));
}
