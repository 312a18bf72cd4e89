//! The Debian packages that the node, the images and the DNS server need.

use crate::error::{Context, Error, Result};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A Debian package and a program of it, by which it is found on any distribution.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// The package's name in Debian.
    pub name: &'static str,
    /// A program of it: a name to look for in the usual folders, or a path.
    program: &'static str,
}

const fn package(name: &'static str, program: &'static str) -> Package {
    Package { name, program }
}

/// What the node needs.
pub const NODE: [Package; 8] = [
    package("runc", "runc"),
    package("iptables", "iptables"),
    package("conntrack", "conntrack"),
    package("containernetworking-plugins", "/usr/lib/cni/bridge"),
    package("iproute2", "ip"),
    // The sandbox image of every pod.
    package("umoci", "umoci"),
    package("skopeo", "skopeo"),
    package("busybox-static", "busybox"),
];
/// What the mail image needs on top.
pub const IMAGES: [Package; 3] =
    [package("umoci", "umoci"), package("skopeo", "skopeo"), package("debootstrap", "debootstrap")];
/// BIND 9, and the programs that ask it and change what it serves.
pub const BIND: [Package; 3] =
    [package("bind9", "named"), package("bind9-dnsutils", "nsupdate"), package("iproute2", "ip")];
/// Java, as mail servers written in it need it.
pub const JAVA: [Package; 1] = [package("openjdk-17-jdk-headless", "keytool")];
/// Mail servers that run next to a test, without a node.
pub const SERVERS: [Package; 4] = [
    package("postfix", "postfix"),
    package("dovecot-core", "dovecot"),
    package("dovecot-imapd", "/usr/lib/dovecot/imap"),
    package("openssl", "openssl"),
];

/// Programs that make certificates, keys and PKCS#12 files, and what fetches published ones.
pub const STORES: [Package; 5] = [
    package("openssl", "openssl"),
    package("libnss3-tools", "pk12util"),
    package("default-jre-headless", "keytool"),
    package("python3", "python3"),
    package("python3-pip", "pip3"),
];
/// Programs that judge TLSA records: of NLnet Labs, GnuTLS and Postfix.
pub const DANE: [Package; 3] =
    [package("ldnsutils", "ldns-dane"), package("gnutls-bin", "danetool"), package("postfix", "posttls-finger")];

impl Package {
    fn installed(&self) -> bool {
        if self.program.starts_with('/') {
            return Path::new(self.program).exists();
        }
        find(self.program).is_some()
    }
}

/// `PATH` and the administrator's folders, which users' paths often lack.
pub(crate) fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    env::join_paths(folders).unwrap_or(path)
}

/// Where `program` is, when it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// Whether this process runs as root.
pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Fails with what is missing for `packages`: root, Linux, or packages by name.
pub fn require(packages: &[Package]) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(Error::new("it needs Linux"));
    }
    if !root() {
        return Err(Error::new("it needs root, for network namespaces, containers and low ports"));
    }
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!("missing Debian packages: {} (`make packages` installs them)", missing.join(" "))))
}

/// The names of those that are not installed.
pub fn missing(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().filter(|package| !package.installed()).map(|package| package.name).collect()
}

/// Installs with apt-get what is missing of `packages`; needs root for that. Nothing missing costs nothing.
pub fn install(packages: &[Package]) -> Result<()> {
    let mut missing = missing(packages);
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !root() || !Path::new("/usr/bin/apt-get").exists() {
        let how = if root() { "this machine has no apt-get" } else { "not root" };
        return Err(Error::new(format!("cannot install ({how}): {}", missing.join(" "))));
    }
    eprintln!("installing {}", missing.join(" "));
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat())?;
    // Only the programs are wanted. The services that come with them would take ports of every address, also of those
    // that tests add; where there is no systemd, they do not run.
    for (package, service) in
        [("bind9", "named.service"), ("postfix", "postfix.service"), ("dovecot-core", "dovecot.service")]
    {
        if missing.contains(&package) {
            let mut systemctl = Command::new("systemctl");
            let _ = systemctl.args(["disable", "--now", service]).stdin(Stdio::null()).output();
        }
    }
    Ok(())
}

fn apt(args: &[&str]) -> Result<()> {
    let what = || format!("apt-get {}", args.join(" "));
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q").args(args).stdin(Stdio::null());
    let output = command.output().context(what)?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("{}: {}", what(), why.trim())));
    }
    Ok(())
}
