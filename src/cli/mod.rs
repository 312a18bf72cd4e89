//! The command line: one file per command.

pub mod crds;
pub mod generate;
