//! `mailcert inspect`: what is wrong with a certificate, without a cluster: in files, in a Secret, or as a server serves it.

mod endpoint;
mod report;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Failure, cluster::ClusterArgs};
use crate::aia::{Fetcher, complete};
use crate::api::reasons::import as code;
use crate::pki::import::{Expectation, Finding, Imported, Input, Limits, Request, judge, read};
use crate::pki::{Anchors, Certificate, Chain, PemLimits, host_of_url, to_ascii};
use report::Report;
use source::{Source, Taken};

/// A password is not longer than this, in bytes.
const MAX_PASSWORD: usize = 4096;
/// The exit status when the input cannot be read.
const UNREADABLE: u8 = 2;

/// What to inspect, and how.
#[derive(Args, Debug)]
pub struct Inspect {
    /// Files that belong together (PEM, DER or PKCS#12), or secret/NAME, or HOST:PORT
    #[arg(value_name = "FILE…|secret/NAME|HOST:PORT", required_unless_present = "secret")]
    input: Vec<String>,
    /// A Secret, read through the kubeconfig
    #[arg(long, value_name = "NAME", conflicts_with = "input")]
    secret: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Protocol at HOST:PORT [default: by the port]
    #[arg(long, value_name = "NAME", value_parser = endpoint::protocol)]
    protocol: Option<crate::api::endpoint::Protocol>,
    /// File with the password of PKCS#12 or of an encrypted key; a line break at its end is not part of it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// URL whose host must be covered
    #[arg(long, value_name = "URL")]
    external_url: Option<String>,
    /// Name that must be covered; may be given several times
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// PEM file with CA certificates to trust besides the Mozilla roots
    #[arg(long, value_name = "FILE")]
    trust_anchors: Option<PathBuf>,
    /// Fetch a missing issuer from where the certificate says that it is, over http and from public addresses only
    #[arg(long)]
    fetch_issuers: bool,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Inspects, prints, and tells by the exit status: 0 nothing that would stop activation, 1 something that would, 2 the
/// input cannot be read.
pub fn run(inspect: &Inspect) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(inspect.report(Timestamp::now())) {
        Ok(report) => {
            report.print(matches!(inspect.output, Output::Json))?;
            Ok(ExitCode::from(report.status()))
        }
        Err(error) => {
            super::complain(&*error);
            Ok(ExitCode::from(UNREADABLE))
        }
    }
}

impl Inspect {
    async fn report(&self, now: Timestamp) -> Result<Report, Failure> {
        let source = Source::of(self)?;
        let mut expectation = self.expectation()?;
        let taken = source.take(self).await?;
        match taken {
            Taken::Served(sighting) => {
                if self.names.is_empty() && expectation.external_host.is_none() {
                    expectation.names.extend(to_ascii(source.host()).ok());
                }
                let chain = Chain::from_ders(&sighting.chain)?;
                let imported = Imported::of_served(chain);
                let mut findings = judge(&imported, &expectation, now);
                // No server sends its root.
                findings.retain(|f| f.code != code::ROOT_MISSING);
                Ok(Report::new(source.label(), imported, findings, now).served(&sighting))
            }
            Taken::Inputs(inputs) => {
                let password = self.password()?;
                let extra: Vec<Certificate> = self.anchors()?;
                let inputs: Vec<Input<'_>> =
                    inputs.iter().map(|(name, bytes)| Input { name, bytes: bytes.as_slice() }).collect();
                let request = Request {
                    password: password.as_ref().map(|p| p.as_slice()),
                    extra_issuers: &extra,
                    ..Request::new(&inputs)
                };
                let (imported, findings) = self.look(&request, &expectation, now).await;
                Ok(Report::new(source.label(), imported, findings, now))
            }
        }
    }

    async fn look(&self, request: &Request<'_>, expectation: &Expectation, now: Timestamp) -> (Imported, Vec<Finding>) {
        if self.fetch_issuers {
            return complete(request, expectation, now, &Fetcher::default()).await;
        }
        let (imported, mut findings) = read(request);
        findings.extend(judge(&imported, expectation, now));
        (imported, findings)
    }

    fn expectation(&self) -> Result<Expectation, Failure> {
        let host = |url: &String| host_of_url(url).map_err(|error| format!("--external-url: {error}"));
        let name = |name: &String| to_ascii(name).map_err(|error| format!("--name: {error}"));
        Ok(Expectation {
            external_host: self.external_url.as_ref().map(host).transpose()?,
            names: self.names.iter().map(name).collect::<Result<_, _>>()?,
            anchors: Anchors::mozilla().with(self.anchors()?),
            ..Expectation::default()
        })
    }

    fn anchors(&self) -> Result<Vec<Certificate>, Failure> {
        let Some(file) = &self.trust_anchors else { return Ok(Vec::new()) };
        let bytes = source::read_file(file, PemLimits::BUNDLE.text_bytes)?;
        let bundle = Chain::from_pem(&bytes, &PemLimits::BUNDLE);
        let bundle = bundle.map_err(|error| format!("--trust-anchors {}: {error}", file.display()))?;
        Ok(bundle.iter().cloned().collect())
    }

    fn password(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let Some(file) = &self.password_file else { return Ok(None) };
        let mut password = source::read_file(file, MAX_PASSWORD)?;
        if password.len() > MAX_PASSWORD {
            return Err(format!("--password-file {}: it is longer than {MAX_PASSWORD} bytes", file.display()).into());
        }
        if password.ends_with(b"\n") {
            password.pop();
        }
        if password.ends_with(b"\r") {
            password.pop();
        }
        Ok(Some(password))
    }
}

/// The most that is read of one file: what the largest limit lets through, and a byte to see that there is more.
fn most() -> usize {
    let limits = Limits::default();
    limits.pkcs12.max(limits.bundle)
}
