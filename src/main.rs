//! The `mailcert` command: the operator and its command line.
#![allow(clippy::print_stdout)]

fn main() {
    for crd in mailcert::cli::crds::all() {
        print!("---\n{}", mailcert::cli::crds::yaml(&crd).unwrap());
    }
}
