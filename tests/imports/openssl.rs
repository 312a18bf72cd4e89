//! Keys, certificates and containers, as the `openssl` command makes them.

use std::path::Path;
use std::process::Command;

/// A CA of the `openssl` command, in a folder of its own that goes with it.
pub struct Ca {
    dir: tempfile::TempDir,
}

/// A certificate for `mail.example.com`, unless another name is asked for, and its key in PKCS#8. PEM.
#[derive(Clone)]
pub struct Made {
    pub certificate: String,
    pub key: String,
}

impl Ca {
    pub fn new() -> Self {
        let ca = Self { dir: tempfile::tempdir().unwrap() };
        let extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key"];
        let rest = ["-x509", "-subj", "/CN=Bought CA", "-days", "3650", "-out", "ca.pem"];
        ca.run(&[&["req"][..], &key, &rest, &extensions].concat());
        ca
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The output of a command.
    pub fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let out = Command::new("openssl").args(arguments).current_dir(self.dir()).output().expect("openssl starts");
        assert!(out.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    pub fn root(&self) -> String {
        self.text("ca.pem")
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir().join(name)).unwrap()
    }

    /// Issues a certificate for a name, with a new key, that lasts for `days`.
    pub fn issue(&self, name: &str, days: u32) -> Made {
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "leaf.key"];
        let (subject, san) = (format!("/CN={name}"), format!("subjectAltName=DNS:{name}"));
        let days = days.to_string();
        let extensions =
            ["-addext", &san, "-addext", "extendedKeyUsage=serverAuth", "-addext", "basicConstraints=CA:FALSE"];
        let signed =
            ["-CA", "ca.pem", "-CAkey", "ca.key", "-x509", "-subj", &subject, "-days", &days, "-out", "leaf.pem"];
        self.run(&[&["req"][..], &key, &signed, &extensions].concat());
        Made { certificate: self.text("leaf.pem"), key: self.text("leaf.key") }
    }
}
