//! What commands that judge certificates share: passwords, anchors, and what a certificate is wanted for.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use k8s_openapi::jiff::Timestamp;
use zeroize::Zeroizing;

use super::Failure;
use crate::aia::{Fetcher, complete};
use crate::pki::import::{Expectation, Finding, Imported, Limits, Request, judge, read};
use crate::pki::{Anchors, Certificate, Chain, PemLimits, host_of_url, to_ascii};

/// A password is not longer than this, in bytes.
const MAX_PASSWORD: usize = 4096;

/// How a certificate is judged.
#[derive(Args, Clone, Debug)]
pub struct Judging {
    /// File with the password of PKCS#12 or of an encrypted key; a line break at its end is not part of it
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// URL whose host must be covered
    #[arg(long, value_name = "URL")]
    pub external_url: Option<String>,
    /// PEM file with CA certificates to trust besides the Mozilla roots
    #[arg(long, value_name = "FILE")]
    pub trust_anchors: Option<PathBuf>,
    /// Fetch a missing issuer from where the certificate says that it is, over http and from public addresses only
    #[arg(long)]
    pub fetch_issuers: bool,
}

impl Judging {
    /// What is wanted, with further names to cover.
    ///
    /// # Errors
    /// A name, the URL or the anchors cannot be used.
    pub fn expectation(&self, names: &[String]) -> Result<Expectation, Failure> {
        let name = |name: &String| to_ascii(name).map_err(|error| format!("\"{name}\": {error}"));
        Ok(Expectation {
            external_host: self.external_host()?,
            names: names.iter().map(name).collect::<Result<_, _>>()?,
            anchors: Anchors::mozilla().with(self.anchors()?),
            ..Expectation::default()
        })
    }

    /// The host of the external URL.
    ///
    /// # Errors
    /// There is none in it.
    pub fn external_host(&self) -> Result<Option<String>, Failure> {
        let host = |url: &String| host_of_url(url).map_err(|error| format!("--external-url: {error}").into());
        self.external_url.as_ref().map(host).transpose()
    }

    /// Own trust anchors.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn anchors(&self) -> Result<Vec<Certificate>, Failure> {
        let Some(file) = &self.trust_anchors else { return Ok(Vec::new()) };
        let bytes = read_file(file, PemLimits::BUNDLE.text_bytes)?;
        let bundle = Chain::from_pem(&bytes, &PemLimits::BUNDLE);
        let bundle = bundle.map_err(|error| format!("--trust-anchors {}: {error}", file.display()))?;
        Ok(bundle.iter().cloned().collect())
    }

    /// The password, where one is given.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn password(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        self.password_file.as_deref().map(read_password).transpose()
    }

    /// Reads and judges.
    pub async fn look(
        &self,
        request: &Request<'_>,
        expectation: &Expectation,
        now: Timestamp,
    ) -> (Imported, Vec<Finding>) {
        if self.fetch_issuers {
            return complete(request, expectation, now, &Fetcher::default()).await;
        }
        let (imported, mut findings) = read(request);
        findings.extend(judge(&imported, expectation, now));
        (imported, findings)
    }
}

/// A password as a file holds it, without the line break at its end.
///
/// # Errors
/// The file cannot be read, or is too long for a password.
pub fn read_password(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut password = read_file(file, MAX_PASSWORD)?;
    if password.len() > MAX_PASSWORD {
        return Err(format!("--password-file {}: it is longer than {MAX_PASSWORD} bytes", file.display()).into());
    }
    if password.ends_with(b"\n") {
        password.pop();
    }
    if password.ends_with(b"\r") {
        password.pop();
    }
    Ok(password)
}

/// At most `limit` bytes of a file, and one more when there is more.
///
/// # Errors
/// The file cannot be read.
pub fn read_file(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The most that is read of one file: what the largest limit lets through, and a byte to see that there is more.
pub fn most() -> usize {
    let limits = Limits::default();
    limits.pkcs12.max(limits.bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_is_no_part_of_a_password() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        for text in ["1234\n", "1234\r\n", "1234"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_password(&path).unwrap().as_slice(), b"1234");
        }
        std::fs::write(&path, "x".repeat(4097)).unwrap();
        let error = read_password(&path).unwrap_err().to_string();
        assert_eq!(error, format!("--password-file {}: it is longer than 4096 bytes", path.display()));
    }
}
