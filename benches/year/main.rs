//! A year in the life of an operator with certificates of 45 days, in virtual time.
//!
//! The decisions and the ACME client are the operator's own; the ACME server is the scripted one of `testenv`, over HTTPS,
//! with Let's Encrypt's rate limits, its renewal windows, and faults in two of a hundred requests. Kubernetes is a map in
//! memory. The clock jumps from one wake time to the next, and once a month the operator forgets all that no status holds.
//!
//! Fails when a limit of the CA was exceeded, a certificate expired, or more than 5 % more orders were made than needed.
//! `N`, `DAYS`, `FAULTS` (a share) and `SEED` change the year.
#![allow(clippy::unwrap_used)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod act;
mod cluster;
mod fleet;
mod operator;
mod report;

use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use mailcert_testenv::acme::{AcmeServer, Effect, Fault, Problem, Profile, Rule, Script};

use crate::cluster::Cluster;
use crate::operator::Operator;

/// What went wrong, in words.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Lifetime of the certificates.
const LIFETIME: i64 = 45 * 86_400;
/// The operator is restarted so often.
const RESTARTS: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Real time after which the year is given up.
const PATIENCE: Duration = Duration::from_secs(1200);

/// What is simulated.
struct Year {
    certificates: usize,
    start: Timestamp,
    end: Timestamp,
    faults: f64,
    seed: u64,
}

fn setting<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(name: &str, default: T) -> Result<T> {
    std::env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let start: Timestamp = "2030-01-01T00:00:00Z".parse()?;
    let year = Year {
        certificates: setting("N", 200)?,
        start,
        end: start + SignedDuration::from_hours(24 * setting("DAYS", 365)?),
        faults: setting("FAULTS", 0.02)?,
        seed: setting("SEED", 1)?,
    };
    let server = AcmeServer::start(Script {
        clock: Some(year.start.as_second()),
        profiles: vec![Profile::new("classic", LIFETIME)],
        order_reuse: true,
        validation_delay: 2,
        issuance_delay: 3,
        seed: year.seed,
        ..Script::default()
    })?;
    let begin = Instant::now();
    let cluster = simulate(&year, &server, begin).await?;
    Ok(report::report(&year, &server.log(), &cluster, begin.elapsed()))
}

async fn simulate(year: &Year, server: &AcmeServer, begin: Instant) -> Result<Cluster> {
    let mut cluster = Cluster::new(fleet::fleet(year.certificates), year.start);
    let mut operator = Operator::new(server);
    operator.register().await?;
    server.rules([Rule::any(faults()).chance(year.faults)]);
    let mut restart = year.start + RESTARTS;
    while let Some((number, wake)) = cluster.next() {
        if wake >= year.end {
            break;
        }
        if wake >= restart {
            cluster.now = restart;
            restart += RESTARTS;
            operator.restart(&mut cluster);
            continue;
        }
        cluster.now = wake.max(cluster.now);
        server.set_clock(cluster.now.as_second());
        operator.pass(&mut cluster, number).await?;
        if begin.elapsed() > PATIENCE {
            return Err(format!("{} is reached after {PATIENCE:?}: the year is given up", cluster.now).into());
        }
    }
    cluster.now = year.end;
    server.set_clock(year.end.as_second());
    Ok(cluster)
}

/// Everything that a server can do wrong, what takes real time excepted.
fn faults() -> Vec<Fault> {
    let mut faults = vec![
        Fault::BadNonce,
        Fault::Flood(200_000),
        Fault::InvalidOrder(Problem::new(403, "unauthorized", "the CA has changed its mind")),
        Fault::FailsValidation(Problem::new(400, "connection", "the CA's network is down")),
        Fault::NeverValidates,
        Fault::Processing(900),
        Fault::ForeignKey,
        Fault::MissingName,
        Fault::LongChain(20),
        Fault::CutChain,
    ];
    for effect in [Effect::Without, Effect::With] {
        let html = vec![("content-type", "text/html".to_owned())];
        faults.push(Fault::Problem(Problem::new(500, "serverInternal", "the database is away"), effect));
        faults.push(Fault::Problem(Problem::new(503, "serverInternal", "busy").retry_after(120), effect));
        faults.push(Fault::Page(502, html, "<html></html>".to_owned(), effect));
        faults.push(Fault::Close(effect));
    }
    faults
}
