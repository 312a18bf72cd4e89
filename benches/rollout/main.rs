//! Renewals under load, on a node of its own: Postfix and Dovecot are logged in to all the time while their certificate
//! is renewed again and again, with a new key each time. Prints what failed, how long it took from the new Secret to the
//! served certificate, and what DANE clients of others thought of the TLSA records in every second.
//!
//! `N` renewals (default 20) for each way of taking a certificate up: reloads in place, and restarts of two replicas.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod dane;
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
    for way in [Way::Exec, Way::Restart, Way::Presets] {
        eprintln!("{}: {renewals} renewals under {RATE} logins/s", way.title());
        ground.prepare(way);
        let load = Load::start(&ground, RATE);
        // Failures before the first renewal would not be its doing.
        load.wait_steady();
        let watch = ground.zone.watch(&ground.cluster);
        let times: Vec<Duration> = (0..renewals).map(|n| ground.renew(way, n)).collect();
        rows.push(Row { way, times, verdicts: watch.stop(), logins: load.stop() });
    }
    report::print(&rows);
    // Dovecot's own reload cuts off logins that are under way: that row is there to compare.
    let ours = || rows.iter().filter(|row| row.way != Way::Presets);
    assert!(ours().all(|row| row.logins.failures.is_empty()), "logins failed");
    assert!(rows.iter().all(|row| row.verdicts.invalid.is_empty()), "TLSA records did not match");
}
