//! What commands that judge certificates share: passwords, anchors, and what a certificate is wanted for.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use k8s_openapi::jiff::Timestamp;
use zeroize::Zeroizing;

use super::Failure;
use crate::aia::{Fetcher, complete};
use crate::api::reasons::import as code;
use crate::pki::import::{Expectation, Finding, Imported, Limits, Request, judge, read};
use crate::pki::{Certificate, Chain, PemLimits, host_of_url, to_ascii};

/// A password is not longer than this, in bytes.
const MAX_PASSWORD: usize = 4096;

/// A name and what is in it.
pub type Named = (String, Zeroizing<Vec<u8>>);

/// How a certificate is judged.
#[derive(Args, Clone, Debug)]
pub struct Judging {
    /// File with the password of PKCS#12 or of an encrypted key; a line break at its end is not part of it
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// URL whose host must be covered
    #[arg(long, value_name = "URL")]
    pub external_url: Option<String>,
    /// Old name that clients still use: not to cover it is a warning; may be given several times
    #[arg(long = "legacy-name", value_name = "NAME", value_parser = host_name)]
    pub legacy_names: Vec<String>,
    /// Fetch a missing issuer from where the certificate says that it is, over http and from public addresses only
    #[arg(long)]
    pub fetch_issuers: bool,
}

impl Judging {
    /// The host of the external URL.
    ///
    /// # Errors
    /// There is none in it.
    pub fn external_host(&self) -> Result<Option<String>, Failure> {
        let host = |url: &String| host_of_url(url).map_err(|error| format!("--external-url: {error}").into());
        self.external_url.as_ref().map(host).transpose()
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

/// A DNS name of an option, in A-labels.
///
/// # Errors
/// Why no certificate can carry it.
pub fn dns_name(text: &str) -> Result<String, String> {
    to_ascii(text).map_err(|error| error.to_string())
}

/// As [`dns_name`], for the name of one host.
///
/// # Errors
/// It is a wildcard, or no certificate can carry it.
pub fn host_name(text: &str) -> Result<String, String> {
    let name = dns_name(text)?;
    if name.starts_with("*.") { Err("it is a wildcard; give the name of a host".to_owned()) } else { Ok(name) }
}

/// The trust anchors in the file of `--trust-anchors`.
///
/// # Errors
/// The file cannot be read, or has more than the limits.
pub fn trust_anchors(file: Option<&Path>, limits: &PemLimits) -> Result<Vec<Certificate>, Failure> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let bytes = read_file(file, limits.text_bytes)?;
    let bundle = Chain::from_pem(&bytes, limits);
    let bundle = bundle.map_err(|error| format!("--trust-anchors {}: {error}", file.display()))?;
    Ok(bundle.iter().cloned().collect())
}

/// A password as a file holds it, without the line break at its end.
///
/// # Errors
/// The file cannot be read, or is too long for a password.
pub fn read_password(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let Some(mut password) = bounded(file, MAX_PASSWORD)? else {
        return Err(format!("--password-file {}: it is longer than {MAX_PASSWORD} bytes", file.display()).into());
    };
    if password.ends_with(b"\n") {
        password.pop();
    }
    if password.ends_with(b"\r") {
        password.pop();
    }
    Ok(password)
}

/// What is in the files of an import.
///
/// # Errors
/// One of them cannot be read, or is larger than anything that is imported.
pub fn read_files(names: &[String]) -> Result<Vec<Named>, Failure> {
    // What the largest limit lets through.
    let limits = Limits::default();
    let most = limits.pkcs12.max(limits.bundle);
    names.iter().map(|name| Ok((name.clone(), read_file(Path::new(name), most)?))).collect()
}

/// A file of at most `limit` bytes.
fn read_file(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let too_large = || {
        let (path, word) = (path.display(), code::TOO_LARGE);
        format!(
            "{path}: it has more than {limit} bytes, which is more than is read ({word}); check that it is the right file"
        )
    };
    Ok(bounded(path, limit)?.ok_or_else(too_large)?)
}

/// The same; `None` when there is more.
fn bounded(path: &Path, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() <= limit))
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

    #[test]
    fn what_is_cut_off_is_not_judged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.p12");
        let name = path.display().to_string();
        std::fs::write(&path, vec![0x30; 1024 * 1024]).unwrap();
        assert_eq!(read_files(std::slice::from_ref(&name)).unwrap()[0].1.len(), 1024 * 1024);
        std::fs::write(&path, vec![0x30; 1024 * 1024 + 2]).unwrap();
        let error = read_files(std::slice::from_ref(&name)).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{name}: it has more than 1048576 bytes, which is more than is read (TooLarge); check that it is the right file"
            )
        );
    }

    #[test]
    fn names_of_options_are_those_that_a_certificate_can_carry() {
        assert_eq!(dns_name("Mail.Bücher.example."), Ok("mail.xn--bcher-kva.example".to_owned()));
        assert_eq!(dns_name("*.example.com"), Ok("*.example.com".to_owned()));
        assert!(dns_name("mail").unwrap_err().contains("has only one label"));
        assert_eq!(host_name("*.example.com"), Err("it is a wildcard; give the name of a host".to_owned()));
    }
}
