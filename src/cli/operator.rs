//! `mailcert operator`: runs the controllers.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::controller;
use crate::operating::metrics::Metrics;
use crate::operating::settings::OperatorSettings;
use crate::operating::{client, logging};

/// Runs until SIGTERM or SIGINT.
pub fn run(settings: OperatorSettings) -> Result<(), Failure> {
    let settings = settings.validated()?;
    logging::init(settings.log_format, &settings.log_filter)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let metrics = Arc::new(Metrics::new());
        let client = client::connect(&settings.kube, Some(metrics.clone())).await?;
        let stop = CancellationToken::new();
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let signalled = stop.clone();
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("stopping");
            signalled.cancel();
        });
        Ok(controller::run(settings, client, metrics, stop).await?)
    })
}
