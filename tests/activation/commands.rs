//! The command line, as a person uses it.

use std::process::Command;

use crate::common::{Stage, cluster};

/// Runs `mailcert` in the stage's namespace. What it printed, or its complaint.
pub fn mailcert(stage: &Stage, args: &[&str]) -> Result<String, String> {
    let kubeconfig = cluster().kubeconfig();
    let output = Command::new(env!("CARGO_BIN_EXE_mailcert"))
        .args(args)
        .args(["--namespace", &stage.ns, "--kubeconfig"])
        .arg(kubeconfig)
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}
