//! How fast the operator issues, beside the raw API server.
//!
//! The floor replays the very Secrets and statuses that the operator writes (taken from certificates that it issued
//! before), at the best of several concurrencies. Then the operator issues `N` (1000 by default) certificates of a `ca`
//! issuer on the same API server, and is restarted over them. Then it issues `N_ACME` (200 by default) certificates with
//! real Pebble, which looks at their HTTP-01 challenges. The numbers go to `bench.json` in the target folder.
#![allow(clippy::unwrap_used, clippy::print_stderr)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod acme;
mod cluster;
mod floor;
mod operator;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mailcert_testenv::Cluster;
use serde_json::json;

use crate::cluster::{Result, Stage};
use crate::floor::Sample;
use crate::operator::Operator;

/// Certificates whose Secrets and statuses the floor replays, over and over.
const SAMPLES: usize = 100;
/// Objects of one floor measurement, at most.
const FLOOR_OBJECTS: usize = 2000;
/// Writes at once that are tried for the floor.
const CONCURRENCIES: [usize; 3] = [8, 32, 64];

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name: &str, default| std::env::var(name).ok().map_or(Ok(default), |n| n.parse::<usize>());
    let (count, count_acme) = (number("N", 1000)?, number("N_ACME", 200)?);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cluster: &'static Cluster = tokio::task::spawn_blocking(Cluster::shared).await?;
    let stage = Stage::new(cluster).await?;

    stage.prepare("sample", SAMPLES).await?;
    let operator = Operator::start(cluster, "sample")?;
    stage.wait_ready("sample", SAMPLES).await?;
    operator.settled().await?;
    drop(operator);

    let samples = floor::samples(&stage, "sample").await?;
    let objects = count.min(FLOOR_OBJECTS);
    let before = floors(&stage, &samples, objects).await?;
    stage.prepare("issue", count).await?;
    let issued = issue(&stage, count).await?;
    // On either side of the measurement, since whatever else the machine does changes by the minute.
    let after = floors(&stage, &samples, objects).await?;
    let floor = before.iter().zip(after).map(|(b, a)| (b + a) / 2.0).fold(0.0, f64::max);
    let restarted = restart(&stage, count).await?;
    let acme = acme::measure(&stage, count_acme).await?;
    report(count, floor, &issued, &restarted, &acme)
}

/// Certificates per second at each concurrency.
async fn floors(stage: &Stage, samples: &[Sample], objects: usize) -> Result<Vec<f64>> {
    let mut rates = Vec::new();
    for concurrency in CONCURRENCIES {
        rates.push(floor::measure(stage, samples, objects, concurrency).await?);
    }
    Ok(rates)
}

/// The first issuance of everything.
struct Issued {
    per_second: f64,
    writes: f64,
    reads: f64,
    cpu_ms: f64,
    rss_mib: f64,
}

async fn issue(stage: &Stage, count: usize) -> Result<Issued> {
    let operator = Operator::start(stage.cluster, "issue")?;
    operator.leads().await?;
    let start = Instant::now();
    stage.wait_ready("issue", count).await?;
    let (took, cpu) = (start.elapsed(), operator.cpu()?);
    let requests = operator.settled().await?;
    let each = |n: u64| n as f64 / count as f64;
    Ok(Issued {
        per_second: count as f64 / took.as_secs_f64(),
        writes: each(requests.writes),
        reads: each(requests.reads),
        cpu_ms: cpu.as_secs_f64() * 1000.0 / count as f64,
        rss_mib: operator.peak_rss_mib()?,
    })
}

/// A second run over what is issued already.
struct Restarted {
    writes: u64,
    synced: Duration,
    all_seen: Duration,
    rss_mib: f64,
}

async fn restart(stage: &Stage, count: usize) -> Result<Restarted> {
    let start = Instant::now();
    let operator = Operator::start(stage.cluster, "issue")?;
    operator.ready().await?;
    let synced = start.elapsed();
    operator.reconciled(count).await?;
    let all_seen = start.elapsed();
    let requests = operator.settled().await?;
    Ok(Restarted { writes: requests.writes, synced, all_seen, rss_mib: operator.peak_rss_mib()? })
}

fn report(count: usize, floor: f64, issued: &Issued, restarted: &Restarted, acme: &acme::Measured) -> Result<()> {
    let ratio = issued.per_second / floor;
    let rows = [
        ("certificates", format!("{count}")),
        ("floor: Secret and status, raw", format!("{floor:.1}/s")),
        ("issued", format!("{:.1}/s", issued.per_second)),
        ("ratio", format!("{:.0} %", ratio * 100.0)),
        ("writes per certificate, Event included", format!("{:.2}", issued.writes)),
        ("reads per certificate", format!("{:.2}", issued.reads)),
        ("CPU per certificate", format!("{:.2} ms", issued.cpu_ms)),
        ("peak RSS", format!("{:.1} MiB", issued.rss_mib)),
        ("restart: writes", format!("{}", restarted.writes)),
        ("restart: watches synced", format!("{:.2} s", restarted.synced.as_secs_f64())),
        ("restart: all reconciled", format!("{:.2} s", restarted.all_seen.as_secs_f64())),
        ("restart: peak RSS", format!("{:.1} MiB", restarted.rss_mib)),
        ("ACME: certificates", format!("{}", acme.certificates)),
        ("ACME: issued", format!("{:.1}/s", acme.per_second)),
        ("ACME: ratio to the floor", format!("{:.0} %", acme.per_second / floor * 100.0)),
        ("ACME: requests per certificate", format!("{:.1}", acme.requests)),
        ("ACME: writes per certificate", format!("{:.2}", acme.writes)),
        ("ACME: CPU per certificate", format!("{:.2} ms", acme.cpu_ms)),
    ];
    for (what, value) in rows {
        println!("{what:<40} {value:>12}");
    }
    let json = json!({
        "certificates": count,
        "floor_per_s": floor,
        "issued_per_s": issued.per_second,
        "ratio": ratio,
        "writes_per_certificate": issued.writes,
        "reads_per_certificate": issued.reads,
        "cpu_ms_per_certificate": issued.cpu_ms,
        "rss_mib": issued.rss_mib,
        "idle_writes": restarted.writes,
        "restart_synced_s": restarted.synced.as_secs_f64(),
        "restart_reconciled_s": restarted.all_seen.as_secs_f64(),
        "restart_rss_mib": restarted.rss_mib,
        "acme_certificates": acme.certificates,
        "acme_issued_per_s": acme.per_second,
        "acme_requests_per_certificate": acme.requests,
        "acme_writes_per_certificate": acme.writes,
        "acme_cpu_ms_per_certificate": acme.cpu_ms,
    });
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(std::fs::write(folder.join("bench.json"), format!("{json:#}\n"))?)
}
