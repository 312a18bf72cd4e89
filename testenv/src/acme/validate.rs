//! Looking at challenges as a CA does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::answer::Problem;
use super::script::{ChallengeView, Validation};

/// For the connection, and for each read.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

impl Validation {
    /// Whether the challenge is met; what the CA says when it is not. Blocks.
    pub(super) fn look(&self, challenge: &ChallengeView) -> Result<(), Problem> {
        let outcome = match self {
            Self::Http(port) if challenge.kind == "http-01" => return http(*port, challenge),
            Self::By(judge) => judge(challenge),
            _ => Ok(()),
        };
        outcome.map_err(Problem::unauthorized)
    }
}

/// RFC 8555 section 8.3, without redirects.
fn http(port: u16, challenge: &ChallengeView) -> Result<(), Problem> {
    let unreachable = |e: std::io::Error| Problem::new(400, "connection", format!("{}: {e}", challenge.name));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(unreachable)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(unreachable)?;
    let path = format!("/.well-known/acme-challenge/{}", challenge.token);
    // 1.0, so that the answer ends with the connection and is never chunked.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\nUser-Agent: testenv\r\n\r\n", challenge.name);
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(unreachable)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("no status");
    if status == "200" && body.trim_end() == challenge.key_authorization {
        return Ok(());
    }
    Err(Problem::unauthorized(format!("{}: the answer is {status}, and not the key authorization", challenge.name)))
}
