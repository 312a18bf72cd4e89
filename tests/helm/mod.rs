//! Finds Helm and renders the chart with it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Helm, from `$HELM`, `$PATH` or the test environment, which builds it where it is missing. Without it a test is skipped,
/// except in CI.
pub fn find() -> Option<PathBuf> {
    let found = env::var_os("HELM")
        .map(PathBuf::from)
        .into_iter()
        .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default()).map(|dir| dir.join("helm")))
        .find(|path| path.is_file());
    match found.map_or_else(|| mailcert_testenv::tools::HELM.path(), Ok) {
        Ok(path) => Some(path),
        Err(error) => {
            assert!(env::var_os("CI").is_none(), "helm is needed in CI: {error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// The chart.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/mailcert")
}

/// What `helm template` prints for a release named mailcert, or what it complains about.
pub fn template(helm: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(helm);
    // A Helm that was built from source may take itself to be for an old Kubernetes.
    command.args(["template", "mailcert", "--kube-version", "1.33.0"]).args(args).arg(chart());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}
