//! Every vector file, and whether it imports: the tables of docs/import-formats.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::ground::{check_page, import, outcome, vectors};

/// The passwords that the project's own tests use, in the order in which they are tried.
const PASSWORDS: [Option<&str>; 12] = [
    None,
    Some("cryptography"),
    Some("password"),
    Some("123456"),
    Some("foobar"),
    Some("baz"),
    Some("hunter42"),
    Some("asdf"),
    Some("a123456"),
    Some("changeit"),
    Some("PolarSSLTest"),
    Some("some password"),
];

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.path().is_file())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| !n.ends_with(".txt") && !n.ends_with(".py"))
        .collect();
    names.sort_unstable();
    names
}

/// What comes of a file with the first password that opens it.
fn tried(folder: &Path, name: &str) -> (Option<&'static str>, String) {
    let bytes = fs::read(folder.join(name)).unwrap();
    let mut first = None;
    for password in PASSWORDS {
        let (imported, findings) = import(&[(name, &bytes)], password);
        let closed = findings.iter().any(|f| f.code == "PasswordWrong" || f.code == "PasswordMissing");
        let result = outcome(&imported, &findings);
        if !closed {
            return (password, result);
        }
        first.get_or_insert(result);
    }
    (None, first.unwrap())
}

fn table(root: &Path, folder: &str) -> String {
    let mut text = format!("\n`{folder}`\n\n| file | password | result |\n|---|---|---|\n");
    for name in files(&root.join(folder)) {
        let (password, result) = tried(&root.join(folder), &name);
        let password = password.map_or("-".to_owned(), |p| format!("`{p}`"));
        text.push_str(&format!("| {name} | {password} | {result} |\n"));
    }
    text
}

#[test]
fn every_pkcs12_and_key_file_imports_or_says_why_not() {
    let Some(root) = vectors() else { return };
    let folders = ["pkcs12", "asymmetric/PKCS8", "asymmetric/Traditional_OpenSSL_Serialization"];
    let text: String = folders.iter().map(|folder| table(&root, folder)).collect();
    check_page("keys and PKCS#12", text.trim_start());
}

#[test]
fn every_certificate_file_imports_or_says_why_not() {
    let Some(root) = vectors() else { return };
    let folders = ["x509", "x509/custom", "x509/custom/ca", "x509/ed25519", "x509/ed448"];
    let text: String = folders.iter().map(|folder| table(&root, folder)).collect();
    check_page("certificates", text.trim_start());
}

#[test]
fn every_file_of_pkits_imports_or_says_why_not() {
    let Some(root) = vectors() else { return };
    let mut text = "| folder | files | result | which |\n|---|---|---|---|\n".to_owned();
    for folder in ["x509/PKITS_data/pkcs12", "x509/PKITS_data/certs"] {
        let mut results: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in files(&root.join(folder)) {
            let bytes = fs::read(root.join(folder).join(&name)).unwrap();
            let (imported, findings) = import(&[(&name, &bytes)], Some("password"));
            results.entry(outcome(&imported, &findings)).or_default().push(name);
        }
        for (result, names) in results {
            let named = if names.len() <= 8 { names.join(", ") } else { String::new() };
            text.push_str(&format!("| `{folder}` | {} | {result} | {named} |\n", names.len()));
        }
    }
    check_page("PKITS", &text);
}
