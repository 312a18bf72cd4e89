//! Where to look, and as what kind of client: each endpoint through its name, and where asked for in each pod behind it,
//! without SNI, with each legacy name, and for each algorithm of key.

use crate::api::certificate::Finding;
use crate::api::domain::ServedAlgorithm;
use crate::api::reasons::domain_finding as reason;
use crate::pki::covers;

use super::certificate::Certificate;
use super::counted;
use super::names::Names;
use super::pods::PodView;
use super::world::{Pods, ProbeTarget, World};

/// As many looks as there are entries in a status of sensible size.
const MOST: usize = 200;

/// Where to look.
pub(super) struct Targets {
    pub list: Vec<ProbeTarget>,
    pub findings: Vec<Finding>,
}

/// A client's name for the server.
#[derive(Clone)]
enum Asks {
    Host,
    Nothing,
    Legacy(String),
}

impl Targets {
    /// Every look that the spec asks for, what matters most first.
    pub fn of(world: &World, names: &Names, certificate: &Certificate<'_>) -> Self {
        let mut findings = Vec::new();
        let pods: Vec<Vec<ProbeTarget>> = names.targets.iter().map(|t| in_pods(world, t, &mut findings)).collect();
        let asks = asks(world, names, certificate);
        let mut list = Vec::new();
        for is_host in [true, false] {
            let chosen: Vec<&Asks> = asks.iter().filter(|ask| matches!(ask, Asks::Host) == is_host).collect();
            let named = names.targets.iter();
            list.extend(named.flat_map(|t| variants(world, t, &chosen)));
            list.extend(pods.iter().flatten().flat_map(|t| variants(world, t, &chosen)));
        }
        if list.len() > MOST {
            findings.push(Finding {
                reason: reason::PROBES_LIMITED.to_owned(),
                about: "spec.probe".to_owned(),
                message: format!(
                    "spec.endpoints and spec.probe ask for {}; the first {MOST} are made",
                    counted(list.len(), "look")
                ),
            });
            list.truncate(MOST);
        }
        Self { list, findings }
    }
}

fn asks(world: &World, names: &Names, certificate: &Certificate<'_>) -> Vec<Asks> {
    let probe = &world.object.spec.probe;
    let mut asks = vec![Asks::Host];
    if probe.without_sni {
        asks.push(Asks::Nothing);
    }
    // A legacy name that was left out is said already.
    let covered = |name: &str| certificate.active.is_some_and(|r| r.dns_names.iter().any(|have| covers(have, name)));
    let legacy = names.legacy.iter().map(|l| l.name.clone()).filter(|name| probe.legacy_names && covered(name));
    asks.extend(legacy.map(Asks::Legacy));
    asks
}

fn variants(world: &World, target: &ProbeTarget, asks: &[&Asks]) -> Vec<ProbeTarget> {
    let algorithms = &world.object.spec.probe.key_algorithms;
    let algorithms: Vec<Option<ServedAlgorithm>> =
        if algorithms.is_empty() { vec![None] } else { algorithms.iter().copied().map(Some).collect() };
    let mut all: Vec<ProbeTarget> = Vec::new();
    for ask in asks {
        for algorithm in &algorithms {
            let mut target = target.clone();
            match ask {
                Asks::Host => {}
                Asks::Nothing => {
                    target.sni = false;
                    target.key.push_str(" without SNI");
                }
                Asks::Legacy(name) => {
                    let host = std::mem::replace(&mut target.host, name.clone());
                    target.address.get_or_insert(host);
                    target.key.push_str(&format!(" as {name}"));
                }
            }
            if let Some(algorithm) = algorithm {
                target.key.push_str(&format!(" with {algorithm:?}"));
            }
            target.algorithm = *algorithm;
            if all.iter().all(|t| t.key != target.key) {
                all.push(target);
            }
        }
    }
    all
}

/// The ready pods behind an endpoint: those of the workloads that declare its port.
fn in_pods(world: &World, target: &ProbeTarget, findings: &mut Vec<Finding>) -> Vec<ProbeTarget> {
    if !world.object.spec.probe.per_pod {
        return Vec::new();
    }
    let mut all: Vec<&PodView> = Vec::new();
    for view in &world.workloads {
        match &view.pods {
            Pods::Listed(pods) => all.extend(pods),
            Pods::NotAsked => {}
            Pods::Forbidden(why) => {
                let known = findings.iter().any(|f| f.reason == reason::PODS_FORBIDDEN);
                if !known {
                    findings.push(Finding {
                        reason: reason::PODS_FORBIDDEN.to_owned(),
                        about: "spec.probe.perPod".to_owned(),
                        message: why.clone(),
                    });
                }
                return Vec::new();
            }
        }
    }
    let declares = |p: &&&PodView| p.ports.contains(&target.pod_port);
    let behind: Vec<&&PodView> = all.iter().filter(declares).collect();
    if behind.is_empty() {
        findings.push(Finding {
            reason: reason::NO_POD.to_owned(),
            about: target.key.clone(),
            message: format!(
                "no pod of spec.workloads declares the container port {}, so none is looked at; set the endpoint's \
                 podPort, or declare the port in the pods",
                target.pod_port
            ),
        });
    }
    let one = |pod: &&&PodView| {
        let ip = pod.ip.clone().filter(|_| pod.ready)?;
        let key = format!("{} in pod {}", target.key, pod.name);
        Some(ProbeTarget { key, address: Some(ip), port: target.pod_port, ..target.clone() })
    };
    behind.iter().filter_map(one).collect()
}
