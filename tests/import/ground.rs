//! What these tests share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs};

use mailcert::pki::import::{Finding, Imported, Input, Request, read};
use mailcert_testenv::vectors;

/// The page that holds what these tests found.
const PAGE: &str = "docs/import-formats.md";

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Says why a test is left out, and fails where everything has to run.
fn skip(why: &str) {
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI=true: {why}");
    eprintln!("left out: {why}");
}

/// Whether a program is missing.
pub fn without(program: &str) -> bool {
    let found = env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|p| p.join(program).is_file()));
    if !found {
        skip(&format!("there is no {program} (`make packages` installs it)"));
    }
    !found
}

/// The vectors of Python's cryptography.
pub fn vectors() -> Option<PathBuf> {
    vectors::cryptography().map_err(|error| skip(&error.to_string())).ok()
}

/// Runs a program in `folder`.
pub fn run(folder: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The same where it has to succeed.
pub fn must(folder: &Path, program: &str, arguments: &[&str]) {
    let (well, text) = run(folder, program, arguments);
    assert!(well, "{program} {arguments:?}: {text}");
}

pub fn import(inputs: &[(&str, &[u8])], password: Option<&str>) -> (Imported, Vec<Finding>) {
    let inputs: Vec<Input<'_>> = inputs.iter().map(|(name, bytes)| Input { name, bytes }).collect();
    read(&Request { password: password.map(str::as_bytes), ..Request::new(&inputs) })
}

/// What came of an import, for a table. That a file is only half of a pair is no refusal of it.
pub fn outcome(imported: &Imported, findings: &[Finding]) -> String {
    let half = |f: &&Finding| f.code != "NoKey" && f.code != "NoCertificate";
    let mut errors: Vec<String> =
        findings.iter().filter(|f| f.is_error()).filter(half).map(|f| f.code.to_string()).collect();
    errors.dedup();
    let certificates = imported.chain.as_ref().map_or(0, |chain| chain.iter().count())
        + imported.left_out.len()
        + imported
            .ca
            .iter()
            .filter(|ca| imported.chain.iter().all(|c| c.iter().all(|c| c.fingerprint != ca.fingerprint)))
            .count();
    let certificates = match certificates {
        0 => None,
        1 => Some("1 certificate".to_owned()),
        n => Some(format!("{n} certificates")),
    };
    let key = imported.key.as_ref().map(|key| format!("key ({})", key.spec()));
    let parts: Vec<String> = key.into_iter().chain(certificates).collect();
    match (errors.is_empty(), parts.is_empty()) {
        (true, false) => format!("imports: {}", parts.join(", ")),
        (true, true) => "nothing in it".to_owned(),
        (false, _) => format!("refused: {}", errors.join(", ")),
    }
}

static WRITING: Mutex<()> = Mutex::new(());

/// Compares the part of the page between two marks with what was found, or writes it when told so (`UPDATE=1`).
pub fn check_page(part: &str, found: &str) {
    let _one = WRITING.lock().unwrap();
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {part}: written by tests/import -->\n"), format!("<!-- end of {part} -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{PAGE} has no {begin}"));
    let (written, after) = rest.split_once(&end).unwrap();
    let found = format!("\n{found}\n");
    if env::var_os("UPDATE").is_some_and(|v| v == "1") {
        fs::write(&path, format!("{before}{begin}{found}{end}{after}")).unwrap();
        return;
    }
    let differing: Vec<_> = written.lines().zip(found.lines()).filter(|(a, b)| a != b).take(5).collect();
    assert!(written == found, "{PAGE}: {part} is stale (UPDATE=1 writes it), first differences: {differing:#?}");
}
