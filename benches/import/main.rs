//! How long imports take that were made to take long: parsing and judging, which must stay below 100 ms, and key derivations,
//! which the limit of rounds bounds. Fails when parsing takes longer.
#![allow(clippy::unwrap_used)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod derivations;
#[path = "../../tests/import/worst.rs"]
mod worst;

use std::process::ExitCode;
use std::time::Duration;

use mailcert::pki::import::{Format, Input, Limits, Request, read};

/// What parsing and judging may take.
const MOST: Duration = Duration::from_millis(100);
/// Each is repeated for so long, and three times at least: the kernel counts a thread's time in ticks.
const ENOUGH: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    // What is read once and kept, such as the Mozilla roots, is no part of it.
    worst::import(&[("tls.crt", b"hello".to_vec())], Format::Auto);
    let mut slowest = Duration::ZERO;
    println!("{:<44} {:>9} {:>10}", "parsed and judged", "KiB", "ms");
    let corpus = worst::corpus();
    let (mut longest, mut all) = ((Duration::ZERO, ""), 0);
    for (name, inputs) in &corpus {
        longest = longest.max((measure(inputs), name));
        all += size(inputs);
    }
    row(&format!("corpus, {} files; the slowest: {}", corpus.len(), longest.1), all, longest.0);
    slowest = slowest.max(longest.0);
    for (what, inputs) in &worst::cases() {
        let took = measure(inputs);
        row(what, size(inputs), took);
        slowest = slowest.max(took);
    }
    println!("\n{:<44} {:>9} {:>10}", "key derivations", "KiB", "ms");
    let rounds = u32::try_from(Limits::default().iterations).unwrap();
    for (what, bytes) in derivations::files(rounds) {
        let inputs = [Input { name: "mail.p12", bytes: &bytes }];
        let took = mean(|| {
            let (_, findings) = read(&Request { password: Some(b"password"), ..Request::new(&inputs) });
            // It was derived, and not refused before.
            assert!(findings.iter().any(|f| f.code == "PasswordWrong"), "{what}: {findings:?}");
        });
        row(&what, bytes.len(), took);
    }
    match slowest > MOST {
        true => {
            println!("\nthe slowest input takes {slowest:.1?} to parse; at most {MOST:?} is allowed");
            ExitCode::FAILURE
        }
        false => ExitCode::SUCCESS,
    }
}

fn size(inputs: &worst::Inputs) -> usize {
    inputs.iter().map(|(_, bytes)| bytes.len()).sum()
}

/// The longest that any way of reading these takes.
fn measure(inputs: &worst::Inputs) -> Duration {
    let formats = [Format::Auto, Format::Pem, Format::Pkcs12];
    formats.map(|format| mean(|| worst::import(inputs, format))).into_iter().max().unwrap_or_default()
}

fn mean(mut work: impl FnMut()) -> Duration {
    let (start, mut runs) = (worst::worked(), 0);
    while runs < 3 || worst::worked() - start < ENOUGH {
        work();
        runs += 1;
    }
    (worst::worked() - start) / runs
}

fn row(what: &str, bytes: usize, took: Duration) {
    println!("{what:<44} {:>9.1} {:>10.1}", bytes as f64 / 1024.0, took.as_secs_f64() * 1000.0);
}
