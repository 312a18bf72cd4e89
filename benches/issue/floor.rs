//! The API server alone: the operator's writes, without the operator.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use mailcert::api::MailCertificate;
use mailcert::api::certificate::MailCertificateStatus;
use serde_json::json;

use crate::cluster::{Result, Stage};

/// What the operator wrote for one certificate.
pub struct Sample {
    secret: Secret,
    status: MailCertificateStatus,
}

/// What the operator wrote in `namespace`.
pub async fn samples(stage: &Stage, namespace: &str) -> Result<Vec<Sample>> {
    let secrets: Api<Secret> = stage.api(namespace);
    let certificates: Api<MailCertificate> = stage.api(namespace);
    let mut samples = Vec::new();
    for certificate in certificates.list(&ListParams::default()).await? {
        let mut secret = secrets.get(&certificate.spec.secret_name).await?;
        secret.metadata = ObjectMeta {
            labels: Some(secret.labels().clone()),
            annotations: Some(secret.annotations().clone()),
            ..ObjectMeta::default()
        };
        let status = certificate.status.ok_or("a certificate without a status")?;
        samples.push(Sample { secret, status });
    }
    Ok(samples)
}

/// Certificates per second when `concurrency` writers write Secret and status of `count` certificates.
pub async fn measure(stage: &Stage, samples: &[Sample], count: usize, concurrency: usize) -> Result<f64> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let namespace = format!("floor-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    stage.namespace(&namespace).await?;
    stage.certificates(&namespace, count).await?;
    let start = Instant::now();
    futures::stream::iter((0..count).zip(samples.iter().cycle()))
        .map(|(i, sample)| write(stage, &namespace, i, sample))
        .buffer_unordered(concurrency)
        .try_collect::<()>()
        .await?;
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("floor, {concurrency:>2} at once: {rate:.1}/s");
    Ok(rate)
}

async fn write(stage: &Stage, namespace: &str, i: usize, sample: &Sample) -> Result<()> {
    let mut secret = sample.secret.clone();
    secret.metadata.name = Some(format!("cert-{i}-tls"));
    let manager = Some("mailcert".to_owned());
    let post = PostParams { field_manager: manager.clone(), ..PostParams::default() };
    stage.api::<Secret>(namespace).create(&post, &secret).await?;
    let params = PatchParams { field_manager: manager, ..PatchParams::default() };
    let patch = Patch::Merge(json!({"status": sample.status}));
    stage.api::<MailCertificate>(namespace).patch_status(&format!("cert-{i}"), &params, &patch).await?;
    Ok(())
}
