//! A Kubernetes control plane, and a node when one is wanted.

mod control_plane;
mod node;

use crate::{
    dns::Dns,
    error::{Context, Error, Result},
    http::Client,
    instance::{self, Instance},
    netns::Relay,
    pki,
    ports::Port,
    tools,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
};

/// The node's own address inside its network namespace; the API server, the DNS server and Pebble listen there.
pub const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// What a cluster is made of.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// With a node, on which pods run. Needs root on Linux and the packages of [`crate::packages::NODE`].
    pub node: bool,
    /// More flags for kube-apiserver.
    pub apiserver_flags: Vec<String>,
}

/// A running cluster. Dropping it ends every process of it and removes its folder, unless it is detached.
#[derive(Debug)]
pub struct Cluster {
    // Before the instance: relays end first.
    relays: Mutex<BTreeMap<SocketAddr, Relay>>,
    pub(crate) instance: Instance,
    about: About,
    kubeconfig: PathBuf,
    _ports: Vec<Port>,
}

/// What a later process must know of a detached cluster; in `cluster.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct About {
    node: bool,
    /// Where the API server listens (inside the namespace, with a node).
    api: SocketAddr,
    etcd: SocketAddr,
    token: String,
    ca_pem: String,
}

impl Cluster {
    /// etcd, kube-apiserver and kube-controller-manager on free ports of 127.0.0.1. Needs no root; ready in seconds.
    /// Deployments get ReplicaSets and Pods, but no Pod runs.
    pub fn control_plane() -> Result<Self> {
        Self::start(&Options::default())
    }

    /// A control plane and one real node, `node0`, in a network namespace of their own. Needs root on Linux and the
    /// packages of [`crate::packages::NODE`].
    pub fn node() -> Result<Self> {
        Self::start(&Options { node: true, ..Options::default() })
    }

    /// As [`Cluster::node`], or `None` with the reason on stderr where this machine cannot run a node.
    ///
    /// # Panics
    /// Under `CI=true` instead of `None`, and when the node should come up but does not.
    pub fn node_or_skip() -> Option<Self> {
        if let Err(error) = crate::packages::require(&crate::packages::NODE) {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI=true and no node: {error}");
            eprintln!("skipped, since it needs a node: {error}");
            return None;
        }
        Some(Self::node().unwrap_or_else(|error| panic!("{error}")))
    }

    /// A cluster that ends with this process.
    pub fn start(options: &Options) -> Result<Self> {
        Self::up(Instance::temporary()?, options)
    }

