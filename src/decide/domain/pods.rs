//! Pods as decisions see them: which container reads which Secret, and how.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, PodSpec, Volume, VolumeMount};
use k8s_openapi::jiff::Timestamp;

use crate::api::domain::WorkloadKind;
use crate::api::keys;

/// How a container reads a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    /// Name of the Secret.
    pub secret: String,
    /// Name of the container.
    pub container: String,
    /// How.
    pub how: Reading,
}

/// How a container reads a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// From files that follow the Secret.
    Folder(Mount),
    /// In a way that never follows the Secret while the pod runs. Says which.
    Fixed(String),
}

/// A folder that a Secret is mounted at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// In the container.
    pub folder: String,
    /// The keys that are there, and their files' names. `None`: all, by their own names.
    pub items: Option<BTreeMap<String, String>>,
}

impl Mount {
    /// The file of a key. `None` for a key that is not there.
    pub fn file(&self, key: &str) -> Option<String> {
        let name = self.items.as_ref().map_or(Some(key), |items| items.get(key).map(String::as_str))?;
        Some(format!("{}/{name}", self.folder.trim_end_matches('/')))
    }

    /// The file that holds the certificate of a certificate's Secret: without the key where there is one.
    pub fn certificate(&self) -> Option<String> {
        self.file(keys::TLS_CRT).or_else(|| self.file(keys::TLS_COMBINED))
    }
}

/// A pod of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its address.
    pub ip: Option<String>,
    /// Ready, and not about to end.
    pub ready: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The annotation [`POD_TEMPLATE_FINGERPRINT`](keys::POD_TEMPLATE_FINGERPRINT) of the pod itself.
    pub annotation: Option<String>,
    /// Whether it is being deleted. It may serve those who are connected until it is gone.
    pub is_ending: bool,
    /// Restarts of its containers, together.
    pub restarts: i32,
    /// Names of its containers.
    pub containers: Vec<String>,
    /// Ports that its containers declare.
    pub ports: BTreeSet<u16>,
    /// Which container reads which Secret.
    pub uses: Vec<SecretUse>,
}

impl PodView {
    /// What a pod shows. `None` for one that is not of this workload, or has ended.
    pub fn of(pod: &Pod, kind: WorkloadKind, name: &str, uid: &str) -> Option<Self> {
        if !belongs(pod, kind, name, uid) || has_ended(pod) {
            return None;
        }
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref());
        let is_ready = |s: &&k8s_openapi::api::core::v1::PodStatus| {
            s.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let ports = spec.containers.iter().flat_map(|c| c.ports.iter().flatten());
        let is_ending = pod.metadata.deletion_timestamp.is_some();
        Some(Self {
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            ip: status.and_then(|s| s.pod_ip.clone()),
            ready: !is_ending && status.filter(is_ready).is_some(),
            is_ending,
            created: pod.metadata.creation_timestamp.as_ref().map(|t| t.0),
            annotation: pod.metadata.annotations.as_ref().and_then(|a| a.get(keys::POD_TEMPLATE_FINGERPRINT)).cloned(),
            restarts: status.map_or(0, |s| s.container_statuses.iter().flatten().map(|c| c.restart_count).sum()),
            containers: spec.containers.iter().map(|c| c.name.clone()).collect(),
            ports: ports.filter_map(|p| u16::try_from(p.container_port).ok()).collect(),
            uses: uses(spec),
        })
    }
}

/// Whether all its containers have ended for good, as those of a Job's pod do.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    phase.is_some_and(|phase| ["Succeeded", "Failed"].contains(&phase))
}

/// A Deployment's pods belong to a ReplicaSet that has its name and their hash; others belong to the workload itself.
fn belongs(pod: &Pod, kind: WorkloadKind, name: &str, uid: &str) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    let Some(owner) = owners.into_iter().find(|o| o.controller == Some(true)) else { return false };
    if kind != WorkloadKind::Deployment {
        return owner.uid == uid;
    }
    let hash = pod.metadata.labels.as_ref().and_then(|l| l.get("pod-template-hash"));
    owner.kind == "ReplicaSet" && hash.is_some_and(|hash| owner.name == format!("{name}-{hash}"))
}

/// Every way in which the containers of a pod read Secrets.
pub fn uses(spec: &PodSpec) -> Vec<SecretUse> {
    let volumes: BTreeMap<&str, Vec<Source<'_>>> =
        spec.volumes.iter().flatten().map(|v| (v.name.as_str(), secrets_of(v))).collect();
    // A sidecar is an init container that keeps running.
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut all = Vec::new();
    for container in spec.containers.iter().chain(sidecars) {
        for mount in container.volume_mounts.iter().flatten() {
            for (secret, items) in volumes.get(mount.name.as_str()).into_iter().flatten() {
                let how = fixed(mount).unwrap_or_else(|| folder(mount, *items));
                all.push(SecretUse { secret: (*secret).to_owned(), container: container.name.clone(), how });
            }
        }
        all.extend(environment(container));
    }
    all
}

fn fixed(mount: &VolumeMount) -> Option<Reading> {
    let sub = mount.sub_path.as_deref().or(mount.sub_path_expr.as_deref()).filter(|s| !s.is_empty())?;
    Some(Reading::Fixed(format!("mounts it at {} through subPath {sub}", mount.mount_path)))
}

/// A Secret in a volume, and which of its keys are there under which names.
type Source<'a> = (&'a str, Option<&'a [KeyToPath]>);

fn secrets_of(volume: &Volume) -> Vec<Source<'_>> {
    let mut found = Vec::new();
    if let Some(secret) = &volume.secret {
        found.extend(secret.secret_name.as_deref().map(|name| (name, secret.items.as_deref())));
    }
    let sources = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    found.extend(sources.filter_map(|s| s.secret.as_ref()).map(|s| (s.name.as_str(), s.items.as_deref())));
    found
}

fn folder(mount: &VolumeMount, items: Option<&[KeyToPath]>) -> Reading {
    let items = items.filter(|items| !items.is_empty());
    let items = items.map(|items| items.iter().map(|i| (i.key.clone(), i.path.clone())).collect());
    Reading::Folder(Mount { folder: mount.mount_path.clone(), items })
}

fn environment(container: &Container) -> Vec<SecretUse> {
    let one = container.env.iter().flatten().filter_map(|e| {
        let secret = e.value_from.as_ref()?.secret_key_ref.as_ref()?;
        Some((secret.name.clone(), format!("reads it into its environment variable {}", e.name)))
    });
    let all = container
        .env_from
        .iter()
        .flatten()
        .filter_map(|e| Some((e.secret_ref.as_ref()?.name.clone(), "reads it into its environment".to_owned())));
    one.chain(all)
        .map(|(secret, how)| SecretUse { secret, container: container.name.clone(), how: Reading::Fixed(how) })
        .collect()
}
