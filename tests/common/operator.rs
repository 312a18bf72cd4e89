//! The operator's binary as a child process. It ends with the cluster at the latest, however the test process ends.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mailcert_testenv::{Cluster, Port, claim_port};

use super::wait_for;

/// A running operator.
pub struct Operator {
    cluster: &'static Cluster,
    flags: Vec<String>,
    log: PathBuf,
    health: Port,
    metrics: Port,
    challenges: Port,
    child: Option<Child>,
}

impl Operator {
    /// Starts one, alone, for these namespaces (none: all), and waits until it is ready. `flags` take the place
    /// of those that it would have.
    pub fn start(cluster: &'static Cluster, namespaces: &[&str], flags: &[&str]) -> Self {
        let operator = Self::start_unready(cluster, namespaces, flags);
        operator.wait_until_ready();
        operator
    }

    /// As [`Operator::start`], without waiting.
    pub fn start_unready(cluster: &'static Cluster, namespaces: &[&str], flags: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let log = cluster.dir().join(format!("operator-{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let (health, metrics, challenges) = (claim_port().unwrap(), claim_port().unwrap(), claim_port().unwrap());
        let mut all = vec![
            "operator".to_owned(),
            format!("--health-listen=127.0.0.1:{}", health.number),
            format!("--metrics-listen=127.0.0.1:{}", metrics.number),
            format!("--challenge-listen=127.0.0.1:{}", challenges.number),
            "--challenge-tls-listen=127.0.0.1:0".to_owned(),
            // Nobody answers there, at once: tests that need DNS name a server of their own.
            "--dns-resolvers=127.0.0.1:9".to_owned(),
            "--operator-namespace=default".to_owned(),
            "--log-filter=info,mailcert=debug".to_owned(),
            "--leader-elect=false".to_owned(),
        ];
        if !namespaces.is_empty() {
            all.push(format!("--namespaces={}", namespaces.join(",")));
        }
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        // A flag may be given once.
        all.retain(|default| !flags.iter().any(|flag| name(flag) == name(default)));
        all.extend(flags.iter().map(ToString::to_string));
        let mut operator = Self { cluster, flags: all, log, health, metrics, challenges, child: None };
        operator.spawn();
        operator
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(binary(self.cluster));
        command.args(&self.flags).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // With the cluster's mark in its environment, so that its reaper ends it if this process cannot.
        self.child = Some(self.cluster.exec(command).unwrap());
    }

    /// Waits until `/readyz` says so. Fails with the log when the process ends instead.
    pub fn wait_until_ready(&self) {
        wait_for("the operator to be ready", || {
            assert!(self.running(), "the operator ended:\n{}", self.log());
            (get(self.health.number, "/readyz")?.0 == 200).then_some(())
        });
    }

    fn running(&self) -> bool {
        let pid = self.child.as_ref().map(Child::id).unwrap();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends it with SIGTERM, and waits until it has ended. It must succeed.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = wait_for("the operator to end", || child.try_wait().unwrap());
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// Starts it again after [`Operator::kill`] or [`Operator::stop`], and waits until it is ready.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.wait_until_ready();
    }

    /// Everything it has logged, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What `/metrics` shows.
    pub fn metrics(&self) -> String {
        get(self.metrics.number, "/metrics").map(|(_, body)| body).unwrap_or_default()
    }

    /// The value of a series: its name, and parts that its labels contain. Several are added up.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics();
        assert!(text.contains("# EOF"), "no metrics");
        let series = text.lines().filter(|l| {
            let rest = l.strip_prefix(name);
            rest.is_some_and(|r| r.starts_with(['{', ' '])) && labels.iter().all(|label| l.contains(label))
        });
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// How many requests that change something it has sent to the API server in this life, reviews left out.
    pub fn writes(&self) -> f64 {
        // From one look: reviews go on while the operator starts.
        let writes = ["create", "update", "patch", "delete"].map(|verb| format!("verb=\"{verb}\""));
        let text = self.metrics();
        let counts = text.lines().filter(|line| line.starts_with("mailcert_api_requests_total{"));
        counts
            .filter(|line| !line.contains("accessreviews") && writes.iter().any(|verb| line.contains(verb)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Where it answers HTTP-01 challenges, on 127.0.0.1.
    pub fn challenge_port(&self) -> u16 {
        self.challenges.number
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the operator's log:\n{}", self.log());
        }
    }
}

/// The binary as it was when the tests began: a build that runs meanwhile must not change what a restart starts.
fn binary(cluster: &Cluster) -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let (built, kept) = (env!("CARGO_BIN_EXE_mailcert"), cluster.dir().join("mailcert"));
        if fs::hard_link(built, &kept).is_err() {
            // By a process of its own: one that is started meanwhile by another thread would inherit the file, open for
            // writing, and then it cannot be executed.
            assert!(Command::new("cp").arg(built).arg(&kept).status().unwrap().success());
        }
        kept
    })
}

/// An HTTP GET on 127.0.0.1: status and body. `None`: no answer.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
