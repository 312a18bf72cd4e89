//! kubectl, and what its JSON says.

use mailcert_testenv::{Cluster, Error, Result};
use serde_json::Value;
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Which cluster the demo talks to.
pub enum Kube<'a> {
    /// One of its own.
    Own(&'a Cluster),
    /// That of the user's current context, through this kubectl.
    Current(&'a Path),
}

impl Kube<'_> {
    /// Runs kubectl and returns what it prints; its complaints are in the error.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.run_with(args, "")
    }

    /// As [`Kube::run`], with `input` on standard input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Result<String> {
        match self {
            Self::Own(cluster) => cluster.kubectl_with(args, input),
            Self::Current(kubectl) => run(Command::new(kubectl).args(args), input),
        }
    }

    /// The objects that `kubectl get ARGS` shows.
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let text = self.run(&[&["get", "-o", "json"], args].concat())?;
        serde_json::from_str(&text).map_err(|error| Error::new(format!("kubectl get {}: {error}", args.join(" "))))
    }

    /// Whether there is such an object.
    pub fn has(&self, args: &[&str]) -> Result<bool> {
        let found = self.run(&[&["get", "-o", "name", "--ignore-not-found"], args].concat())?;
        Ok(!found.trim().is_empty())
    }
}

/// Runs a command to its end, with `input` on its standard input.
pub fn run(command: &mut Command, input: &str) -> Result<String> {
    let what = format!("{command:?}");
    let error = |error: std::io::Error| Error::new(format!("{what}: {error}"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(error)?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may end without reading; what it says then counts.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(error)?;
    if !output.status.success() {
        return Err(Error::new(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A text in `value` at a path such as `/status/active/issuer`; empty where there is none.
pub fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list at a path.
pub fn items<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A condition: whether it is `True`, and its message.
pub fn condition<'v>(object: &'v Value, kind: &str) -> (bool, &'v str) {
    let found = items(object, "/status/conditions").iter().find(|one| one["type"] == kind);
    found.map_or((false, "no status yet"), |one| (one["status"] == "True", text(one, "/message")))
}
