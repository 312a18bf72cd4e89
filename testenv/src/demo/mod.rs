//! `make demo`: a cluster with the operator in it, and the quick start as it happens.

mod alone;
mod current;
mod door;
mod failure;
mod kube;
mod node;
mod quickstart;
mod screen;
mod story;

pub use current::{down as down_current, up as up_current};

use kube::Kube;
use mailcert_testenv::{Cluster, Error, Result, packages, pki};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Starts the demo in `dir` with the operator's `binary`, in place of one that runs there already: on a node where this
/// machine can have one, else on a control plane alone.
pub fn up(dir: &Path, binary: &Path) -> Result<()> {
    if dir.join(".testenv").exists() {
        screen::did("the earlier demo is removed", || {
            Cluster::down(dir)?;
            Ok(format!("earlier demo in {} removed", dir.display()))
        })?;
    }
    let needed = [packages::NODE.as_slice(), &packages::IMAGES].concat();
    if packages::root() && cfg!(target_os = "linux") {
        // What is missing then is said by `require`.
        let _ = packages::install(&needed).inspect_err(|error| eprintln!("{error}"));
    }
    match packages::require(&needed) {
        Ok(()) => node::up(dir, binary),
        Err(why) => alone::up(dir, binary, &why),
    }
}

/// Ends the demo in `dir` and removes everything of it.
pub fn down(dir: &Path) -> Result<()> {
    if !dir.exists() {
        screen::say(&format!("no demo in {}", dir.display()));
        return Ok(());
    }
    screen::did("the demo is removed", || {
        Cluster::down(dir)?;
        Ok(format!("everything in {} ended and removed", dir.display()))
    })
}

/// Programs that talk to the demo's cluster, in `DIR/bin`.
fn programs(dir: &Path) -> Result<PathBuf> {
    let wrap = |error: std::io::Error| Error::new(format!("cannot write to {}: {error}", dir.display()));
    let own = env::current_exe().map_err(wrap)?;
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).map_err(wrap)?;
    for name in ["kubectl", "helm"] {
        let script = format!("#!/bin/sh\nexec '{}' exec '{}' {name} \"$@\"\n", own.display(), dir.display());
        fs::write(bin.join(name), script).map_err(wrap)?;
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).map_err(wrap)?;
    }
    Ok(bin)
}

/// A CA in the Secret `mail-ca`; returns its certificate, PEM.
fn make_ca(kube: &Kube<'_>, namespace: &str) -> Result<String> {
    let ca = pki::Ca::new("mailcert demo CA")?;
    let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "mail-ca", "namespace": namespace},
        "stringData": {"tls.crt": ca.cert_pem, "tls.key": ca.key_pem}});
    kube.run_with(&["apply", "-f", "-"], &secret.to_string())?;
    Ok(ca.cert_pem)
}
