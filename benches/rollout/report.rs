//! The table.

use crate::dane::Verdicts;
use crate::ground::Way;
use crate::load::Logins;
use std::time::Duration;

/// So many failures of a kind are printed.
const SHOWN: usize = 20;

/// One way of taking a certificate up.
pub struct Row {
    pub way: Way,
    pub times: Vec<Duration>,
    pub verdicts: Verdicts,
    pub logins: Logins,
}

/// Prints the table, and failures with their times.
pub fn print(rows: &[Row]) {
    println!(
        "\n| way | renewals | logins | per second | failed | Secret to served: p50 | p95 | max | TLSA verdicts | invalid |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let mut times = row.times.clone();
        times.sort_unstable();
        let at = |share: f64| {
            let index = (share * times.len() as f64).ceil() as usize;
            times.get(index.max(1) - 1).map_or(0.0, Duration::as_secs_f32)
        };
        let logins = &row.logins;
        println!(
            "| {} | {} | {} | {:.1} | {} | {:.1} s | {:.1} s | {:.1} s | {} | {} |",
            row.way.title(),
            times.len(),
            logins.count,
            logins.count as f64 / logins.lasted.as_secs_f64(),
            logins.failures.len(),
            at(0.5),
            at(0.95),
            at(1.0),
            row.verdicts.count,
            row.verdicts.invalid.len(),
        );
    }
    for row in rows {
        for (at, why) in row.logins.failures.iter().take(SHOWN).chain(row.verdicts.invalid.iter().take(SHOWN)) {
            println!("{}: after {:.1} s: {why}", row.way.title(), at.as_secs_f32());
        }
    }
}
