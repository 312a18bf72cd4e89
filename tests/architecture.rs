//! The invariants of ARCHITECTURE.md that a machine can check.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {folder}");
    found
}

fn is_test(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs")
}

/// The lines of the code proper: without comments, and without the tests at the end of a file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(i, l)| (i + 1, l));
    lines.take_while(|(_, l)| l.trim() != "#[cfg(test)]").filter(|(_, l)| !l.trim_start().starts_with("//"))
}

/// Every line of `folder` that has one of the words, except in files whose path contains `except`.
fn offenders(folder: &str, words: &[&str], except: &[&str]) -> Vec<String> {
    let mut offenders = Vec::new();
    for (path, text) in sources(folder) {
        let excused = except.iter().any(|e| path.to_string_lossy().contains(e));
        if is_test(&path) || excused {
            continue;
        }
        for (number, line) in code(&text) {
            if words.iter().any(|w| line.contains(w)) {
                offenders.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    offenders
}

const IO: &[&str] = &[
    "tokio::",
    "kube::Client",
    "kube::Api",
    "Api<",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::env",
    "hyper",
    "::now()",
    "async fn",
];

#[test]
fn decide_and_pki_are_pure() {
    for folder in ["src/decide", "src/pki"] {
        assert_eq!(offenders(folder, IO, &[]), Vec::<String>::new());
    }
    let upwards =
        ["crate::controller", "crate::issuers", "crate::solvers", "crate::probes", "crate::operating", "crate::cli"];
    for folder in ["src/decide", "src/pki", "src/api"] {
        assert_eq!(offenders(folder, &upwards, &[]), Vec::<String>::new(), "the flow goes one way");
    }
}

#[test]
fn certificate_libraries_stay_in_pki() {
    let words = ["rcgen::", "x509_parser::", "webpki::"];
    assert_eq!(offenders("src", &words, &["src/pki"]), Vec::<String>::new());
}

#[test]
fn yaml_stays_in_one_place() {
    assert_eq!(
        offenders("src", &["serde_yaml::"], &["src/cli/crds.rs", "src/cli/generate.rs", "src/cli/proposed.rs"]),
        Vec::<String>::new()
    );
}

#[test]
fn files_stay_readable() {
    const LONGEST: usize = 500;
    let long: Vec<String> = sources("src")
        .into_iter()
        .chain(sources("testenv/src"))
        .filter(|(path, text)| !is_test(path) && code(text).count() > LONGEST)
        .map(|(path, text)| format!("{} has {} lines", path.display(), code(&text).count()))
        .collect();
    assert_eq!(long, Vec::<String>::new(), "split what one head cannot hold");
}

#[test]
fn the_map_names_every_folder() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            assert!(map.contains(&format!("`src/{name}/`")), "ARCHITECTURE.md does not say what src/{name}/ is for");
        }
    }
}
