//! Loopback ports that no other instance takes.

use crate::{
    cache,
    error::{Context, Error, Result},
};
use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    net::TcpListener,
};

/// Below the range from which systems take ports for outgoing connections, which could otherwise take one away between
/// the choice and the server's start.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port on 127.0.0.1 that stays claimed while this value lives.
#[derive(Debug)]
pub struct Port {
    /// The port's number.
    pub number: u16,
    _lock: File,
}

/// Claims a free port: no process listens there, and no other test environment on this machine gets the same one.
pub fn claim() -> Result<Port> {
    let folder = cache::dir().join("ports");
    fs::create_dir_all(&folder).context(|| format!("cannot create {}", folder.display()))?;
    let start = RandomState::new().hash_one(std::process::id());
    for step in 0..u64::from(RANGE.end - RANGE.start) {
        let offset = (start.wrapping_add(step) % u64::from(RANGE.end - RANGE.start)) as u16;
        let number = RANGE.start + offset;
        let path = folder.join(number.to_string());
        let lock = File::create(&path).context(|| format!("cannot create {}", path.display()))?;
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
            return Ok(Port { number, _lock: lock });
        }
    }
    Err(Error::new(format!("no free port on 127.0.0.1 in {}-{}", RANGE.start, RANGE.end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_differ_while_they_live() {
        let ports: Vec<_> = (0..20).map(|_| claim().unwrap()).collect();
        let numbers: std::collections::BTreeSet<_> = ports.iter().map(|port| port.number).collect();
        assert_eq!(numbers.len(), 20);
    }
}
