//! Every example, and every YAML block of the documentation, is accepted by a real API server.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests too")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::cluster;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder that end so, sorted.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What the API server objects to, in a namespace that exists whatever the text says.
fn refusal(yaml: &str) -> Option<String> {
    for line in yaml.lines() {
        if let Some(namespace) = line.trim().strip_prefix("namespace: ") {
            let _ = cluster().kubectl(&["create", "namespace", namespace.trim()]);
        }
    }
    let args = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
    cluster().kubectl_with(&args, yaml).err().map(|error| error.to_string())
}

#[test]
fn every_example_applies() {
    let mut tried = 0;
    for path in files(&root().join("examples"), ".yaml") {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        if name.ends_with("kustomization.yaml") {
            let folder = path.parent().unwrap().display().to_string();
            let built = cluster().kubectl(&["kustomize", &folder]).unwrap();
            assert_eq!(refusal(&built), None, "{name}");
        } else {
            assert_eq!(refusal(&fs::read_to_string(&path).unwrap()), None, "{name}");
        }
        tried += 1;
    }
    assert!(tried > 5, "{tried} examples");
}

/// Every solver has a page, with its complete example as it is applied above.
#[test]
fn every_solver_has_a_page_with_its_example() {
    let mut pages: Vec<_> = files(&root().join("docs/solvers"), ".md");
    assert_eq!(pages.len(), 6, "{pages:?}");
    pages.push(root().join("docs/cert-manager.md"));
    let index = fs::read_to_string(root().join("README.md")).unwrap();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        assert!(index.contains(&format!("]({name})")), "README.md does not link {name}");
        let folder = root().join("examples").join(page.file_stem().unwrap());
        let parts = files(&folder, ".yaml");
        for needed in ["issuer.yaml", "certificate.yaml"] {
            assert!(parts.contains(&folder.join(needed)), "{} has no {needed}", folder.display());
        }
        let shown = blocks(&text);
        for part in parts {
            let example = fs::read_to_string(&part).unwrap();
            assert!(
                shown.iter().any(|(_, block)| *block == example),
                "{name} does not show {} as it is",
                part.display()
            );
        }
    }
}

/// The YAML blocks of a Markdown text, with the line that each begins at.
fn blocks(markdown: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = line.trim() == "```yaml";
            if inside {
                found.push((number + 2, String::new()));
            }
        } else if inside && let Some((_, text)) = found.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    found
}

#[test]
fn every_object_in_the_documentation_applies() {
    let mut tried = 0;
    let mut pages = files(&root().join("docs"), ".md");
    pages.push(root().join("README.md"));
    pages.extend(files(&root().join("examples"), ".md"));
    for path in pages {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        for (line, yaml) in blocks(&fs::read_to_string(&path).unwrap()) {
            if yaml.contains("apiVersion:") {
                assert_eq!(refusal(&yaml), None, "{name}:{line}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 2, "{tried} objects");
}
