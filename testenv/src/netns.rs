//! A network namespace, and ways into it for this process: a thread that enters it, and TCP relays.

use crate::{
    error::{Context, Error, Result},
    packages,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// A named network namespace (`/run/netns/NAME`).
#[derive(Clone, Debug)]
pub(crate) struct Netns {
    path: PathBuf,
}

impl Netns {
    /// The namespace called `name`, which must exist before [`Netns::run`].
    pub(crate) fn named(name: &str) -> Self {
        Self { path: Path::new("/run/netns").join(name) }
    }

    /// Creates it. Needs root and iproute2.
    pub(crate) fn create(name: &str) -> Result<Self> {
        let output = Command::new("ip").env("PATH", packages::search_path()).args(["netns", "add", name]).output();
        let output = output.context(|| "cannot start ip (package iproute2)".to_owned())?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(format!("cannot create the network namespace {name}: {}", why.trim())));
        }
        Ok(Self::named(name))
    }

    fn enter(&self) -> io::Result<()> {
        let file = File::open(&self.path)?;
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Runs `work` on a thread inside the namespace. Sockets that it opens and processes that it starts belong there
    /// and keep doing so when they are handed out. Needs root.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let entered = thread::scope(|scope| scope.spawn(|| self.enter().map(|()| work())).join());
        entered.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Listens on 127.0.0.1 and carries every connection to one address inside a namespace, until dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Relay {
    /// Starts relaying to `inside`.
    pub(crate) fn start(netns: &Netns, inside: SocketAddr) -> Result<Self> {
        let wrap = || format!("cannot relay to {inside}");
        // Bound here, outside; only the thread that accepts is inside.
        let listener = TcpListener::bind("127.0.0.1:0").context(wrap)?;
        let address = listener.local_addr().context(wrap)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (netns, stop) = (netns.clone(), stopped.clone());
        let accept = move || {
            // A thread that cannot enter must not connect from outside: it ends, and connections are refused.
            if netns.enter().is_err() {
                return;
            }
            for connection in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(outside) = connection {
                    // Threads start in their parent's namespace.
                    thread::spawn(move || carry(&outside, inside));
                }
            }
        };
        thread::Builder::new().name(format!("relay-{inside}")).spawn(accept).context(wrap)?;
        Ok(Self { address, stopped })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which would otherwise keep the namespace alive.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
    }
}

/// Copies both ways until both ends are done. Where the inside refuses, the outside connection is closed at once.
fn carry(outside: &TcpStream, inside: SocketAddr) {
    let Ok(inside) = TcpStream::connect_timeout(&inside, Duration::from_secs(10)) else { return };
    thread::scope(|scope| {
        scope.spawn(|| copy(outside, &inside));
        copy(&inside, outside);
    });
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let done = io::copy(&mut from, &mut to);
    // An orderly end is passed on as one (a mail client may half-close); a broken one ends both ways.
    let how = if done.is_ok() { Shutdown::Write } else { Shutdown::Both };
    let _ = to.shutdown(how);
    if done.is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
}
