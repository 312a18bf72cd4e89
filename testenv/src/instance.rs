//! A folder, the processes that belong to it, and the reaper that ends them.

use crate::{
    cache,
    error::{Context, Error, Result},
    netns::Netns,
    packages,
};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

const REAPER: &str = include_str!("reap.sh");
/// What everything that belongs to an instance carries in its environment; the value is the instance's folder.
pub(crate) const MARK: &str = "MAILCERT_TESTENV";

/// A running set of processes with one folder. Dropping it ends them all and removes the folder, unless detached.
#[derive(Debug)]
pub(crate) struct Instance {
    dir: PathBuf,
    id: String,
    netns: Option<Netns>,
    reaper: Option<Child>,
    children: Mutex<Vec<(String, Child)>>,
}

impl Instance {
    /// A new instance in a new temporary folder.
    pub(crate) fn temporary() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("mailcert-").tempdir();
        let dir = dir.context(|| "cannot create a temporary folder".to_owned())?.keep();
        let mut instance = Self::prepare(&dir)?;
        let reaper = reap(&instance.dir, &instance.id, Stdio::piped());
        instance.reaper = Some(reaper.context(|| "cannot start the reaper (sh)".to_owned())?);
        Ok(instance)
    }

    /// A new instance in `dir`, which outlives this process until [`down`].
    pub(crate) fn detached(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).context(|| format!("cannot create {}", dir.display()))?;
        let mut entries = fs::read_dir(dir).context(|| format!("cannot read {}", dir.display()))?;
        if entries.next().is_some() {
            return Err(Error::new(format!(
                "{} is not empty: name a new folder, or take it down first",
                dir.display()
            )));
        }
        Self::prepare(dir)
    }

    /// The detached instance that was started in `dir` before.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let mut instance = Self::describe(dir)?;
        if !instance.dir.join(".testenv").exists() {
            return Err(Error::new(format!("{} holds no test environment", dir.display())));
        }
        let netns = Path::new("/run/netns").join(&instance.id);
        instance.netns = netns.exists().then(|| Netns::named(&instance.id));
        Ok(instance)
    }

    fn describe(dir: &Path) -> Result<Self> {
        let dir = fs::canonicalize(dir).context(|| format!("cannot find {}", dir.display()))?;
        let id = format!("mc-{}", &cache::key([dir.as_os_str().as_encoded_bytes()])[..8]);
        Ok(Self { dir, id, netns: None, reaper: None, children: Mutex::default() })
    }

    fn prepare(dir: &Path) -> Result<Self> {
        let instance = Self::describe(dir)?;
        // The reaper removes no folder without this file.
        File::create(instance.dir.join(".testenv")).context(|| format!("cannot write to {}", dir.display()))?;
        Ok(instance)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name, unique on this machine, of the instance's network namespace, cgroup and socket folder.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn netns(&self) -> Option<&Netns> {
        self.netns.as_ref()
    }

    /// Creates the network namespace in which everything started from now on lives.
    pub(crate) fn isolate(&mut self) -> Result<()> {
        self.netns = Some(Netns::create(&self.id)?);
        Ok(())
    }

    /// Runs `work` inside the namespace, or just here when there is none.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        match &self.netns {
            Some(netns) => netns.run(work).context(|| format!("cannot enter the network namespace {}", self.id)),
            None => Ok(work()),
        }
    }

    /// Starts `command` inside; it ends with the instance at the latest.
    pub(crate) fn start(&self, mut command: Command) -> Result<Child> {
        command.env(MARK, &self.dir).env("PATH", packages::search_path());
        let program = command.get_program().to_string_lossy().into_owned();
        self.inside(move || command.spawn())?.context(|| format!("cannot start {program}"))
    }

    /// Starts a server whose output goes to `NAME.log` in the folder.
    pub(crate) fn serve(&self, name: &str, mut command: Command) -> Result<()> {
        let log_path = self.dir.join(format!("{name}.log"));
        let log = File::create(&log_path).context(|| format!("cannot write {}", log_path.display()))?;
        let errors = log.try_clone().context(|| format!("cannot write {}", log_path.display()))?;
        // A group of its own, so that an interrupt at the terminal reaches the tests and not the servers first.
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let child = self.start(command)?;
        let pid_path = self.dir.join(format!("{name}.pid"));
        fs::write(&pid_path, child.id().to_string()).context(|| format!("cannot write {}", pid_path.display()))?;
        self.children.lock().unwrap_or_else(|broken| broken.into_inner()).push((name.to_owned(), child));
        Ok(())
    }

    /// Waits until `ready` is true. Fails when a server has ended or `limit` has passed; then `what` and the end of a
    /// server's log are in the error.
    pub(crate) fn wait(&self, what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            if ready() {
                return Ok(());
            }
            if let Some((name, status)) = self.ended() {
                return Err(Error::new(format!("{name} ended ({status}):\n{}", self.log_end(&name))));
            }
            if start.elapsed() > limit {
                let logs =
                    self.names().iter().map(|name| format!("\n{name}:\n{}", self.log_end(name))).collect::<String>();
                return Err(Error::new(format!("{what} took longer than {} s{logs}", limit.as_secs())));
            }
            thread::sleep(Duration::from_millis(25));
        }
    }

    fn names(&self) -> Vec<String> {
        let children = self.children.lock().unwrap_or_else(|broken| broken.into_inner());
        children.iter().map(|(name, _)| name.clone()).collect()
    }

    fn ended(&self) -> Option<(String, std::process::ExitStatus)> {
        let mut children = self.children.lock().unwrap_or_else(|broken| broken.into_inner());
        children.iter_mut().find_map(|(name, child)| Some((name.clone(), child.try_wait().ok()??)))
    }

    fn log_end(&self, name: &str) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(self.dir.join(format!("{name}.log")))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(2000)))?;
            let mut end = Vec::new();
            file.take(2000).read_to_end(&mut end)?;
            Ok(end)
        };
        read().map_or_else(|error| error.to_string(), |end| String::from_utf8_lossy(&end).into_owned())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(mut reaper) = self.reaper.take() else { return };
        drop(reaper.stdin.take());
        let _ = reaper.wait();
        for (_, child) in self.children.get_mut().unwrap_or_else(|broken| broken.into_inner()) {
            // The reaper has killed it where there is a /proc to find it by.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn reap(dir: &Path, id: &str, stdin: Stdio) -> std::io::Result<Child> {
    // In a group of its own: whoever kills the tests' whole group must not kill it too.
    let mut command = Command::new("sh");
    command.args(["-c", REAPER, "reap"]).arg(dir).arg(id);
    command.current_dir("/").stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()
}

/// Ends everything that was started in `dir` and removes it. Nothing there is no error.
pub(crate) fn down(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let instance = Instance::open(dir)?;
    let reaped = reap(&instance.dir, &instance.id, Stdio::null()).and_then(|mut reaper| reaper.wait());
    reaped.context(|| "cannot run the reaper (sh)".to_owned())?;
    if dir.exists() {
        return Err(Error::new(format!("{} could not be removed: something below it is still in use", dir.display())));
    }
    Ok(())
}
