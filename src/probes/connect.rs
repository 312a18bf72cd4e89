//! From a name to a TCP connection.

use super::error::{ConnectFailure, LookError, Printable};
use super::line::Deadline;
use super::target::Target;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 4;

/// The addresses of a target, at most 4, the families taking turns from the one that the resolver puts first.
pub(super) async fn resolve(target: &Target, deadline: &Deadline) -> Result<Vec<SocketAddr>, LookError> {
    let name = target.connect_name();
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    let failed = |reason: &str| LookError::ResolveFailed { name: name.into(), reason: reason.into() };
    let found = timeout(deadline.left(), tokio::net::lookup_host((name, target.port)))
        .await
        .map_err(|_| failed(&format!("no answer within {} ms", deadline.total().as_millis())))?
        .map_err(|error| failed(&error.to_string()))?;
    match alternate(found) {
        addresses if addresses.is_empty() => Err(failed("the name has no address")),
        addresses => Ok(addresses),
    }
}

fn alternate(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let found: Vec<_> = found.collect();
    let first_is_v4 = found.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before || turns.len() >= ADDRESSES_MAX {
            turns.truncate(ADDRESSES_MAX);
            return turns;
        }
    }
}

/// A connection to the first address that accepts one. An address that hangs takes only its share of the time left.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    deadline: &Deadline,
) -> Result<(TcpStream, SocketAddr), LookError> {
    let mut attempts = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let share = deadline.left() / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(error)) => failure(&error),
            Err(_) => ConnectFailure::TimedOut,
        };
        attempts.push((*address, failure));
    }
    Err(LookError::ConnectFailed { attempts })
}

fn failure(error: &std::io::Error) -> ConnectFailure {
    match error.kind() {
        ErrorKind::ConnectionRefused => ConnectFailure::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => ConnectFailure::Unreachable,
        ErrorKind::TimedOut => ConnectFailure::TimedOut,
        _ => ConnectFailure::Other(Printable::from(error.to_string().as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "[::4]:1", "1.1.1.1:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(alternate(found.into_iter()), expected);
        assert_eq!(alternate(std::iter::empty()), []);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_and_the_one_that_answers_is_told() {
        // Bound and not listening: refuses, and nobody else can take the port meanwhile.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let free = closed.local_addr().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let deadline = Deadline::after(Duration::from_secs(10));
        let (stream, answered) = connect(&[free, open], &deadline).await.unwrap();
        assert_eq!((answered, stream.peer_addr().unwrap()), (open, open));
        let error = connect(&[free, free], &deadline).await.unwrap_err();
        let refused = (free, ConnectFailure::Refused);
        assert_eq!(error, LookError::ConnectFailed { attempts: vec![refused.clone(), refused] });
    }
}
