//! A mail client's way to the mail server, without the operator.

use super::kube::{Kube, items, text};
use mailcert_testenv::{Cluster, Error, MailClient, Result};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Where the mail server is.
pub enum Door<'a> {
    /// At the external address in the namespace of the demo's node.
    Node(&'a Cluster, Ipv4Addr, MailClient),
    /// Behind `kubectl port-forward`, in this namespace.
    Forward(&'a Path, &'a str, MailClient),
}

impl Door<'_> {
    /// Leaf fingerprints by endpoint (`IMAPS mail.example.com:993`, and where it is reached ` via ADDRESS`).
    pub fn look(&self, endpoints: &[String]) -> Result<BTreeMap<String, String>> {
        let parsed = endpoints.iter().map(|endpoint| {
            let mut words = endpoint.split(' ');
            let (protocol, place) = (words.next(), words.next());
            let port = place.and_then(|place| place.rsplit(':').next()?.parse().ok());
            let unreadable = || Error::new(format!("unreadable endpoint {endpoint}"));
            Ok((endpoint.clone(), protocol.ok_or_else(unreadable)?.to_owned(), port.ok_or_else(unreadable)?))
        });
        let parsed: Vec<(String, String, u16)> = parsed.collect::<Result<_>>()?;
        match self {
            Self::Node(cluster, ip, client) => {
                let look = |(endpoint, protocol, port): &(String, String, u16)| {
                    Ok((endpoint.clone(), client.fingerprint(SocketAddr::from((*ip, *port)), protocol)?))
                };
                cluster.inside(|| parsed.iter().map(look).collect())?
            }
            Self::Forward(kubectl, namespace, client) => {
                let ports = parsed.iter().map(|(_, _, port)| *port).collect::<Vec<_>>();
                let forward = Forward::start(kubectl, namespace, &ports)?;
                let look = |(endpoint, protocol, port): &(String, String, u16)| {
                    Ok((endpoint.clone(), client.fingerprint(forward.to(*port)?, protocol)?))
                };
                parsed.iter().map(look).collect()
            }
        }
    }

    /// Connects to IMAPS again and again, until it is told to end. A forwarded port is bound to one pod, so not there.
    pub fn watch(&self) -> Option<Watch> {
        let Self::Node(cluster, ip, client) = self else { return None };
        let (stop, client) = (Arc::new(AtomicBool::new(false)), client.clone());
        let (stopped, address) = (stop.clone(), SocketAddr::new(IpAddr::V4(*ip), 993));
        let connect = move || {
            let (mut good, mut bad) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let counter = if client.fingerprint(address, "IMAPS").is_ok() { &mut good } else { &mut bad };
                *counter += 1;
                thread::sleep(Duration::from_millis(100));
            }
            (good, bad)
        };
        // Threads stay where their parent was.
        let thread = cluster.inside(|| thread::spawn(connect)).ok()?;
        Some(Watch { stop, thread })
    }
}

/// A client that keeps connecting.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, u32)>,
}

impl Watch {
    /// Ends it, and says how it went.
    pub fn end(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok((good, bad)) => format!("{} connections to IMAPS, {bad} of them failed", good + bad),
            Err(_) => "the client that kept connecting broke down".to_owned(),
        }
    }
}

/// A running `kubectl port-forward`.
struct Forward {
    child: Child,
    ports: BTreeMap<u16, SocketAddr>,
}

impl Forward {
    /// To the newest pod: of a Service kubectl may choose one that is ending.
    fn start(kubectl: &Path, namespace: &str, ports: &[u16]) -> Result<Self> {
        let pods = Kube::Current(kubectl).get(&["-n", namespace, "pods", "-l", "app=mail"])?;
        let alive = items(&pods, "/items").iter().filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        let newest = alive.max_by_key(|pod| text(pod, "/metadata/creationTimestamp").to_owned());
        let pod = format!("pod/{}", newest.map_or("", |pod| text(pod, "/metadata/name")));
        let error = |error: std::io::Error| Error::new(format!("kubectl port-forward: {error}"));
        let mut command = Command::new(kubectl);
        command.args(["port-forward", "-n", namespace, &pod]).args(ports.iter().map(|port| format!(":{port}")));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(error)?;
        let stdout = child.stdout.take();
        let mut forward = Self { child, ports: BTreeMap::new() };
        // Forwarding from 127.0.0.1:41234 -> 993
        for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
            let line = line.map_err(error)?;
            let parts = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split_once(" -> "));
            if let Some((local, port)) = parts
                && let (Ok(local), Ok(port)) = (local.parse::<u16>(), port.parse())
            {
                forward.ports.insert(port, SocketAddr::from((Ipv4Addr::LOCALHOST, local)));
            }
            if forward.ports.len() == ports.len() {
                return Ok(forward);
            }
        }
        Err(Error::new("kubectl port-forward ended before it forwarded every port"))
    }

    fn to(&self, port: u16) -> Result<SocketAddr> {
        self.ports.get(&port).copied().ok_or_else(|| Error::new(format!("port {port} is not forwarded")))
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
