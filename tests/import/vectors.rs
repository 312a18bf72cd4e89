//! Every vector file, and whether it imports: the tables of docs/import-formats.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};

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

/// The files of RFC 9579, appendix A: PKCS#12 with PBMAC1, as OpenSSL 3.4 and NSS make them on request. The password is 1234.
#[test]
fn every_file_of_rfc_9579_imports_or_says_why_not() {
    let mut text = "| file | with | password | result |\n|---|---|---|---|\n".to_owned();
    for (name, with, wanted) in [
        ("a1", "HMAC and PRF with SHA-256", ""),
        ("a2", "HMAC with SHA-256, PRF with SHA-512", ""),
        ("a3", "HMAC and PRF with SHA-512", ""),
        ("a4", "a count of rounds that was changed", "the password is wrong; check which one the file was made with"),
        ("a5", "a salt that was changed", "the password is wrong; check which one the file was made with"),
        (
            "a6",
            "no length of the key",
            "it is damaged: its integrity check (PBMAC1) has no key length, or one that is too short or too long. Export it again",
        ),
    ] {
        let path = crate::ground::root().join(format!("tests/import/rfc9579/{name}.txt"));
        let base64 = fs::read_to_string(path).unwrap().split_whitespace().collect::<String>();
        let bytes = BASE64_STANDARD.decode(base64).unwrap();
        let (imported, findings) = import(&[(name, &bytes)], Some("1234"));
        let errors: Vec<&str> = findings.iter().filter(|f| f.is_error()).map(|f| f.message.as_str()).collect();
        if wanted.is_empty() {
            assert_eq!(errors, [""; 0], "{name}");
            assert_eq!(imported.key.as_ref().unwrap().spki_der(), imported.chain.as_ref().unwrap().leaf().spki_der());
            for (given, code) in [(None, "PasswordMissing"), (Some("12345"), "PasswordWrong")] {
                assert!(import(&[(name, &bytes)], given).1.iter().any(|f| f.code == code), "{name} with {given:?}");
            }
        } else {
            assert_eq!(errors, [wanted], "{name}");
        }
        text.push_str(&format!("| A.{} | {with} | `1234` | {} |\n", &name[1..], outcome(&imported, &findings)));
    }
    check_page("RFC 9579", &text);
}

/// Keys under another label than theirs import; ciphers that nobody should use any more are named.
#[test]
fn unusual_key_files_import_or_are_refused_by_name() {
    let Some(root) = vectors() else { return };
    for (name, wanted) in [
        ("wrong-pem-delimiter-rsa.pem", Ok("RSA 2048")),
        (
            "rsa-rc2-cbc.pem",
            Err("it is encrypted with RC2 (PBES2), which is not supported; export it again with AES-256"),
        ),
        (
            "enc-ec-sha1-128-rc4.pem",
            Err("it is encrypted with PBE-SHA1-RC4-128, which is not supported; export it again with AES-256"),
        ),
        (
            "rsa-pbewithmd5anddescbc.pem",
            Err("it is encrypted with PBE-MD5-DES, which is not supported; export it again with AES-256"),
        ),
        ("enc-unknown-kdf.pem", Err("it is encrypted with an algorithm that is not known here (")),
        ("enc-unknown-algorithm.pem", Err("it is encrypted with an algorithm that is not known here (")),
        (
            "enc-unknown-pbkdf2-prf.pem",
            Err("it is encrypted with PBES2 whose key derivation has parameters that are not known"),
        ),
    ] {
        let bytes = fs::read(root.join("asymmetric/PKCS8").join(name)).unwrap();
        let (imported, findings) = import(&[(name, &bytes)], Some("cryptography"));
        match wanted {
            Ok(kind) => assert_eq!(imported.key.unwrap().spec().to_string(), kind, "{name}: {findings:?}"),
            Err(words) => {
                let found: Vec<_> = findings.iter().map(|f| (f.code.word(), f.message.as_str())).collect();
                let told = |(code, message): &(&str, &str)| *code == "Unsupported" && message.starts_with(words);
                assert!(imported.key.is_none() && found.iter().any(told), "{name}: {found:?}");
            }
        }
    }
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
