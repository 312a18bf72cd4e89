//! Logs: one line per event on standard error, as JSON or as text.

use std::str::FromStr;

use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, registry::LookupSpan};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for log collectors.
    Json,
    /// Plain text, for people.
    Text,
}

/// The log filter cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "--log-filter {filter:?} is not a log filter: {reason}; write a level (info) or target=level pairs (info,mailcert=debug)"
)]
pub struct FilterError {
    filter: String,
    reason: String,
}

/// Checks a filter without installing anything.
///
/// # Errors
/// The filter does not parse.
pub fn check_filter(filter: &str) -> Result<(), FilterError> {
    parse(filter).map(drop)
}

/// Installs the process's one log subscriber. Returns `false` when one was there already; that one stays.
///
/// # Errors
/// The filter does not parse.
pub fn init(format: LogFormat, filter: &str) -> Result<bool, FilterError> {
    let subscriber = tracing_subscriber::registry().with(lines(format, parse(filter)?, std::io::stderr));
    Ok(tracing::subscriber::set_global_default(subscriber).is_ok())
}

fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    EnvFilter::from_str(filter).map_err(|e| FilterError { filter: filter.to_owned(), reason: e.to_string() })
}

fn lines<S, W>(format: LogFormat, filter: EnvFilter, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    // Below the level error, kube's client logs whole answers that it cannot read, and an answer may be a Secret.
    // No filter that a user writes may turn that on.
    let safe = filter_fn(|m| !m.target().starts_with("kube_client::client") || *m.level() == tracing::Level::ERROR);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).with_filter(safe).with_filter(filter).boxed(),
        LogFormat::Text => layer.with_filter(safe).with_filter(filter).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, filter: &str, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = lines(format, parse(filter).unwrap(), move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_carry_the_fields_at_the_top() {
        let out = written(LogFormat::Json, "info", || {
            tracing::info!(object = "mail/web", "issued");
            tracing::debug!("hidden");
        });
        let line: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
        assert_eq!((line["message"].as_str(), line["object"].as_str()), (Some("issued"), Some("mail/web")));
    }

    #[test]
    fn answers_that_the_client_cannot_read_are_never_logged() {
        let out = written(LogFormat::Text, "trace,kube_client=trace", || {
            tracing::warn!(target: "kube_client::client", "tls.key: LS0t");
            tracing::error!(target: "kube_client::client::builder", "failed with status 500");
            tracing::trace!(target: "elsewhere", "seen");
        });
        assert!(!out.contains("LS0t"), "{out}");
        assert!(out.contains("failed with status 500") && out.contains("seen"), "{out}");
    }

    #[test]
    fn a_bad_filter_is_named_and_a_second_init_changes_nothing() {
        let e = check_filter("mailcert=loud").unwrap_err().to_string();
        assert!(e.contains("mailcert=loud") && e.contains("info"), "{e}");
        init(LogFormat::Text, "off").unwrap();
        assert!(!init(LogFormat::Json, "trace").unwrap());
    }
}
