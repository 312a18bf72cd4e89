//! The command line: one file per command.

mod approve;
mod cluster;
pub mod crds;
mod export;
pub mod generate;
mod history;
mod import;
mod inspect;
mod judging;
mod operator;
mod plan;
mod proposed;
mod reference;
mod rollback;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::operating::settings::OperatorSettings;

/// Keeps the TLS certificates of mail servers right.
#[derive(Parser, Debug)]
#[command(name = "mailcert", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the controllers
    Operator(Box<OperatorSettings>),
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// Say what is wrong with a certificate: in files, in a Secret, or as a server serves it
    ///
    /// Exit status: 0 nothing that would stop its activation, 1 something that would, 2 the input cannot be read.
    Inspect(Box<inspect::Inspect>),
    /// Write key and certificate of a MailCertificate, or of a Secret, to files: .p12 and .crt
    Export(export::Export),
    /// Import a certificate from files: makes a Secret and a MailCertificate
    ///
    /// Exit status: 0 it was imported; 1 it was not, since it would not become active, or the cluster does not take it; 2 the
    /// input or the cluster cannot be read.
    Import(Box<import::Import>),
    /// Approve the staged revision of a MailCertificate
    Approve(approve::Approve),
    /// Show what the operator would do about a MailCertificate, or a manifest of it, and why, without doing it
    Plan(plan::PlanCommand),
    /// List the revisions of a MailCertificate
    History(history::History),
    /// Make an earlier revision of a MailCertificate active again
    Rollback(rollback::RollbackCommand),
}

/// Runs a command. Errors go to standard error, with exit status 1 unless the command has its own.
pub fn run(cli: Cli) -> ExitCode {
    // Before the first TLS connection: the one crypto provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = match cli.command {
        Command::Operator(settings) => operator::run(*settings).map(done),
        Command::Crds => crds::print().map(done),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Export(command) => export::run(&command).map(done),
        Command::Import(command) => import::run(&command),
        Command::Approve(command) => approve::run(&command).map(done),
        Command::Plan(command) => plan::run(&command).map(done),
        Command::History(command) => history::run(&command).map(done),
        Command::Rollback(command) => rollback::run(&command).map(done),
    };
    match result {
        Ok(status) => status,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// What a command can fail with.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One line for the user.
#[expect(clippy::print_stdout, reason = "this is where a command's user reads")]
fn say(line: &str) {
    println!("{line}");
}

/// One line for the user, beside what is for programs.
#[expect(clippy::print_stderr, reason = "this is where a command's user reads")]
fn tell(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stderr, reason = "this is where a command's user reads")]
fn complain(error: &(dyn std::error::Error + 'static)) {
    let mut text = format!("mailcert: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        // Many errors say what their source says.
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(&format!(": {said}"));
        }
        source = cause.source();
    }
    eprintln!("{text}");
}
