//! What the documentation says of the code is so: links lead somewhere, and messages are those that the code writes.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests too")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    found
}

fn pages() -> Vec<PathBuf> {
    let own = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let mut pages: Vec<_> = own.iter().map(|page| root().join(page)).collect();
    for folder in ["docs", "examples", "charts/mailcert"] {
        pages.extend(files(folder, ".md"));
    }
    pages
}

/// As GitHub makes them of headings.
fn anchors(markdown: &str) -> Vec<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let text: String = heading.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect();
        text.replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let (mut broken, mut followed) = (Vec::new(), 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            followed += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let there = target.exists()
                && (anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).iter().any(|a| a == anchor));
            if !there {
                broken.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(followed > 60, "{followed} links");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The sources with their string literals in one piece: continued lines joined, escapes resolved.
fn sources() -> String {
    let mut all = String::new();
    for path in files("src", ".rs") {
        let text = fs::read_to_string(path).unwrap();
        let mut pieces = text.split("\\\n");
        all.push_str(pieces.next().unwrap_or_default());
        pieces.for_each(|piece| all.push_str(piece.trim_start()));
    }
    all.replace("\\\"", "\"").replace("{{", "{").replace("}}", "}")
}

/// The messages in the first column of a page's tables of failures.
fn messages(markdown: &str) -> Vec<&str> {
    let rows = markdown.lines().skip_while(|line| !line.starts_with("| message |")).filter(|l| l.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_start_matches("| ").split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn messages_are_those_that_the_code_writes() {
    /// Shorter pieces say nothing.
    const TELLING: usize = 6;
    let sources = sources();
    let (mut unknown, mut known) = (Vec::new(), 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for message in messages(&text) {
            // Values stand for others: numbers, and what is left out.
            let pieces = message.split(|c: char| c == '…' || c.is_ascii_digit()).map(str::trim);
            for piece in pieces.filter(|piece| piece.len() >= TELLING) {
                known += 1;
                if !sources.contains(piece) {
                    unknown.push(format!("{}: {piece:?}", page.strip_prefix(root()).unwrap().display()));
                }
            }
        }
    }
    assert!(known > 80, "{known} pieces");
    assert!(unknown.is_empty(), "no code writes this:\n{}", unknown.join("\n"));
}
