//! Generated files that are committed are fresh. `UPDATE=1 cargo test --test generated` writes them.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{env, fs, path::Path, sync::Mutex};

mod helm;

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

/// Tests run side by side, and write when told to: what Helm reads must not be half written.
static ONE: Mutex<()> = Mutex::new(());

fn check_crds() {
    let files = generate::files().unwrap();
    for (path, content) in &files {
        check(path, content);
    }
    for folder in ["crds", "charts/mailcert/templates/crds", "docs/reference"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(files.contains_key(&path), "{path} is not generated from any kind: remove it");
        }
    }
}

/// The part of the README that is made from the code.
const BEGIN: &str = "<!-- made from src/api/reasons.rs by `make generate` -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_readme_explains_every_condition_and_reason() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has the begin mark");
    let (_, after) = rest.split_once(END).expect("README.md has the end mark");
    let page = generate::files().unwrap().remove("docs/reference/conditions.md").unwrap();
    let (_, tables) = page.split_once("\n## ").unwrap();
    let tables = format!("## {tables}").replace("\n## ", "\n### ").replacen("## ", "### ", 1);
    check("README.md", &format!("{before}{BEGIN}\n{tables}\n{END}{after}"));
}

#[test]
fn crds_are_fresh() {
    let _one = ONE.lock().unwrap();
    check_crds();
}

#[test]
fn the_install_manifest_is_fresh() {
    let Some(helm) = helm::find() else { return };
    let _one = ONE.lock().unwrap();
    if update() {
        check_crds();
    }
    let rendered = helm::template(&helm, &["--namespace", "mailcert-system"]).unwrap();
    check(INSTALL, &format!("{NAMESPACE}{rendered}"));
}
