//! Verdicts beside those of `openssl verify`, on NIST's PKITS and on every other certificate of the vectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;
use mailcert::pki::import::{Expectation, Input, Request, judge, read};
use mailcert::pki::{Anchors, Certificate};

use crate::ground::{check_page, run, vectors, without};

/// Findings about the path. What a mail server needs besides (names, a common name among them, purposes) is no matter of
/// `openssl verify`.
const ABOUT_THE_PATH: [&str; 11] = [
    "Unreadable",
    "LeafIsCA",
    "ChainIncomplete",
    "ChainBroken",
    "Expired",
    "NotYetValid",
    "WeakKey",
    "WeakSignature",
    "NameConstraints",
    "UnknownCriticalExtension",
    "NotTrusted",
];

/// Why a verdict differs, by what we find where OpenSSL accepts: the code, words of the message or the file's name, and the
/// reason.
const WHY: &[(&str, &str, &str)] = &[
    ("LeafIsCA", "", "a server needs a leaf certificate; OpenSSL takes a CA certificate as leaf"),
    ("WeakKey", "", "clients refuse RSA below 2048 bits, DSA and unknown curves; OpenSSL's default level takes them"),
    ("WeakSignature", "", "clients refuse SHA-1 and DSA signatures; OpenSSL's default level takes them"),
    (
        "UnknownCriticalExtension",
        "",
        "mail clients (rustls, Go, GnuTLS in part) refuse critical policy extensions; OpenSSL processes them",
    ),
    (
        "NameConstraints",
        "",
        "webpki, and so every client built on rustls, takes constraints on directory names, e-mail addresses and URIs as \
         violated whatever they say; OpenSSL evaluates them. Allow the finding where no such client matters",
    ),
    (
        "ChainIncomplete",
        "",
        "names must agree byte by byte; OpenSSL compares them without regard to case, white space and kind of string (RFC 5280, section 7.1)",
    ),
    (
        "ChainBroken",
        "",
        "names must agree byte by byte and the issuer must be a CA (RFC 5280 lets OpenSSL compare names without case)",
    ),
    ("Unreadable", "", "the DER is not strict; OpenSSL reads more than RFC 5280 allows"),
    (
        "NotTrusted",
        "pathLenConstraint",
        "webpki, and so every client built on rustls, counts a certificate that a CA issued to itself against the length of \
         the path; RFC 5280 (section 6.1.4) and OpenSSL do not",
    ),
    (
        "NotTrusted",
        "DNnameConstraints",
        "webpki, and so every client built on rustls, takes constraints on directory names as violated; OpenSSL evaluates them",
    ),
    ("NotTrusted", "BadDerTime", "webpki, and so every client built on rustls, reads no dates before 1970"),
    (
        "NotTrusted",
        "TrailingData",
        "webpki, and so every client built on rustls, reads no unique identifiers in a certificate",
    ),
];

struct Verdicts {
    /// By file: what we find about the path, code and message.
    ours: BTreeMap<String, BTreeMap<String, String>>,
    /// By file: what OpenSSL says, `None` when it accepts.
    theirs: BTreeMap<String, Option<String>>,
}

/// Reads every certificate of a folder; those that cannot be read are kept for OpenSSL.
fn certificates(folder: &Path) -> Vec<(PathBuf, Option<Certificate>)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let bytes = fs::read(&path).unwrap();
            let inputs = [Input { name: "f", bytes: &bytes }];
            let leaf = read(&Request::new(&inputs)).0.chain.map(|chain| chain.leaf().clone());
            let is_one = leaf.is_some() || bytes.starts_with(b"-----BEGIN CERTIFICATE");
            is_one.then_some((path, leaf))
        })
        .collect()
}

