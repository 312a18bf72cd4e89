//! What the demo shows: one line per step, with a check mark and the time that the step took.

use mailcert_testenv::{Error, Result};
use std::{
    io::{IsTerminal, Write},
    thread,
    time::{Duration, Instant},
};

/// How far a step has come.
pub enum Step {
    /// It is done; what to say about it.
    Done(String),
    /// It is not; why not, as far as one can see.
    Waiting(String),
}

/// Runs `work` as one step. It returns what to say when it is done.
pub fn did(doing: &str, work: impl FnOnce() -> Result<String>) -> Result<()> {
    let start = Instant::now();
    begin(doing);
    match work() {
        Ok(said) => {
            done(&said, start.elapsed());
            Ok(())
        }
        Err(error) => Err(failed(doing, error)),
    }
}

/// Looks again and again until the step is done, for at most `limit`.
pub fn wait(doing: &str, limit: Duration, mut look: impl FnMut() -> Result<Step>) -> Result<()> {
    let start = Instant::now();
    begin(doing);
    loop {
        let waiting = match look() {
            Ok(Step::Done(said)) => {
                done(&said, start.elapsed());
                return Ok(());
            }
            Ok(Step::Waiting(why)) => why,
            Err(error) => error.to_string(),
        };
        if start.elapsed() > limit {
            let text = format!("not within {} s; at last: {waiting}", limit.as_secs());
            return Err(failed(doing, Error::new(text)));
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// A line that is no step.
pub fn say(text: &str) {
    put(&format!("{text}\n"));
}

/// Prints. Nobody reading any more is no reason to stop halfway.
fn put(text: &str) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Rows under one another, the columns aligned.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for row in rows {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        say(&format!("      {}", cells.trim_end()));
    }
}

/// The beginning of a fingerprint, as much as tells it apart from another at a glance.
pub fn short(fingerprint: &str) -> String {
    format!("{}…", fingerprint.chars().take(16).collect::<String>())
}

fn begin(doing: &str) {
    if std::io::stdout().is_terminal() {
        put(&format!("  … {doing}"));
    }
}

/// Replaces the line of [`begin`].
fn end(line: &str) {
    let clear = if std::io::stdout().is_terminal() { "\r\x1b[2K" } else { "" };
    say(&format!("{clear}{line}"));
}

fn done(said: &str, took: Duration) {
    end(&format!("  ✔ {said}  ({:.1} s)", took.as_secs_f64()));
}

fn failed(doing: &str, error: Error) -> Error {
    end(&format!("  ✘ {doing}"));
    Error::new(format!("{doing}: {error}"))
}
