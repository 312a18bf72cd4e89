//! Renewals under load, on a node of its own: Postfix and Dovecot are logged in to all the time while their certificate
//! is renewed again and again. Prints what failed, and how long it took from the new Secret to the served certificate.
//!
//! `N` renewals (default 20) for each way of taking a certificate up: reloads in place, and restarts of two replicas.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod ground;
mod load;
mod report;

use ground::{Ground, Way};
use load::Load;
use report::Row;
use std::time::Duration;

/// Logins per second.
const RATE: u32 = 24;

fn main() {
    let renewals: usize = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let ground = Ground::ready();
    let mut rows = Vec::new();
    for way in [Way::Exec, Way::Restart] {
        eprintln!("{}: {renewals} renewals under {RATE} logins/s", way.title());
        ground.prepare(way);
        let load = Load::start(&ground, RATE);
        // Failures before the first renewal would not be its doing.
        load.wait_steady();
        let times: Vec<Duration> = (0..renewals).map(|n| ground.renew(way, n)).collect();
        rows.push(Row { way: way.title(), times, logins: load.stop() });
    }
    report::print(&rows);
    assert!(rows.iter().all(|row| row.logins.failures.is_empty()), "logins failed");
}
