//! The operator as a child process, and what it says of itself.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailcert_testenv::{Cluster, Port, claim_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::Result;

/// How long the operator may take for what depends on no number of objects.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks while something is measured, and else: its metrics are long when it has many certificates.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_millis(250);
/// Clock ticks per second in `/proc/PID/stat`.
const USER_HZ: u64 = 100;

/// A running operator. Dropping it kills it.
pub struct Operator {
    child: Child,
    health: Port,
    metrics: Port,
    _challenges: Option<Port>,
}

/// Requests to the API server so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    pub writes: u64,
    pub reads: u64,
}

impl Operator {
    /// Serves one namespace. Its log goes to a file in the cluster's folder.
    pub fn start(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let challenges = claim_port()?;
        let mut operator = Self::answering(cluster, namespace, challenges.number)?;
        operator._challenges = Some(challenges);
        Ok(operator)
    }

    /// As [`Operator::start`], answering challenges on this port.
    pub fn answering(cluster: &Cluster, namespace: &str, challenges: u16) -> Result<Self> {
        let (health, metrics) = (claim_port()?, claim_port()?);
        let listen = |flag: &str, port: u16| format!("--{flag}-listen=127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailcert"));
        command.args([
            "operator",
            "--leader-elect=false",
            "--namespaces",
            namespace,
            "--operator-namespace",
            namespace,
        ]);
        command.args([
            listen("health", health.number),
            listen("metrics", metrics.number),
            listen("challenge", challenges),
        ]);
        let log = File::create(cluster.dir().join(format!("operator-{namespace}.log")))?;
        command.stdin(Stdio::null()).stderr(log);
        Ok(Self { child: cluster.exec(command)?, health, metrics, _challenges: None })
    }

    /// Waits until it leads.
    pub async fn leads(&self) -> Result<()> {
        self.until(OFTEN, |page| value(page, "mailcert_leader") == Some(1.0)).await.map(drop)
    }

    /// Waits until its watches are synced.
    pub async fn ready(&self) -> Result<()> {
        let start = Instant::now();
        while !get(&self.health, "/readyz").await.is_ok_and(|page| page.starts_with("HTTP/1.1 200")) {
            if start.elapsed() > PATIENCE {
                return Err("the operator does not become ready".into());
            }
            tokio::time::sleep(OFTEN).await;
        }
        Ok(())
    }

    /// Waits until `count` passes over MailCertificates have ended.
    pub async fn reconciled(&self, count: usize) -> Result<()> {
        let name = r#"mailcert_reconcile_duration_seconds_count{kind="MailCertificate"}"#;
        self.until(SELDOM, |page| value(page, name).is_some_and(|n| n >= count as f64)).await.map(drop)
    }

    /// Waits until it has made no request for two seconds.
    pub async fn settled(&self) -> Result<Requests> {
        let mut before = (Instant::now(), None);
        let page = self
            .until(SELDOM, |page| {
                let now = requests(page);
                if before.1 != Some(now) {
                    before = (Instant::now(), Some(now));
                }
                before.0.elapsed() > Duration::from_secs(2)
            })
            .await?;
        Ok(requests(&page))
    }

    /// CPU time since its start.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("no /proc/PID/stat")?;
        let ticks: Vec<u64> =
            fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
        Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 1000 / USER_HZ))
    }

    /// The most memory that it ever had resident.
    pub fn peak_rss_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    async fn until(&self, every: Duration, mut reached: impl FnMut(&str) -> bool) -> Result<String> {
        let start = Instant::now();
        loop {
            // It does not listen yet, or it has ended; the limit tells.
            if let Ok(page) = get(&self.metrics, "/metrics").await
                && reached(&page)
            {
                return Ok(page);
            }
            if start.elapsed() > PATIENCE {
                return Err("the operator does not get where it should".into());
            }
            tokio::time::sleep(every).await;
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn get(port: &Port, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port.number)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Reviews of permissions are written as objects, but nothing is stored.
fn requests(page: &str) -> Requests {
    let mut sum = Requests { writes: 0, reads: 0 };
    for line in page.lines().filter_map(|l| l.strip_prefix("mailcert_api_requests_total{verb=\"")) {
        let Some((labels, count)) = line.rsplit_once(' ') else { continue };
        let count = count.parse::<u64>().unwrap_or(0);
        let verb = labels.split('"').next().unwrap_or_default();
        match verb {
            "get" | "list" | "watch" => sum.reads += count,
            _ if labels.contains("authorization") || labels.contains("reviews") => {}
            _ => sum.writes += count,
        }
    }
    sum
}
