//! Files that other projects publish in their Go modules (CRDs), as they stand there and nowhere in this repository.

use crate::{
    cache,
    error::{Context, Error, Result},
};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// A file of one version of a Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The module's path.
    pub module: &'static str,
    /// Its version, with `v`.
    pub version: &'static str,
    /// The module's checksum, as `go.sum` has it.
    pub sum: &'static str,
    /// The file's path in it.
    pub path: &'static str,
}

/// external-dns's DNSEndpoint.
pub const DNS_ENDPOINT_CRD: Published = Published {
    module: "sigs.k8s.io/external-dns",
    version: "v0.22.0",
    sum: "h1:+ASJ3KF7DLqHo2LsG8Qinuh2J389MS86I19i/r8ewUc=",
    path: "config/crd/standard/dnsendpoints.externaldns.k8s.io.yaml",
};

/// cert-manager's CertificateRequest.
pub const CERTIFICATE_REQUEST_CRD: Published = Published {
    module: "github.com/cert-manager/cert-manager",
    version: "v1.21.1",
    sum: "h1:0LttV37Q5c2CBNoHkjuI8sLKTXWZDC2SwQkxrBMKV9w=",
    path: "deploy/crds/cert-manager.io_certificaterequests.yaml",
};

impl Published {
    /// The file's text. The module is downloaded when the file is not kept from an earlier run.
    pub fn read(&self) -> Result<String> {
        let parts = [self.module, self.version, self.sum, self.path];
        let name = Path::new(self.path).file_name().unwrap_or_default();
        let kept = cache::dir().join("published").join(cache::key(parts.map(str::as_bytes))).join(name);
        cache::ensure(&kept, |unfinished| {
            let file = self.download()?;
            fs::copy(&file, unfinished).map(|_| ()).context(|| format!("cannot copy {file}"))
        })?;
        fs::read_to_string(&kept).context(|| format!("cannot read {}", kept.display()))
    }

    /// The file's path in Go's own cache.
    fn download(&self) -> Result<String> {
        let wanted = format!("{}@{}", self.module, self.version);
        let output = Command::new("go")
            // Anywhere but in a module: its go.mod would take part.
            .current_dir(cache::dir())
            .env("GOWORK", "off")
            .args(["mod", "download", "-json", &wanted])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context(|| format!("{wanted} is needed, but Go cannot be started (install Go)"))?;
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        if text("Dir").is_empty() {
            return Err(Error::new(format!("Go cannot download {wanted}: {}", text("Error"))));
        }
        if text("Sum") != self.sum {
            return Err(Error::new(format!("{wanted} has the checksum {} instead of {}", text("Sum"), self.sum)));
        }
        Ok(format!("{}/{}", text("Dir"), self.path))
    }
}
