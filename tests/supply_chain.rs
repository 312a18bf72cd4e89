//! Crates that must not be part of the program: `deny.toml` says why. Here without cargo-deny, on what cargo resolved.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{path::Path, process::Command};

/// The crates that `deny.toml` bans.
fn banned() -> Vec<String> {
    let deny = read("deny.toml");
    let list = deny.split_once("\ndeny = [").unwrap().1.split_once("\n]").unwrap().0;
    let names: Vec<_> =
        list.split("crate = \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert!(names.len() >= 5, "deny.toml bans fewer crates than it did: {names:?}");
    names
}

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// Every `dependent → dependency` of a lock file.
fn edges(lock: &str) -> Vec<(String, String)> {
    let mut edges = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.split_once("name = \"").unwrap().1.split('"').next().unwrap();
        let dependencies =
            package.split_once("dependencies = [").map_or("", |(_, rest)| rest.split(']').next().unwrap());
        for dependency in dependencies.split('"').skip(1).step_by(2) {
            edges.push((name.to_owned(), dependency.split(' ').next().unwrap().to_owned()));
        }
    }
    assert!(edges.len() > 300, "Cargo.lock was not understood: {} dependencies", edges.len());
    edges
}

#[test]
fn no_banned_crate_is_locked() {
    let banned = banned();
    // A lock file also lists what only a feature that is off would bring: these name ring that way.
    let off = [("rustls-webpki", "ring"), ("hickory-proto", "ring")];
    let found: Vec<_> = edges(&read("Cargo.lock"))
        .into_iter()
        .filter(|(from, to)| banned.contains(to) && !off.contains(&(from.as_str(), to.as_str())))
        .collect();
    assert!(found.is_empty(), "turn off the feature that brings these in (cargo tree -i CRATE -e features): {found:?}");
}

#[test]
fn no_banned_crate_is_built() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--workspace", "--edges", "normal,build,dev", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let built: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(built.contains(&"aws-lc-rs"), "the output of cargo tree was not understood");
    let banned = banned();
    let found: Vec<_> = built.into_iter().filter(|name| banned.iter().any(|b| b == name)).collect();
    assert!(found.is_empty(), "banned crates are built: {found:?}");
}

/// Name and version of every package of a lock file.
fn packages(lock: &str) -> Vec<(String, String)> {
    let field = |package: &str, name: &str| {
        let rest = package.split_once(&format!("{name} = \"")).unwrap().1;
        rest.split('"').next().unwrap().to_owned()
    };
    lock.split("[[package]]").skip(1).map(|package| (field(package, "name"), field(package, "version"))).collect()
}

#[test]
fn what_is_fuzzed_is_what_is_built() {
    let (built, fuzzed) = (packages(&read("Cargo.lock")), packages(&read("fuzz/Cargo.lock")));
    assert!(fuzzed.len() > 100, "fuzz/Cargo.lock was not understood: {} packages", fuzzed.len());
    let own = ["mailcert-fuzz", "libfuzzer-sys", "arbitrary"];
    let other: Vec<_> = fuzzed.iter().filter(|p| !own.contains(&p.0.as_str()) && !built.contains(p)).collect();
    assert!(
        other.is_empty(),
        "of another version than in Cargo.lock (copy that to fuzz/, then cargo metadata there): {other:?}"
    );
}
