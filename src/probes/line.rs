//! Lines from a server that is not trusted: bounded in length, number and time.

use super::error::{LookError, Step};
use super::target::Limits;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The end of a look's time.
pub(super) struct Deadline {
    at: Instant,
    total: Duration,
}

impl Deadline {
    pub(super) fn after(total: Duration) -> Self {
        Self { at: Instant::now() + total, total }
    }

    pub(super) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(super) fn total(&self) -> Duration {
        self.total
    }

    /// Waits for `future`, and names `step` when the time is over first.
    pub(super) async fn within<F: Future>(&self, step: Step, future: F) -> Result<F::Output, LookError> {
        let timeout = |_| LookError::Timeout { step, within: self.total };
        tokio::time::timeout_at(self.at, future).await.map_err(timeout)
    }
}

/// The plaintext part of a connection.
pub(super) struct Lines<'a> {
    stream: BufReader<TcpStream>,
    limits: &'a Limits,
    deadline: &'a Deadline,
    read: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(stream: TcpStream, limits: &'a Limits, deadline: &'a Deadline) -> Self {
        Self { stream: BufReader::new(stream), limits, deadline, read: 0 }
    }

    /// The next line without its end.
    pub(super) async fn line(&mut self, step: Step) -> Result<Vec<u8>, LookError> {
        self.read += 1;
        if self.read > self.limits.lines {
            return Err(LookError::TooMuchData { step, limit: self.limits.lines, unit: "lines" });
        }
        let limit = self.limits.line;
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(limit as u64);
        let read = self.deadline.within(step, bounded.read_until(b'\n', &mut line)).await?;
        read.map_err(|error| LookError::connection_lost(step, &error))?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            return Err(match line.len() {
                length if length >= limit => LookError::TooMuchData { step, limit, unit: "bytes in one line" },
                _ => LookError::ConnectionLost { step, reason: "closed by the server".into() },
            });
        }
        line.pop_if(|last| *last == b'\r');
        Ok(line)
    }

    /// Exactly `length` bytes: a literal that a line announced.
    pub(super) async fn literal(&mut self, step: Step, length: usize) -> Result<Vec<u8>, LookError> {
        if length > self.limits.line {
            return Err(LookError::TooMuchData { step, limit: self.limits.line, unit: "bytes in one literal" });
        }
        let mut literal = vec![0; length];
        let read = self.deadline.within(step, self.stream.read_exact(&mut literal)).await?;
        read.map_err(|error| LookError::connection_lost(step, &error))?;
        Ok(literal)
    }

    pub(super) async fn send(&mut self, step: Step, command: &str) -> Result<(), LookError> {
        let bytes = format!("{command}\r\n");
        let sent = self.deadline.within(step, self.stream.write_all(bytes.as_bytes())).await?;
        sent.map_err(|error| LookError::connection_lost(step, &error))
    }

    /// Gives the connection to TLS, unless plaintext is already there. Plaintext that arrives later meets the TLS
    /// parser and fails the handshake, so none is ever taken for protected.
    pub(super) fn into_tls(self) -> Result<TcpStream, LookError> {
        match self.stream.buffer() {
            [] => Ok(self.stream.into_inner()),
            _ => Err(LookError::PlaintextAfterStartTls),
        }
    }
}
