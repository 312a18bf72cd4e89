//! What is shown when the demo does not get there.

use super::{
    kube::{Kube, items, text},
    screen,
};
use mailcert_testenv::Error;

/// Where to look.
pub struct Scene<'a> {
    /// The cluster.
    pub kube: &'a Kube<'a>,
    /// Where the quick start was applied.
    pub namespace: &'a str,
    /// How to see the operator's log: arguments of kubectl, or a file.
    pub log: Log<'a>,
    /// How to look around.
    pub hint: &'a str,
}

/// Where the operator's log is.
pub enum Log<'a> {
    /// The namespace and the name of its Deployment.
    Deployment(&'a str, &'a str),
    /// A file.
    File(&'a std::path::Path),
}

/// Prints the objects' conditions, the pods, the latest Events and the log's end. Returns the error, for its exit status.
pub fn explain(scene: &Scene<'_>, error: Error) -> Error {
    screen::say("\nIt did not get there. What the cluster says:");
    conditions(scene);
    let namespace = ["-n", scene.namespace];
    for args in [["get", "pods"], ["get", "events"]] {
        let sorted: &[&str] = if args[1] == "events" { &["--sort-by=.lastTimestamp"] } else { &["-o", "wide"] };
        let shown = scene.kube.run(&[&args, namespace.as_slice(), sorted].concat());
        let shown = shown.unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = shown.lines().collect();
        screen::say(&format!("\n{}:\n{}", args[1], lines[lines.len().saturating_sub(15)..].join("\n")));
    }
    let log = match scene.log {
        Log::Deployment(namespace, name) => {
            scene.kube.run(&["logs", "-n", namespace, &format!("deployment/{name}"), "--tail=20"])
        }
        Log::File(path) => std::fs::read_to_string(path).map_err(|error| Error::new(error.to_string())),
    };
    let log = log.unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = log.lines().collect();
    screen::say(&format!("\noperator's log:\n{}", lines[lines.len().saturating_sub(20)..].join("\n")));
    screen::say(&format!("\n{}\n", scene.hint));
    error
}

fn conditions(scene: &Scene<'_>) {
    for name in ["mailissuer/letsencrypt", "mailcertificate/mail", "maildomain/mail"] {
        match scene.kube.get(&["-n", scene.namespace, name]) {
            Err(error) => screen::say(&format!("\n{name}: {error}")),
            Ok(object) => {
                screen::say(&format!("\n{name}:"));
                let rows = items(&object, "/status/conditions").iter();
                let rows = rows
                    .map(|one| ["/type", "/status", "/reason", "/message"].map(|p| text(one, p).to_owned()).to_vec());
                screen::table(&rows.collect::<Vec<_>>());
            }
        }
    }
}
