//! Why something that is encrypted or packed was not opened.

use super::Finding;
use crate::api::reasons::import as code;

/// One reason, before it is known what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no password, and it takes one.
    PasswordMissing,
    /// The password is wrong.
    PasswordWrong,
    /// The key derivation would take more rounds than are left.
    TooManyIterations { wanted: u64, limit: u64 },
    /// The key derivation would take more memory than is given to it, in bytes.
    TooMuchMemory { wanted: u64, limit: u64 },
    /// A kind that is known and not supported, and what to do instead.
    Unsupported { what: String, instead: &'static str },
    /// A private key that is damaged or of a kind that TLS here does not use.
    KeyUnusable { kind: String },
    /// The structure is not as it must be.
    Damaged(&'static str),
}

impl Refusal {
    /// An algorithm that is not supported, by its object identifier.
    pub fn algorithm(oid: &der::asn1::ObjectIdentifier) -> Self {
        let what = format!("it is encrypted with {}", algorithm_name(&oid.to_string()));
        Self::Unsupported {
            what,
            instead: "export it again with AES-256 (openssl pkcs12 -export, or openssl pkcs8 -topk8)",
        }
    }

    pub fn finding(&self, about: &str, hint: &str) -> Finding {
        match self {
            Self::PasswordMissing => {
                let message = format!(
                    "it takes a password, and there is none; give it (passwordSecretRef, or --password-file){hint}"
                );
                Finding::error(code::PASSWORD_MISSING, about, message)
            }
            Self::PasswordWrong => {
                let message = format!("the password is wrong; check which one the file was made with{hint}");
                Finding::error(code::PASSWORD_WRONG, about, message)
            }
            Self::TooManyIterations { wanted, limit } => {
                let message = format!(
                    "its key derivation takes {wanted} rounds; at most {limit} are made. Export it again with fewer"
                );
                Finding::error(code::TOO_MANY_ITERATIONS, about, message)
            }
            Self::TooMuchMemory { wanted, limit } => {
                let message = format!(
                    "its key derivation (scrypt) takes {wanted} bytes of memory; at most {limit} are given to it. Export it again with \
                     smaller parameters, or with PBKDF2"
                );
                Finding::error(code::TOO_MANY_ITERATIONS, about, message)
            }
            Self::Unsupported { what, instead } => {
                Finding::error(code::UNSUPPORTED, about, format!("{what}, which is not supported; {instead}"))
            }
            Self::KeyUnusable { kind } => {
                let message = format!(
                    "its private key ({kind}) is damaged, or of a kind or size that is not supported; use ECDSA P-256, P-384 or P-521, \
                     RSA from 2048 to 8192 bits or Ed25519"
                );
                Finding::error(code::KEY_UNUSABLE, about, message)
            }
            Self::Damaged(what) => {
                Finding::error(code::UNREADABLE, about, format!("it is damaged: {what}. Export it again"))
            }
        }
    }
}

/// What people call an algorithm.
fn algorithm_name(oid: &str) -> String {
    let name = match oid {
        "1.2.840.113549.1.5.1" => "PBE-MD2-DES",
        "1.2.840.113549.1.5.3" => "PBE-MD5-DES",
        "1.2.840.113549.1.5.4" => "PBE-MD2-RC2-64",
        "1.2.840.113549.1.5.6" => "PBE-MD5-RC2-64",
        "1.2.840.113549.1.5.10" => "PBE-SHA1-DES",
        "1.2.840.113549.1.5.11" => "PBE-SHA1-RC2-64",
        "1.3.14.3.2.7" => "DES (PBES2)",
        "1.2.840.113549.3.2" => "RC2 (PBES2)",
        "1.2.840.113549.3.4" => "RC4 (PBES2)",
        "1.2.840.113549.1.12.1.1" => "PBE-SHA1-RC4-128",
        "1.2.840.113549.1.12.1.2" => "PBE-SHA1-RC4-40",
        other => return format!("an algorithm that is not known here ({other})"),
    };
    name.to_owned()
}
