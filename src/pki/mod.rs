//! Keys, certificates and chains: everything that looks inside PEM or DER.
//!
//! Pure: no input or output, no clock (the time is an argument), no Kubernetes client. The only outside source
//! is the operating system's randomness, for keys and serial numbers. Certificate libraries (rcgen, x509-parser,
//! webpki) are used in this module only; the rest of the crate sees the types below.
//!
//! Every parser is bounded in bytes, reads untrusted input, and never panics.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod alpn;
pub mod ari;
pub mod bundle;
pub mod cert;
pub mod chain;
pub mod csr;
mod extensions;
pub mod fingerprint;
pub mod import;
mod jwk;
pub mod key;
pub mod keystore;
pub mod names;
pub mod outputs;
mod paths;
mod pem_blocks;
pub mod removed;
pub mod sign;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod validate;

pub use alpn::{AlpnDefect, acme_identifier, check_acme_identifier};
pub use ari::ari_id;
pub use bundle::{BundleError, ParsedBundle, SecretBundle};
pub use cert::{CertError, Certificate, ExtendedUsages, KeyUsageBits, LinkError};
pub use chain::{Chain, PemLimits};
pub use csr::{csr, csr_pem};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use key::{KeyAlgorithm, KeyError, KeySpec, PrivateKey};
pub use keystore::{KeystoreError, Password, PasswordError, Profile, keystore, truststore};
pub use names::{NameError, UrlError, covers, host_of_url, to_ascii, to_ascii_email};
pub use outputs::{Encoding, Outputs, Pair, Pkcs12, Previous, Written};
pub use pem_blocks::PemError;
pub use removed::{RemovedRoot, removed_root};
pub use sign::{CaError, CaKeyPair, LeafSpec, SignError, self_signed};
pub use subject::{Subject, SubjectError, SubjectSpec, Usage};
pub use trust::{Anchors, ChainVerdict, judge_chain, judge_name, judge_path, mozilla_certificates, mozilla_roots};
pub use validate::{Defect, Expected, validate_issued};
