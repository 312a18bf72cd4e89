//! `mailcert inspect`: what is wrong with a certificate, without a cluster: in files, in a Secret, or as a server serves it.

mod endpoint;
mod report;
mod source;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;

use super::Failure;
use super::cluster::ClusterArgs;
use super::judging::{Judging, dns_name, trust_anchors};
use crate::api::reasons::import as code;
use crate::pki::import::{Expectation, Imported, Input, Request, judge};
use crate::pki::{Anchors, Chain, PemLimits, to_ascii};
pub(super) use report::Report;
use source::{Source, Taken};

/// The exit status when the input cannot be read.
pub(super) const UNREADABLE: u8 = 2;

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
    #[command(flatten)]
    judging: Judging,
    /// PEM file with CA certificates to trust besides the Mozilla roots (`import` trusts its own in place of those)
    #[arg(long, value_name = "FILE")]
    trust_anchors: Option<PathBuf>,
    /// Name that must be covered; may be given several times
    #[arg(long = "name", value_name = "NAME", value_parser = dns_name)]
    names: Vec<String>,
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
            let text = match inspect.output {
                Output::Text => report.text(),
                Output::Json => report.json()?,
            };
            writeln!(std::io::stdout().lock(), "{text}")?;
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
        let anchors = trust_anchors(self.trust_anchors.as_deref(), &PemLimits::BUNDLE)?;
        let mut expectation = Expectation {
            external_host: self.judging.external_host()?,
            names: self.names.clone(),
            legacy: self.judging.legacy_names.clone(),
            anchors: Anchors::mozilla().with(anchors.clone()),
            ..Expectation::default()
        };
        let taken = source.take(self).await?;
        match taken {
            Taken::Served(sighting) => {
                let mut note = None;
                if self.names.is_empty() && expectation.external_host.is_none() {
                    let host = source.host();
                    match to_ascii(host) {
                        Ok(name) => expectation.names.push(name),
                        Err(_) => note = Some(unchecked(host)),
                    }
                }
                let imported = Imported::of_served(Chain::from_ders(&sighting.chain)?);
                let mut findings = judge(&imported, &expectation, now);
                // No server sends its root.
                findings.retain(|f| f.code != code::ROOT_MISSING);
                Ok(Report::new(source.label(), &imported, findings, now).served(&sighting).noted(note))
            }
            Taken::Inputs(inputs) => {
                let password = self.judging.password()?;
                let inputs: Vec<Input<'_>> =
                    inputs.iter().map(|(name, bytes)| Input { name, bytes: bytes.as_slice() }).collect();
                let request = Request {
                    password: password.as_ref().map(|p| p.as_slice()),
                    extra_issuers: &anchors,
                    ..Request::new(&inputs)
                };
                let (imported, findings) = self.judging.look(&request, &expectation, now).await;
                Ok(Report::new(source.label(), &imported, findings, now))
            }
        }
    }
}

/// What is said where an address is all that is known of a server.
fn unchecked(host: &str) -> String {
    format!("no name was checked, since {host} is no DNS name; say with --name which one clients use")
}
