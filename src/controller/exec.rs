//! Commands in containers: bounded in time and in bytes, and their outcome in words that fit a status.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use kube::client::UpgradeConnectionError;
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::decide::domain::world::RELOAD_VALUE;
use crate::probes::Printable;

/// The most that is kept of what a command says about its failure.
const WORDS: usize = 4096;

/// A command in a container.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container.
    pub container: &'a str,
    /// Command and arguments.
    pub command: &'a [String],
    /// How long it may take, from the request to its end.
    pub timeout: Duration,
    /// How much it may print.
    pub output: usize,
}

/// Why a command did not succeed. What it says is bounded and printable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The operator may not run commands in pods.
    #[error(
        "the operator may not run commands in pods of namespace {0}: set the chart value {RELOAD_VALUE} to true, or \
         restart the workload instead"
    )]
    Forbidden(String),
    /// The command could not be started: no such pod, container or program.
    #[error("{program} could not be started in container {container}: {why}")]
    NotStarted {
        /// The program.
        program: Printable,
        /// The container.
        container: String,
        /// The API server's or the container runtime's words.
        why: Printable,
    },
    /// It did not end in time. It was left to itself.
    #[error("{program} did not end within {} s in container {container}", .after.as_secs())]
    TimedOut {
        /// The program.
        program: Printable,
        /// The container.
        container: String,
        /// The time it had.
        after: Duration,
    },
    /// It ended with another status than 0, or its end is not known.
    #[error("{program} failed in container {container} ({status}): {words}")]
    Failed {
        /// The program.
        program: Printable,
        /// The container.
        container: String,
        /// How it ended.
        status: Printable,
        /// What it said.
        words: Printable,
    },
    /// It printed more than it may.
    #[error("{program} printed more than {limit} bytes in container {container}")]
    TooMuch {
        /// The program.
        program: Printable,
        /// The container.
        container: String,
        /// The bound.
        limit: usize,
    },
}

/// Runs a command and gives what it printed.
///
/// # Errors
/// When it could not be started, failed, took too long or printed too much.
pub async fn run(client: &Client, command: Command<'_>) -> Result<Vec<u8>, ExecError> {
    let timed_out = || ExecError::TimedOut {
        program: program(&command),
        container: command.container.to_owned(),
        after: command.timeout,
    };
    tokio::time::timeout(command.timeout, exchange(client, command)).await.unwrap_or_else(|_| Err(timed_out()))
}

fn program(command: &Command<'_>) -> Printable {
    Printable::from(command.command.first().map(String::as_str).unwrap_or_default())
}

async fn exchange(client: &Client, command: Command<'_>) -> Result<Vec<u8>, ExecError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), command.namespace);
    let params = AttachParams::default().container(command.container).stdin(false).stdout(true).stderr(true);
    let container = command.container.to_owned();
    let started = api.exec(command.pod, command.command.to_vec(), &params).await;
    let mut process = started.map_err(|error| match error {
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) if status.as_u16() == 403 => {
            ExecError::Forbidden(command.namespace.to_owned())
        }
        kube::Error::Api(status) if status.code == 403 => ExecError::Forbidden(command.namespace.to_owned()),
        other => ExecError::NotStarted {
            program: program(&command),
            container: container.clone(),
            why: Printable::from(other.to_string().as_str()),
        },
    })?;
    let status = process.take_status();
    let (output, errors) = (process.stdout(), process.stderr());
    let (output, errors) = tokio::join!(read(output, command.output), read(errors, WORDS));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    if output.len() > command.output {
        return Err(ExecError::TooMuch { program: program(&command), container, limit: command.output });
    }
    let Some(status) = status else {
        let (status, words) = (Printable::from("its end is not known"), Printable::new(last(&errors)));
        return Err(ExecError::Failed { program: program(&command), container, status, words });
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(output);
    }
    let said = status.message.as_deref().unwrap_or_default();
    if status.reason.as_deref() != Some("NonZeroExitCode") {
        return Err(ExecError::NotStarted { program: program(&command), container, why: Printable::from(said) });
    }
    let words = if errors.trim_ascii().is_empty() { &output } else { &errors };
    let code = status.details.iter().flat_map(|d| d.causes.iter().flatten());
    let code = code.into_iter().find(|c| c.reason.as_deref() == Some("ExitCode")).and_then(|c| c.message.clone());
    let status = Printable::from(code.map_or_else(|| said.to_owned(), |code| format!("exit code {code}")).as_str());
    Err(ExecError::Failed { program: program(&command), container, status, words: Printable::new(last(words)) })
}

/// Reads to the end and keeps at most one byte more than `limit`.
async fn read(stream: Option<impl AsyncRead + Unpin>, limit: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut buffer = [0; 4096];
    while let Ok(n) = stream.read(&mut buffer).await
        && n > 0
    {
        let room = (limit + 1).saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..n.min(room)]);
    }
    kept
}

/// The last line that says something: programs say at the end why they gave up.
fn last(words: &[u8]) -> &[u8] {
    let lines = words.rsplit(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.into_iter().find(|line| !line.is_empty()).unwrap_or(b"it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_by_their_last_words() {
        assert_eq!(
            last(b"warning: a\npostfix/postfix-script: fatal: not running\n\n"),
            b"postfix/postfix-script: fatal: not running"
        );
        assert_eq!(last(b" \n"), b"it said nothing");
        let error = ExecError::Forbidden("mail".to_owned());
        let words = "the operator may not run commands in pods of namespace mail: set the chart value \
                     reload.exec.enabled to true, or restart the workload instead";
        assert_eq!(error.to_string(), words);
        let hung = ExecError::TimedOut {
            program: "doveadm".into(),
            container: "dovecot".to_owned(),
            after: Duration::from_secs(20),
        };
        assert_eq!(hung.to_string(), "doveadm did not end within 20 s in container dovecot");
    }

    #[tokio::test]
    async fn output_is_read_to_its_end_and_kept_within_bounds() {
        let endless = vec![b'x'; 100_000];
        assert_eq!(read(Some(&endless[..]), 10).await.len(), 11);
        assert_eq!(read(Some(&b"abc"[..]), 10).await, b"abc");
        assert!(read(None::<&[u8]>, 10).await.is_empty());
    }
}
