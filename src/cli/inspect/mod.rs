//! `mailcert inspect`: what is wrong with a certificate, without a cluster: in files, in a Secret, or as a server serves it.

mod endpoint;
mod report;
mod source;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;

use super::{Failure, cluster::ClusterArgs, judging::Judging};
use crate::api::reasons::import as code;
use crate::pki::import::{Imported, Input, Request, judge};
use crate::pki::{Certificate, Chain, to_ascii};
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
    /// Name that must be covered; may be given several times
    #[arg(long = "name", value_name = "NAME")]
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
        let mut expectation = self.judging.expectation(&self.names)?;
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
                let password = self.judging.password()?;
                let extra: Vec<Certificate> = self.judging.anchors()?;
                let inputs: Vec<Input<'_>> =
                    inputs.iter().map(|(name, bytes)| Input { name, bytes: bytes.as_slice() }).collect();
                let request = Request {
                    password: password.as_ref().map(|p| p.as_slice()),
                    extra_issuers: &extra,
                    ..Request::new(&inputs)
                };
                let (imported, findings) = self.judging.look(&request, &expectation, now).await;
                Ok(Report::new(source.label(), imported, findings, now))
            }
        }
    }
}
