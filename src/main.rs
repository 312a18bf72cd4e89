//! The `mailcert` command: the operator and its command line.

use std::process::ExitCode;

use clap::Parser;
use mailcert::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::parse())
}
