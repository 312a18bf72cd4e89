//! The operator's settings for imports: how much is read, and whether issuers are fetched.

use clap::{Args, value_parser};

use crate::pki::import::Limits;

/// How much of what others made is read.
#[derive(Args, Clone, Debug)]
pub struct ImportSettings {
    /// Fetch issuers that an imported chain lacks, over plain HTTP and never from private addresses, where a
    /// MailCertificate asks for that
    #[arg(long, env = "MAILCERT_IMPORT_FETCH_ISSUERS")]
    pub import_fetch_issuers: bool,
    /// Largest certificate to import
    #[arg(long, env = "MAILCERT_IMPORT_MAX_CERTIFICATE", value_name = "BYTES", default_value_t = 36 * 1024, value_parser = bytes())]
    pub import_max_certificate: u64,
    /// Largest private key to import
    #[arg(long, env = "MAILCERT_IMPORT_MAX_KEY", value_name = "BYTES", default_value_t = 13 * 1024, value_parser = bytes())]
    pub import_max_key: u64,
    /// Largest chain to import, the leaf and its issuers together
    #[arg(long, env = "MAILCERT_IMPORT_MAX_CHAIN", value_name = "BYTES", default_value_t = 95 * 1024, value_parser = bytes())]
    pub import_max_chain: u64,
    /// Largest PEM file to import
    #[arg(long, env = "MAILCERT_IMPORT_MAX_BUNDLE", value_name = "BYTES", default_value_t = 330 * 1024, value_parser = bytes())]
    pub import_max_bundle: u64,
    /// Largest PKCS#12 file to import
    #[arg(long, env = "MAILCERT_IMPORT_MAX_PKCS12", value_name = "BYTES", default_value_t = 1024 * 1024, value_parser = bytes())]
    pub import_max_pkcs12: u64,
    /// Most rounds of deriving a key from the password of one file
    #[arg(long, env = "MAILCERT_IMPORT_MAX_ITERATIONS", value_name = "N", default_value_t = 1_000_000,
        value_parser = value_parser!(u64).range(1..=100_000_000))]
    pub import_max_iterations: u64,
}

/// No object in Kubernetes is larger than this.
fn bytes() -> clap::builder::RangedU64ValueParser<u64> {
    value_parser!(u64).range(1..=2 * 1024 * 1024)
}

impl ImportSettings {
    /// How much is read.
    pub fn limits(&self) -> Limits {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Limits {
            certificate: size(self.import_max_certificate),
            key: size(self.import_max_key),
            chain: size(self.import_max_chain),
            bundle: size(self.import_max_bundle),
            pkcs12: size(self.import_max_pkcs12),
            iterations: self.import_max_iterations,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Program {
        #[command(flatten)]
        settings: ImportSettings,
    }

    fn limits(flags: &[&str]) -> Limits {
        Program::try_parse_from(std::iter::once(&"mailcert").chain(flags)).unwrap().settings.limits()
    }

    #[test]
    fn the_defaults_are_those_of_the_engine() {
        assert_eq!(limits(&[]), Limits::default());
    }

    #[test]
    fn each_limit_has_its_flag() {
        let flags = ["certificate=1", "key=2", "chain=3", "bundle=4", "pkcs12=5", "iterations=6"];
        let flags: Vec<String> = flags.iter().map(|f| format!("--import-max-{f}")).collect();
        let given = limits(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let wanted = Limits { certificate: 1, key: 2, chain: 3, bundle: 4, pkcs12: 5, iterations: 6 };
        assert_eq!(given, wanted);
    }
}
