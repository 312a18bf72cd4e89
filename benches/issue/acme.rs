//! Certificates of a real ACME server (Pebble), which looks at the operator's HTTP-01 challenges itself.

use std::net::Ipv4Addr;
use std::time::Instant;

use kube::api::PostParams;
use mailcert::api::MailIssuer;
use mailcert_testenv::{Pebble, PebbleOptions};
use serde_json::json;

use crate::cluster::{Result, Stage, from};
use crate::operator::Operator;

const NAMESPACE: &str = "acme";

/// What issuing with ACME costs.
pub struct Measured {
    pub certificates: usize,
    pub per_second: f64,
    /// To the ACME server, for each certificate.
    pub requests: f64,
    /// To the API server, for each certificate.
    pub writes: f64,
    pub cpu_ms: f64,
}

/// Issues `count` certificates with two names each.
pub async fn measure(stage: &Stage, count: usize) -> Result<Measured> {
    // Names that nobody knows lead to this machine.
    let options = PebbleOptions { default_ip: Some(Ipv4Addr::LOCALHOST), ..PebbleOptions::default() };
    let pebble = tokio::task::spawn_blocking(move || Pebble::start(&options)).await??;
    stage.namespace(NAMESPACE).await?;
    let issuer: MailIssuer = from(json!({"metadata": {"name": "ca"}, "spec": {"acme": {
        "server": pebble.directory_url(), "termsOfServiceAgreed": true, "caBundle": pebble.ca_pem(),
        "resolvers": [pebble.dns_address().to_string()], "caaCheck": "Report",
        "limits": {"perAccount": 100_000},
        "solvers": [{"http01": {"service": {}, "selfCheck": "Skip"}}],
    }}}))?;
    stage.api(NAMESPACE).create(&PostParams::default(), &issuer).await?;
    stage.certificates(NAMESPACE, count).await?;
    let asked = pebble.requests()?;
    let operator = Operator::answering(stage.cluster, NAMESPACE, pebble.http_port())?;
    operator.leads().await?;
    let start = Instant::now();
    stage.wait_ready(NAMESPACE, count).await?;
    let (took, cpu) = (start.elapsed(), operator.cpu()?);
    let requests = operator.settled().await?;
    let each = |n: f64| n / count.max(1) as f64;
    Ok(Measured {
        certificates: count,
        per_second: count as f64 / took.as_secs_f64(),
        requests: each((pebble.requests()? - asked) as f64),
        writes: each(requests.writes as f64),
        cpu_ms: each(cpu.as_secs_f64() * 1000.0),
    })
}
