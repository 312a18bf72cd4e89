//! The node: scheduler, containerd, kubelet and kube-proxy in the cluster's network namespace.

use super::{
    Cluster, NODE_ADDRESS,
    control_plane::{LIMIT, flag},
};
use crate::{
    dns::Dns,
    error::{Context, Error, Result},
    images,
    instance::Instance,
    pki, tools,
};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The DNS server's port and that of its management interface.
pub(super) const DNS_PORTS: [u16; 2] = [53, 8055];

/// Creates the namespace with the node's address in it, and the cgroup below which the node's pods live.
pub(super) fn network(instance: &mut Instance) -> Result<()> {
    crate::packages::require(&crate::packages::NODE)?;
    instance.isolate()?;
    let address = format!("{NODE_ADDRESS}/24");
    // The address sits on one end of a veth pair, since not every kernel has dummy devices.
    for args in [
        "link set lo up",
        "link add node0 type veth peer name node1",
        &format!("addr add {address} dev node0"),
        "link set node0 up",
        "link set node1 up",
        "route add default dev node0",
    ] {
        let mut command = Command::new("ip");
        command.args(args.split(' ')).stdin(Stdio::null()).stderr(Stdio::piped());
        let output = instance.start(command)?.wait_with_output().context(|| format!("ip {args}"))?;
        if !output.status.success() {
            return Err(Error::new(format!("ip {args}: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
    }
    let forward = || fs::write("/proc/sys/net/ipv4/ip_forward", "1");
    instance.inside(forward)?.context(|| "cannot forward packets in the node's namespace".to_owned())?;
    // Where bridges hand packets to iptables at all, Services must work between pods of one bridge too.
    let _ = instance.inside(|| fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1"));
    cgroups(instance.id())
}

/// Creates the instance's own cgroup in every hierarchy: a kubelet deletes the pod cgroups that it does not know, so two
/// of them must not share a root.
fn cgroups(id: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        // Version 2. Where this process may not enable a controller, the kubelet says which one it misses.
        for controller in ["+cpuset", "+cpu", "+io", "+memory", "+pids"] {
            let _ = fs::write(root.join("cgroup.subtree_control"), controller);
        }
        return create(&root.join(id));
    }
    let entries = fs::read_dir(root).context(|| format!("cannot read {}", root.display()))?;
    for entry in entries.flatten() {
        let hierarchy = entry.path();
        // A second name of a hierarchy is a symbolic link (`cpu` to `cpu,cpuacct`); version 2 next to 1 needs none.
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if link || !hierarchy.join("cgroup.procs").exists() || hierarchy.join("cgroup.controllers").exists() {
            continue;
        }
        let cgroup = hierarchy.join(id);
        create(&cgroup)?;
        // A new cpuset is empty, and nothing can run in one.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read(hierarchy.join(file)) {
                fs::write(cgroup.join(file), all).context(|| format!("cannot set {file} of {}", cgroup.display()))?;
            }
        }
    }
    Ok(())
}

fn create(cgroup: &Path) -> Result<()> {
    fs::create_dir_all(cgroup).context(|| format!("cannot create the cgroup {}", cgroup.display()))
}

/// Starts the node's servers and waits until the node is ready for pods.
pub(super) fn wait(cluster: &Cluster) -> Result<()> {
    let instance = &cluster.instance;
    let kubeconfig = cluster.kubeconfig_inside();
    let mut scheduler = Command::new(tools::KUBE_SCHEDULER.path()?);
    scheduler.arg(flag("kubeconfig", kubeconfig.display())).args(["--leader-elect=false", "--secure-port=0"]);
    instance.serve("kube-scheduler", scheduler)?;
    containerd(instance)?;
    kubelet(instance, &kubeconfig)?;
    let mut proxy = Command::new(tools::KUBE_PROXY.path()?);
    proxy
        .arg(flag("kubeconfig", kubeconfig.display()))
        .args(["--proxy-mode=iptables", "--hostname-override=node0", "--cluster-cidr=10.88.0.0/16"])
        // The limits cannot be written from inside a namespace.
        .args(["--conntrack-max-per-core=0", "--conntrack-min=0"]);
    instance.serve("kube-proxy", proxy)?;
    // Not only for names: a server that looks up its clients, as Postfix does, waits 5 s for each where nothing answers.
    let [dns, management] = DNS_PORTS.map(|port| SocketAddr::from((NODE_ADDRESS, port)));
    let dns = Dns::start(instance, dns, management)?;
    instance.wait("the DNS server", LIMIT, || dns.ready())?;
    load_image(instance, &images::pause()?)?;
    let client = cluster.client()?;
    instance.wait("the node", LIMIT, || match client.get("/api/v1/nodes/node0") {
        Ok((200, body)) => ready(&body),
        _ => false,
    })
}

fn ready(node: &[u8]) -> bool {
    let node: serde_json::Value = serde_json::from_slice(node).unwrap_or_default();
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

fn containerd(instance: &Instance) -> Result<()> {
    let dir = instance.dir();
    let (shown, id) = (dir.display(), instance.id());
    let shim = tools::CONTAINERD_SHIM.path()?;
    let cni = dir.join("cni");
    fs::create_dir_all(&cni).context(|| format!("cannot create {}", cni.display()))?;
    // Names and folders of its own: CNI keeps its leases and results in folders that are global on the machine.
    let network = serde_json::json!({
        "cniVersion": "0.4.0", "name": id,
        "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": {
                "type": "host-local", "dataDir": dir.join("cni-leases"),
                "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    pki::write(&cni.join("10-pods.conflist"), &network.to_string())?;
    let config = format!(
        r#"version = 3
root = "{shown}/containerd"
state = "{shown}/containerd-state"
[grpc]
  address = "{shown}/containerd.sock"
[plugins.'io.containerd.shim.v1.manager']
  # At most 38 characters, which the instance's folder may exceed.
  socket_dir = "/run/mailcert/{id}"
[plugins.'io.containerd.nri.v1.nri']
  # Its socket is global on the machine: a second containerd that starts in the same moment would fail.
  disable = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE runc dies with "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  # So that the reaper finds the pods' namespaces.
  netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  runtime_path = "{}"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{shown}/runc"
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
  conf_dir = "{}"
"#,
        shim.display(),
        cni.display()
    );
    pki::write(&dir.join("containerd.toml"), &config)?;
    let mut containerd = Command::new(tools::CONTAINERD.path()?);
    containerd.arg("-c").arg(dir.join("containerd.toml"));
    instance.serve("containerd", containerd)?;
    let socket = dir.join("containerd.sock");
    instance.wait("containerd", LIMIT, || socket.exists())
}

fn kubelet(instance: &Instance, kubeconfig: &Path) -> Result<()> {
    let dir = instance.dir();
    let config = serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{}/containerd.sock", dir.display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", instance.id()),
        // From 1.35 on it refuses version 1 otherwise.
        "failCgroupV1": false,
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "podLogsDir": dir.join("pod-logs"),
        "volumePluginDir": dir.join("volume-plugins"),
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "syncFrequency": "5s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "imageGCHighThresholdPercent": 100,
        // A full disk of the machine is no reason to evict a test's pods.
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%"},
    });
    let config_path = dir.join("kubelet.json");
    pki::write(&config_path, &config.to_string())?;
    let mut kubelet = Command::new(tools::KUBELET.path()?);
    kubelet
        .arg(flag("config", config_path.display()))
        .arg(flag("kubeconfig", kubeconfig.display()))
        .arg(flag("root-dir", dir.join("kubelet").display()))
        .arg(flag("node-ip", NODE_ADDRESS))
        .arg("--hostname-override=node0");
    instance.serve("kubelet", kubelet)
}

/// Imports an OCI archive into the node's containerd.
pub(super) fn load_image(instance: &Instance, archive: &Path) -> Result<()> {
    let socket: PathBuf = instance.dir().join("containerd.sock");
    if !socket.exists() {
        return Err(Error::new("this cluster has no node to load an image into"));
    }
    let mut command = Command::new(tools::CTR.path()?);
    command.arg("-a").arg(socket).args(["-n", "k8s.io", "images", "import"]).arg(archive);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = instance.start(command)?.wait_with_output().context(|| "ctr".to_owned())?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("cannot load {}: {}", archive.display(), why.trim())));
    }
    Ok(())
}