/// Judges each leaf with all of `pool` at hand and `roots` trusted, by us and by OpenSSL.
fn verdicts(
    leaves: &[(PathBuf, Option<Certificate>, Timestamp)],
    pool: &[Certificate],
    roots: &[Certificate],
) -> Verdicts {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, list: &[Certificate]| {
        fs::write(folder.path().join(name), list.iter().map(Certificate::to_pem).collect::<String>()).unwrap();
    };
    write("pool.pem", pool);
    write("roots.pem", roots);
    let expectation = Expectation {
        usages: Vec::new(),
        warn_before: Vec::new(),
        anchors: Anchors::own(roots.iter().cloned()),
        ..Expectation::default()
    };
    let mut found = Verdicts { ours: BTreeMap::new(), theirs: BTreeMap::new() };
    // One process for all that are judged at one time.
    let mut times: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (path, _, at) in leaves {
        let bytes = fs::read(path).unwrap();
        let inputs = [Input { name: "f", bytes: &bytes }];
        let (imported, mut findings) = read(&Request { extra_issuers: pool, ..Request::new(&inputs) });
        findings.extend(judge(&imported, &expectation, *at));
        let errors = findings.iter().filter(|f| f.is_error() && ABOUT_THE_PATH.contains(&f.code.word()));
        let path_findings = errors.map(|f| (f.code.to_string(), f.message.clone())).collect();
        found.ours.insert(file_name(path), path_findings);
        times.entry(at.as_second()).or_default().push(path.to_string_lossy().into_owned());
    }
    for (at, files) in times {
        let at = at.to_string();
        let fixed = ["verify", "-attime", &at, "-CAfile", "roots.pem", "-untrusted", "pool.pem"];
        let arguments: Vec<&str> = fixed.into_iter().chain(files.iter().map(String::as_str)).collect();
        let said = run(folder.path(), "openssl", &arguments).1;
        let accepted: BTreeSet<&str> = said.lines().filter_map(|line| line.strip_suffix(": OK")).collect();
        // "error 20 at 0 depth lookup: REASON" stands before "error FILE: verification failed".
        let (mut reason, mut reasons) = ("it cannot be loaded", BTreeMap::new());
        for line in said.lines() {
            if let Some((_, words)) = line.split_once(" depth lookup: ") {
                reason = words;
            } else if let Some(file) = line.strip_prefix("error ").and_then(|l| l.strip_suffix(": verification failed"))
            {
                reasons.insert(file, reason);
            }
        }
        for file in &files {
            let refused = (!accepted.contains(file.as_str()))
                .then(|| (*reasons.get(file.as_str()).unwrap_or(&"it cannot be loaded")).to_owned());
            found.theirs.insert(file_name(Path::new(file)), refused);
        }
    }
    found
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The table of those on which we and OpenSSL differ, and a count of the others.
fn differences(title: &str, verdicts: &Verdicts) -> String {
    let (mut both_accept, mut both_refuse, mut rows) = (0, 0, String::new());
    let mut unexplained = Vec::new();
    for (name, ours) in &verdicts.ours {
        let theirs = &verdicts.theirs[name];
        match (ours.is_empty(), theirs) {
            (true, None) => both_accept += 1,
            (false, Some(_)) => both_refuse += 1,
            (false, None) => {
                let codes: Vec<&str> = ours.keys().map(String::as_str).collect();
                let applies = |(code, words, _): &&(&str, &str, &str)| {
                    ours.get(*code).is_some_and(|m| m.contains(words) || name.contains(words))
                };
                let found: Vec<_> = WHY.iter().filter(applies).collect();
                let why: Vec<&str> = found.iter().map(|(_, _, why)| *why).collect();
                if codes.iter().any(|code| found.iter().all(|(known, ..)| known != code)) {
                    unexplained.push(format!("{name}: OpenSSL accepts, we find {ours:?}"));
                }
                rows.push_str(&format!("| {name} | {} | accepts | {} |\n", codes.join(", "), why.join("; ")));
            }
            (true, Some(reason)) => {
                let why = accepted(reason);
                if why.is_none() {
                    unexplained.push(format!("{name}: OpenSSL refuses ({reason}), we accept"));
                }
                rows.push_str(&format!("| {name} | accepts | {reason} | {} |\n", why.unwrap_or_default()));
            }
        }
    }
    assert!(unexplained.is_empty(), "not explained: {unexplained:#?}");
    format!(
        "\n{title}: {} certificates, {both_accept} accepted by both, {both_refuse} refused by both, and these differ:\n\n\
         | file | mailcert | `openssl verify` | why |\n|---|---|---|---|\n{rows}",
        verdicts.ours.len()
    )
}

/// Why we accept what OpenSSL refuses.
fn accepted(reason: &str) -> Option<&'static str> {
    let known = [
        ("self-signed certificate", "it is one of the roots, pinned byte by byte"),
        ("unsupported or invalid name syntax", "the name constraint is of a kind that no name of the leaf has"),
    ];
    known.iter().find(|(words, _)| reason.contains(words)).map(|(_, why)| *why)
}

#[test]
fn verdicts_are_those_of_openssl_or_explained() {
    let Some(root) = vectors() else { return };
    if without("openssl") {
        return;
    }
    let at: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let all = certificates(&root.join("x509/PKITS_data/certs"));
    let is = |path: &Path, end: &str| path.file_stem().unwrap().to_string_lossy().ends_with(end);
    let anchor = all.iter().find(|(p, _)| is(p, "TrustAnchorRootCertificate")).unwrap().1.clone().unwrap();
    let pool: Vec<Certificate> = all.iter().filter(|(p, _)| !is(p, "EE")).filter_map(|(_, c)| c.clone()).collect();
    let leaves: Vec<_> = all.into_iter().filter(|(p, _)| is(p, "EE")).map(|(p, c)| (p, c, at)).collect();
    assert!(leaves.len() > 150, "{}", leaves.len());
    let pkits = differences("PKITS", &verdicts(&leaves, &pool, &[anchor]));

    let folders = ["x509", "x509/custom", "x509/ed25519", "x509/ed448"];
    let others: Vec<_> = folders.iter().flat_map(|folder| certificates(&root.join(folder))).collect();
    let known: Vec<Certificate> = others.iter().filter_map(|(_, c)| c.clone()).collect();
    let roots: Vec<Certificate> = known.iter().filter(|c| c.is_ca && c.self_issued).cloned().collect();
    // Each in the middle of its own time.
    let middle =
        |c: &Certificate| Timestamp::from_second((c.not_before.as_second() + c.not_after.as_second()) / 2).unwrap();
    let leaves: Vec<_> = others
        .into_iter()
        .map(|(p, c)| {
            let at = c.as_ref().map_or(at, middle);
            (p, c, at)
        })
        .collect();
    let others = differences("The others", &verdicts(&leaves, &known, &roots));
    check_page("verdicts", &format!("{pkits}{others}"));
}
