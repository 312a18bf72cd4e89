//! etcd, kube-apiserver and kube-controller-manager.

use super::{About, Cluster, NODE_ADDRESS, Options};
use crate::{
    error::{Context, Result},
    http::Client,
    instance::Instance,
    pki,
    ports::{self, Port},
    tools,
};
use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

/// Generous, for machines that do much else: everything here takes 5 to 10 s when they do not.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Who listens where.
pub(super) struct Plan {
    api: SocketAddr,
    bind: Ipv4Addr,
    etcd: SocketAddr,
    etcd_peer: SocketAddr,
    pub(super) ports: Vec<Port>,
}

impl Plan {
    pub(super) fn on_loopback() -> Result<Self> {
        let ports = [ports::claim()?, ports::claim()?, ports::claim()?];
        let [api, etcd, etcd_peer] = [0, 1, 2].map(|i: usize| SocketAddr::from((Ipv4Addr::LOCALHOST, ports[i].number)));
        Ok(Self { api, bind: Ipv4Addr::LOCALHOST, etcd, etcd_peer, ports: ports.into() })
    }

    /// A namespace has all its ports to itself.
    pub(super) fn in_namespace() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            api: SocketAddr::from((NODE_ADDRESS, 6443)),
            bind: Ipv4Addr::UNSPECIFIED,
            etcd: loopback(2379),
            etcd_peer: loopback(2380),
            ports: Vec::new(),
        }
    }
}

/// Starts it. Returns when the API server accepts connections, which is before it is ready: see [`wait`].
pub(super) fn up(instance: &Instance, plan: &Plan, options: &Options) -> Result<About> {
    let dir = instance.dir();
    let node = NODE_ADDRESS.to_string();
    let names = ["kubernetes.default.svc", "localhost", "127.0.0.1", "10.96.0.1", &node];
    let ca_pem = pki::control_plane(&dir.join("pki"), &names)?;
    let token = token();
    pki::write(&dir.join("tokens.csv"), &format!("{token},admin,admin,\"system:masters\"\n"))?;
    let kubeconfig_path = dir.join("kubeconfig");
    pki::write(&kubeconfig_path, &kubeconfig(dir, plan.api, &token))?;
    let about = About { node: options.node, api: plan.api, etcd: plan.etcd, token, ca_pem };
    let json = serde_json::to_string(&about).context(|| "cluster.json".to_owned())?;
    pki::write(&dir.join("cluster.json"), &json)?;

    instance.serve("etcd", etcd(dir, plan)?)?;
    let etcd = Client::new(plan.etcd, instance.netns().cloned());
    instance.wait("etcd", LIMIT, || matches!(etcd.get("/health"), Ok((200, _))))?;
    instance.serve("kube-apiserver", apiserver(dir, plan, options)?)?;
    let connect = || TcpStream::connect_timeout(&plan.api, Duration::from_secs(1)).is_ok();
    instance.wait("kube-apiserver", LIMIT, || instance.inside(connect).is_ok_and(|connected| connected))?;
    // It gives up when the API server is not healthy within 10 s, which is why it does not start with it.
    let mut controllers = Command::new(tools::KUBE_CONTROLLER_MANAGER.path()?);
    controllers
        .arg(flag("kubeconfig", kubeconfig_path.display()))
        .arg(flag("service-account-private-key-file", dir.join("pki/sa.key").display()))
        .arg(flag("root-ca-file", dir.join("pki/ca.crt").display()))
        .args(["--leader-elect=false", "--secure-port=0"])
        // Its default of 20 requests per second makes it wait for itself for four seconds of its start.
        .args(["--kube-api-qps=1000", "--kube-api-burst=1000"]);
    instance.serve("kube-controller-manager", controllers)?;
    Ok(about)
}

/// Waits until the API server is ready and the controllers work (a pod could be created).
pub(super) fn wait(cluster: &Cluster) -> Result<()> {
    let client = cluster.client()?;
    for path in ["/readyz", "/api/v1/namespaces/default/serviceaccounts/default"] {
        cluster.instance.wait("the control plane", LIMIT, || matches!(client.get(path), Ok((200, _))))?;
    }
    Ok(())
}

fn etcd(dir: &Path, plan: &Plan) -> Result<Command> {
    let (client, peer) = (format!("http://{}", plan.etcd), format!("http://{}", plan.etcd_peer));
    let mut command = Command::new(tools::ETCD.path()?);
    command
        .arg(flag("data-dir", dir.join("etcd").display()))
        .arg(flag("listen-client-urls", &client))
        .arg(flag("advertise-client-urls", &client))
        .arg(flag("listen-peer-urls", &peer))
        .arg(flag("initial-advertise-peer-urls", &peer))
        .arg(flag("initial-cluster", format!("default={peer}")))
        // A test's data is worth no wait for the disk, and a single member none for an election.
        .args(["--unsafe-no-fsync", "--heartbeat-interval=20", "--election-timeout=200"])
        .arg("--quota-backend-bytes=8589934592");
    Ok(command)
}

fn apiserver(dir: &Path, plan: &Plan, options: &Options) -> Result<Command> {
    let pki = |name: &str| dir.join("pki").join(name).display().to_string();
    let mut command = Command::new(tools::KUBE_APISERVER.path()?);
    command
        .arg(flag("etcd-servers", format!("http://{}", plan.etcd)))
        .arg(flag("bind-address", plan.bind))
        .arg(flag("secure-port", plan.api.port()))
        .arg(flag("tls-cert-file", pki("api.crt")))
        .arg(flag("tls-private-key-file", pki("api.key")))
        .arg(flag("client-ca-file", pki("ca.crt")))
        .arg(flag("kubelet-client-certificate", pki("api.crt")))
        .arg(flag("kubelet-client-key", pki("api.key")))
        .arg(flag("service-account-key-file", pki("sa.pub")))
        .arg(flag("service-account-signing-key-file", pki("sa.key")))
        .arg(flag("token-auth-file", dir.join("tokens.csv").display()))
        // By hostname, which is its default, it would not find the kubelet.
        .args(["--kubelet-preferred-address-types=InternalIP", "--authorization-mode=Node,RBAC"])
        .args(["--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16"])
        .args(["--allow-privileged=true", "--profiling=false"]);
    if options.node {
        command.arg(flag("advertise-address", NODE_ADDRESS));
    }
    command.args(&options.apiserver_flags);
    Ok(command)
}

pub(super) fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

/// Random enough for a server on loopback that lives for a test.
fn token() -> String {
    [0, 1].map(|half: u8| format!("{:016x}", RandomState::new().hash_one(half))).concat()
}

/// A kubeconfig for the API server at `api`. JSON is YAML.
pub(super) fn kubeconfig(dir: &Path, api: SocketAddr, token: &str) -> String {
    let ca = dir.join("pki/ca.crt");
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testenv", "cluster": {"server": format!("https://{api}"), "certificate-authority": ca}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "testenv", "context": {"cluster": "testenv", "user": "admin"}}],
        "current-context": "testenv",
    })
    .to_string()
}
