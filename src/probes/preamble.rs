//! What is said in plaintext before TLS begins, and the goodbye inside it.
//!
//! Each protocol family is a state machine without IO: it is given lines and answers with the next move.

use super::error::{LookError, Step};
use super::imap::Imap;
use super::line::Lines;
use super::pop3::Pop3;
use super::sieve::Sieve;
use super::smtp::Smtp;
use super::target::Limits;
use crate::api::endpoint::{Protocol, TlsMode};
use std::borrow::Cow;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The next move of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Wait for another line.
    Read,
    /// Wait for this number of raw bytes that belong to the line just given.
    ReadLiteral(usize),
    /// Send a command and wait for its answer.
    Send(Cow<'static, str>),
    /// The server agreed: TLS begins with the next byte.
    StartTls,
}

/// One protocol family's way to TLS.
pub(super) trait Preamble: Send {
    /// What the client waits for now.
    fn step(&self) -> Step;

    /// Takes a line of the server, without its end.
    fn line(&mut self, line: &[u8]) -> Result<Move, LookError>;

    /// Takes the bytes asked for by [`Move::ReadLiteral`]; a line follows.
    fn literal(&mut self, _bytes: &[u8]) {}

    /// The command that ends a session.
    fn farewell(&self) -> &'static str;
}

/// The preamble of a protocol; none where TLS is all there is.
pub(super) fn preamble(protocol: Protocol, ehlo_name: &str) -> Option<Box<dyn Preamble>> {
    match protocol {
        Protocol::SMTP | Protocol::Submission | Protocol::Submissions => Some(Box::new(Smtp::new("EHLO", ehlo_name))),
        Protocol::LMTP => Some(Box::new(Smtp::new("LHLO", ehlo_name))),
        Protocol::IMAP | Protocol::IMAPS => Some(Box::new(Imap::new())),
        Protocol::POP3 | Protocol::POP3S => Some(Box::new(Pop3::new())),
        Protocol::Sieve => Some(Box::new(Sieve::new())),
        Protocol::HTTPS => None,
    }
}

/// Speaks a preamble to its end and gives the connection, on which TLS is next.
pub(super) async fn run(preamble: &mut dyn Preamble, mut lines: Lines<'_>) -> Result<TcpStream, LookError> {
    loop {
        let line = lines.line(preamble.step()).await?;
        match preamble.line(&line)? {
            Move::Read => {}
            Move::ReadLiteral(length) => {
                let literal = lines.literal(preamble.step(), length).await?;
                preamble.literal(&literal);
            }
            Move::Send(command) => lines.send(preamble.step(), &command).await?,
            Move::StartTls => return lines.into_tls(),
        }
    }
}

/// Ends the session so that the server's log and its counters of broken sessions stay clean. The look is over by now:
/// no outcome matters.
pub(super) async fn leave(
    stream: TlsStream<TcpStream>,
    preamble: Option<Box<dyn Preamble>>,
    tls: TlsMode,
    limits: &Limits,
) {
    let mut stream = BufReader::new(stream);
    let goodbye = async {
        if let Some(mut preamble) = preamble {
            // On implicit TLS the greeting comes first, and a client that talks before its end looks like a spammer's.
            if tls == TlsMode::Implicit {
                greeting(&mut stream, preamble.as_mut(), limits).await?;
            }
            stream.write_all(format!("{}\r\n", preamble.farewell()).as_bytes()).await?;
            stream.flush().await?;
            read_line(&mut stream, limits.line).await?;
        }
        stream.shutdown().await
    };
    if let Ok(Err(error)) = tokio::time::timeout(limits.farewell, goodbye).await {
        tracing::trace!(%error, "the server did not take the farewell");
    }
}

/// Reads until it is the client's turn.
async fn greeting(
    stream: &mut BufReader<TlsStream<TcpStream>>,
    preamble: &mut dyn Preamble,
    limits: &Limits,
) -> std::io::Result<()> {
    for _ in 0..limits.lines {
        let line = read_line(stream, limits.line).await?;
        match preamble.line(line.trim_ascii_end()) {
            Ok(Move::Read) if !line.is_empty() => {}
            Ok(Move::ReadLiteral(length)) if length <= limits.line => {
                let mut literal = vec![0; length];
                stream.read_exact(&mut literal).await?;
                preamble.literal(&literal);
            }
            _ => break,
        }
    }
    Ok(())
}

async fn read_line(stream: &mut BufReader<TlsStream<TcpStream>>, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(limit as u64).read_until(b'\n', &mut line).await.map(|_| line)
}

/// Splits a line at its first space: the word before and what follows.
pub(super) fn first_word(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], line[at..].trim_ascii_start()),
        None => (line, &[]),
    }
}

/// Whether a keyword of a protocol is `expected`; keywords have no case.
pub(super) fn is(word: &[u8], expected: &str) -> bool {
    word.eq_ignore_ascii_case(expected.as_bytes())
}
