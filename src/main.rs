//! The `mailcert` command: the operator and its command line.

fn main() {}
