//! Imports of what others made: the vectors of Python's cryptography with NIST's PKITS in them, OpenSSL, keytool and NSS;
//! verdicts beside those of `openssl verify`; hostile input; and `mailcert inspect` and `import`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "import/chains.rs"]
mod chains;
#[path = "import/command.rs"]
mod command;
#[path = "import/fetching.rs"]
mod fetching;
#[path = "import/ground.rs"]
mod ground;
#[path = "import/hostile.rs"]
mod hostile;
#[path = "import/inspect.rs"]
mod inspect;
#[path = "import/made.rs"]
mod made;
#[path = "import/vectors.rs"]
mod vectors;
#[path = "import/worst.rs"]
mod worst;