    /// The control plane that all tests of one test binary share; tests keep apart by namespaces.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::control_plane().unwrap_or_else(|error| panic!("{error}")))
    }

    /// The node cluster that all tests of one test binary share; see [`Cluster::node_or_skip`].
    ///
    /// # Panics
    /// As [`Cluster::node_or_skip`].
    pub fn shared_node() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        SHARED.get_or_init(Self::node_or_skip).as_ref()
    }

    /// A cluster in `dir` (new or empty) that outlives this process, until [`Cluster::down`]. The path should be short:
    /// sockets lie below it.
    pub fn up_detached(dir: &Path, options: &Options) -> Result<Self> {
        let cluster = Self::up(Instance::detached(dir)?, options);
        if cluster.is_err() {
            // The error carries the logs' ends; half a cluster serves nobody.
            let _ = instance::down(dir);
        }
        cluster
    }

    /// The detached cluster in `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        let instance = Instance::open(dir)?;
        let path = instance.dir().join("cluster.json");
        let about = fs::read(&path).context(|| format!("cannot read {}", path.display()))?;
        let about = serde_json::from_slice(&about).context(|| format!("cannot read {}", path.display()))?;
        let kubeconfig = instance.dir().join("kubeconfig");
        Ok(Self { relays: Mutex::default(), instance, about, kubeconfig, _ports: Vec::new() })
    }

    /// Ends the detached cluster in `dir` and removes the folder. Nothing there is no error.
    pub fn down(dir: &Path) -> Result<()> {
        instance::down(dir)
    }

    fn up(mut instance: Instance, options: &Options) -> Result<Self> {
        for tool in tools::CONTROL_PLANE.iter().chain(if options.node { tools::NODE.as_slice() } else { &[] }) {
            tool.path()?;
        }
        let plan = if options.node {
            node::network(&mut instance)?;
            control_plane::Plan::in_namespace()
        } else {
            control_plane::Plan::on_loopback()?
        };
        let about = control_plane::up(&instance, &plan, options)?;
        let mut cluster = Self {
            relays: Mutex::default(),
            kubeconfig: instance.dir().join("kubeconfig"),
            instance,
            about,
            _ports: plan.ports,
        };
        control_plane::wait(&cluster)?;
        if options.node {
            node::wait(&cluster)?;
            cluster.kubeconfig = cluster.outside_kubeconfig()?;
        }
        Ok(cluster)
    }

    /// The folder with the cluster's logs and files.
    pub fn dir(&self) -> &Path {
        self.instance.dir()
    }

    /// A kubeconfig of an administrator that this process and its children can use.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The same for processes inside the node's namespace ([`Cluster::exec`]).
    pub fn kubeconfig_inside(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }

    /// The API server's URL as processes inside (pods, [`Cluster::exec`]) reach it.
    pub fn api_url(&self) -> String {
        format!("https://{}", self.about.api)
    }

    /// etcd's client URL (inside, with a node), for measurements and for tests that break it.
    pub fn etcd_url(&self) -> String {
        format!("http://{}", self.about.etcd)
    }

    /// Starts `command` inside the node's namespace (with a node) with `KUBECONFIG` set. It ends with the cluster at the
    /// latest.
    pub fn exec(&self, mut command: Command) -> Result<Child> {
        command.env("KUBECONFIG", self.kubeconfig_inside());
        self.instance.start(command)
    }

    /// Runs `work` on a thread inside the node's namespace (with a node): sockets opened there stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.instance.inside(work)
    }

    /// An address on 127.0.0.1 that leads to `inside`, an address inside the node's namespace: a pod, a Service, the
    /// node itself. A refused connection inside shows as one that is closed at once. Without a node it is `inside`.
    pub fn relay(&self, inside: SocketAddr) -> Result<SocketAddr> {
        let Some(netns) = self.instance.netns() else { return Ok(inside) };
        let mut relays = self.relays.lock().unwrap_or_else(|broken| broken.into_inner());
        if let Some(relay) = relays.get(&inside) {
            return Ok(relay.address);
        }
        let relay = Relay::start(netns, inside)?;
        let address = relay.address;
        relays.insert(inside, relay);
        Ok(address)
    }

    /// Runs kubectl as an administrator and returns what it prints. Its complaints are in the error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_with(args, "")
    }

    /// Applies YAML (several documents are fine) as an administrator and returns what kubectl prints.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], yaml)
    }

    /// As [`Cluster::kubectl`], with `input` on its standard input.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String> {
        let what = || format!("kubectl {}", args.join(" "));
        let mut command = Command::new(tools::KUBECTL.path()?);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.exec(command)?;
        if let Some(mut stdin) = child.stdin.take() {
            // kubectl may have ended already, without reading: what it says then counts, not the broken pipe.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().context(what)?;
        if !output.status.success() {
            return Err(Error::new(format!("{}: {}", what(), String::from_utf8_lossy(&output.stderr).trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Gives a Service of type LoadBalancer (in `namespace`) the external address `ip`, as a load balancer's controller
    /// would. The node then routes it; two Services may share one address on different ports.
    pub fn set_load_balancer_ip(&self, namespace: &str, service: &str, ip: Ipv4Addr) -> Result<()> {
        let patch = format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{ip}"}}]}}}}}}"#);
        let service = format!("service/{service}");
        self.kubectl(&["-n", namespace, "patch", &service, "--subresource=status", "--type=merge", "-p", &patch])?;
        Ok(())
    }

    /// The DNS server that the node's pods ask.
    pub fn dns(&self) -> Result<Dns> {
        if !self.about.node {
            return Err(Error::new("this cluster has no node, and so no DNS server"));
        }
        let [dns, management] = node::DNS_PORTS.map(|port| SocketAddr::from((NODE_ADDRESS, port)));
        Ok(Dns::at(&self.instance, dns, management))
    }

    /// Loads an OCI archive (see [`crate::images`]) into the node's containerd.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        node::load_image(&self.instance, archive)
    }

    fn client(&self) -> Result<Client> {
        let client = Client::new(self.about.api, self.instance.netns().cloned());
        Ok(client.tls(&self.about.ca_pem)?.bearer(&self.about.token))
    }

    fn outside_kubeconfig(&self) -> Result<PathBuf> {
        let path = self.dir().join("kubeconfig-outside");
        let outside = self.relay(self.about.api)?;
        pki::write(&path, &control_plane::kubeconfig(self.dir(), outside, &self.about.token))?;
        Ok(path)
    }
}
