//! The servers and command-line tools, built from their Go modules (`testenv/tools/*/go.mod`) when they are missing.

use crate::{
    cache,
    error::{Context, Error, Result},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program that is built from a Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The file name of the binary.
    pub name: &'static str,
    /// The folder below `testenv/tools` that holds `go.mod` and `go.sum`.
    module: &'static str,
    package: &'static str,
    /// Minutes that a build with empty Go caches takes on two cores.
    cold_minutes: u8,
}

const fn tool(name: &'static str, module: &'static str, package: &'static str, cold_minutes: u8) -> Tool {
    Tool { name, module, package, cold_minutes }
}

/// etcd, which holds the API server's objects.
pub const ETCD: Tool = tool("etcd", "etcd", "go.etcd.io/etcd/server/v3", 1);
/// The Kubernetes API server.
pub const KUBE_APISERVER: Tool = tool("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", 8);
/// The controllers that come with Kubernetes: Deployments, garbage collection, service accounts.
pub const KUBE_CONTROLLER_MANAGER: Tool =
    tool("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", 3);
/// The Kubernetes command line.
pub const KUBECTL: Tool = tool("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl", 1);
/// The ACME test server.
pub const PEBBLE: Tool = tool("pebble", "pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble", 1);
/// The DNS server that Pebble and the node's pods ask.
pub const PEBBLE_CHALLTESTSRV: Tool =
    tool("pebble-challtestsrv", "pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv", 1);
/// Helm, for the chart's tests.
pub const HELM: Tool = tool("helm", "helm", "helm.sh/helm/v3/cmd/helm", 3);
/// Places pods on the node.
pub const KUBE_SCHEDULER: Tool = tool("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", 1);
/// Runs the node's pods.
pub const KUBELET: Tool = tool("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet", 1);
/// Routes Service addresses.
pub const KUBE_PROXY: Tool = tool("kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy", 1);
/// The container runtime.
pub const CONTAINERD: Tool = tool("containerd", "containerd", "github.com/containerd/containerd/v2/cmd/containerd", 2);
/// Holds one pod's containers.
pub const CONTAINERD_SHIM: Tool =
    tool("containerd-shim-runc-v2", "containerd", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", 1);
/// Loads images into containerd.
pub const CTR: Tool = tool("ctr", "containerd", "github.com/containerd/containerd/v2/cmd/ctr", 1);

/// What a control plane without a node needs.
pub const CONTROL_PLANE: [Tool; 4] = [ETCD, KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBECTL];
/// What a node needs on top.
pub const NODE: [Tool; 7] =
    [KUBE_SCHEDULER, KUBELET, KUBE_PROXY, CONTAINERD, CONTAINERD_SHIM, CTR, PEBBLE_CHALLTESTSRV];

/// Every tool, in the order in which building them takes least time.
pub fn all() -> Vec<Tool> {
    [CONTROL_PLANE.as_slice(), &NODE, &[PEBBLE, HELM]].concat()
}

impl Tool {
    /// The path of the binary, which is built first when it is missing (see `cold_minutes` for how long that takes).
    /// `$KUBEBUILDER_ASSETS` is used for the binaries that it holds (etcd, kube-apiserver, kubectl).
    pub fn path(&self) -> Result<PathBuf> {
        if let Some(given) = env::var_os("KUBEBUILDER_ASSETS") {
            let path = Path::new(&given).join(self.name);
            if path.is_file() {
                return Ok(path);
            }
        }
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(self.module);
        let read = |name| fs::read(module.join(name)).context(|| format!("cannot read {name} of {}", module.display()));
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let flags = link_flags(self.module, &String::from_utf8_lossy(&go_mod))?;
        let key = cache::key([go_mod.as_slice(), &go_sum, flags.as_bytes()]);
        let path = cache::dir().join("tools").join(key).join(self.name);
        cache::ensure(&path, |unfinished| self.build(&module, &flags, unfinished))?;
        Ok(path)
    }

    fn build(&self, module: &Path, flags: &str, to: &Path) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let minutes = (u32::from(self.cold_minutes) * 2).div_ceil(cores.clamp(1, 8) as u32).max(1);
        eprintln!("building {} (about {minutes} min cold, {cores} cores)", self.name);
        let status = Command::new("go")
            .current_dir(module)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .args(["build", "-trimpath", "-ldflags", flags, "-o"])
            .arg(to)
            .arg(self.package)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .context(|| format!("{} must be built, but Go cannot be started (install Go)", self.name))?;
        if !status.success() {
            return Err(Error::new(format!("building {} failed ({status}); Go's words are above", self.name)));
        }
        Ok(())
    }
}

/// Kubernetes reports v0.0.0, and clients refuse or warn, unless its version is linked in.
fn link_flags(module: &str, go_mod: &str) -> Result<String> {
    if module != "kubernetes" {
        return Ok("-s -w".to_owned());
    }
    let version = go_mod
        .lines()
        .filter_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .find_map(|rest| rest.split_whitespace().next())
        .ok_or_else(|| Error::new("tools/kubernetes/go.mod requires no k8s.io/kubernetes"))?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let package = "k8s.io/component-base/version";
    Ok(format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_carries_its_version() {
        let flags = link_flags("kubernetes", "require (\n\tk8s.io/kubernetes v1.36.3 // indirect\n)").unwrap();
        assert!(flags.contains(".gitVersion=v1.36.3 ") && flags.ends_with(".gitMinor=36"), "{flags}");
        assert_eq!(link_flags("etcd", "").unwrap(), "-s -w");
        assert!(link_flags("kubernetes", "").is_err());
    }

    #[test]
    fn every_tool_has_its_module() {
        for tool in all() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(tool.module);
            let go_mod = fs::read_to_string(folder.join("go.mod")).unwrap();
            assert!(go_mod.contains(tool.package), "{} does not list {}", folder.display(), tool.package);
            assert!(folder.join("go.sum").is_file());
        }
    }
}
