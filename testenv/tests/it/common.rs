//! What the tests of the test environment look at: processes, mounts and the machine's names.

use mailcert_testenv::Cluster;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The processes that belong to the instance in `dir`.
pub fn processes(dir: &Path) -> Vec<String> {
    let mark = format!("MAILCERT_TESTENV={}", dir.display());
    let ours = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let name = |process: PathBuf| fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned();
    all.filter(|process| ours(process)).map(name).collect()
}

/// What is left of the instance in `dir` on this machine; `id` is its global name.
pub fn traces(dir: &Path, id: &str) -> Vec<String> {
    let mut traces = processes(dir);
    let below = format!("{}/", dir.display());
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    traces.extend(mounts.lines().filter(|line| line.contains(&below)).map(str::to_owned));
    let cgroups = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path().join(id));
    let fixed = [dir.to_owned(), Path::new("/run/netns").join(id), Path::new("/run/mailcert").join(id)];
    traces.extend(cgroups.chain(fixed).filter(|path| path.exists()).map(|path| path.display().to_string()));
    let logs = fs::read_dir("/var/log/containers").into_iter().flatten().flatten();
    traces.extend(
        logs.filter_map(|log| fs::read_link(log.path()).ok())
            .filter(|to| to.starts_with(dir))
            .map(|to| to.display().to_string()),
    );
    traces
}

/// Waits until `done`, and says what was awaited when it never comes.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Another process that holds a cluster as a test does, and the cluster's folder.
pub fn holder(args: &[&str]) -> (Child, PathBuf) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testenv"));
    let mut child = command.arg("hold").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the holder's cluster did not come up");
    (child, PathBuf::from(line.trim()))
}

/// Whether every pod of the cluster is ready, and there is one.
pub fn pods_ready(cluster: &Cluster) -> bool {
    let query = "jsonpath={range .items[*]}{.status.conditions[?(@.type=='Ready')].status} {end}";
    let ready = cluster.kubectl(&["get", "pods", "-o", query]).unwrap();
    !ready.trim().is_empty() && ready.split_whitespace().all(|status| status == "True")
}
