//! Generated files that are committed are fresh. `UPDATE=1 cargo test --test generated` writes them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use mailcert::cli::generate;

const INSTALL: &str = "deploy/install.yaml";
/// What `kubectl apply` needs and Helm makes by itself.
const NAMESPACE: &str = "\
# Generated from charts/mailcert with its default values by `make generate`. Do not edit.
---
apiVersion: v1
kind: Namespace
metadata:
  name: mailcert-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn update() -> bool {
    env::var_os("UPDATE").is_some_and(|v| v == "1")
}

/// Compares one file with what it should be, or writes it.
fn check(path: &str, expected: &str) {
    let file = root().join(path);
    if update() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count() + 1;
    assert!(found == expected, "{path} is stale from line {line} on: run `make generate` and commit the result");
}

fn check_crds() {
    let files = generate::files().unwrap();
    for (path, content) in &files {
        check(path, content);
    }
    for folder in ["crds", "charts/mailcert/templates/crds"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(files.contains_key(&path), "{path} is not generated from any kind: remove it");
        }
    }
}

/// Helm, from `$HELM`, `$PATH` or the test environment's cache. Without it a test is skipped, except in CI.
fn helm() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let found = env::var_os("HELM")
        .map(PathBuf::from)
        .into_iter()
        .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default()).map(|dir| dir.join("helm")))
        .chain(cache.map(|dir| dir.join("mailcert/tools/helm")))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "helm is needed in CI: set HELM to its path");
        eprintln!("skipped: helm is neither at $HELM nor on the path nor in the test environment's cache");
    }
    found
}

#[test]
fn crds_are_fresh() {
    check_crds();
}

#[test]
fn the_install_manifest_is_fresh() {
    let Some(helm) = helm() else { return };
    if update() {
        check_crds();
    }
    let chart = root().join("charts/mailcert");
    let output = Command::new(helm)
        // A Helm that was built from source may take itself to be for an old Kubernetes.
        .args(["template", "mailcert", "--namespace", "mailcert-system", "--kube-version", "1.33.0"])
        .arg(chart)
        .output()
        .unwrap();
    assert!(output.status.success(), "helm template failed: {}", String::from_utf8_lossy(&output.stderr));
    check(INSTALL, &format!("{NAMESPACE}{}", String::from_utf8(output.stdout).unwrap()));
}
