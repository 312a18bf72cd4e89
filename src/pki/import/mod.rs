//! Import of certificates that others have made: any bytes in, a key, a chain, CA certificates and findings out.
//!
//! [`read`] finds out what the inputs are by their content, opens what is encrypted, and arranges what it finds:
//! the leaf that the key belongs to, its issuers in order, the root for `ca.crt`. [`judge`] says what is wrong with
//! the result for a mail server. Both tell everything at once, one [`Finding`] for each defect.
//!
//! Sizes and key derivations are bounded by [`Limits`] before anything is parsed or derived.

mod arrange;
mod binary;
mod budget;
mod finding;
mod judge;
mod material;
mod mistakes;
mod names;
mod password;
mod pbe;
mod pem;
mod pkcs12;
mod pkcs8;
mod refusal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{cert::Certificate, chain::Chain, key::PrivateKey, trust::mozilla_issuer};

pub use finding::{Code, Finding, Severity};
pub use judge::{Expectation, judge};
pub use names::conventional;

/// One file, or one key of a Secret.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// How messages call it, such as `tls.crt`.
    pub name: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// What the inputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Each input is what its content says.
    #[default]
    Auto,
    /// PEM only.
    Pem,
    /// PKCS#12 only.
    Pkcs12,
}

/// How much is read and derived. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one certificate, in PEM or DER.
    pub certificate: usize,
    /// For one private key, in PEM or DER.
    pub key: usize,
    /// For a leaf and its issuers together, in PEM.
    pub chain: usize,
    /// For one PEM input with everything in it.
    pub bundle: usize,
    /// For one PKCS#12 file.
    pub pkcs12: usize,
    /// Rounds of one key derivation. All of an import together may take four times as many.
    pub iterations: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: usize = 1024;
        Self {
            certificate: 36 * KIB,
            key: 13 * KIB,
            chain: 95 * KIB,
            bundle: 330 * KIB,
            pkcs12: 1024 * KIB,
            iterations: 1_000_000,
        }
    }
}

/// What to read.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The inputs, in the order in which the first leaf is looked for.
    pub inputs: &'a [Input<'a>],
    /// What they are.
    pub format: Format,
    /// For encrypted keys and PKCS#12. Without one, PKCS#12 is tried with no and with an empty password.
    pub password: Option<&'a [u8]>,
    /// Certificates that may complete the chain or stand in `ca.crt`, such as issuers that were fetched, and own trust
    /// anchors.
    pub extra_issuers: &'a [Certificate],
    /// How much is read.
    pub limits: Limits,
}

impl<'a> Request<'a> {
    /// A request without password and further issuers, with the default limits.
    pub fn new(inputs: &'a [Input<'a>]) -> Self {
        Self { inputs, format: Format::Auto, password: None, extra_issuers: &[], limits: Limits::default() }
    }
}

/// What was read, arranged. `Debug` shows no secret.
#[derive(Debug, Default)]
pub struct Imported {
    /// The private key; of several, the one that belongs to the chain's leaf.
    pub key: Option<Arc<PrivateKey>>,
    /// The leaf and its issuers as a server sends them, without the root.
    pub chain: Option<Chain>,
    /// For `ca.crt`: the root of the chain, and other roots that came in an input for CA certificates.
    pub ca: Vec<Certificate>,
    /// Certificates that belong to none of these.
    pub left_out: Vec<Certificate>,
}

impl Imported {
    /// What a server serves: its chain as it is, without the root that it should not send. The root is taken from there,
    /// or from the Mozilla roots.
    pub fn of_served(chain: Chain) -> Self {
        let leaf = chain.leaf().clone();
        let mut rest = chain.rest().to_vec();
        let sent = rest.pop_if(|last| last.is_root());
        let root = sent.or_else(|| mozilla_issuer(rest.last().unwrap_or(&leaf)));
        Self { chain: Some(Chain::new(leaf, rest)), ca: root.into_iter().collect(), ..Self::default() }
    }
}

/// Reads and arranges the inputs. What could be read is returned whatever the findings are; it must not be used when
/// one of them is an error.
pub fn read(request: &Request<'_>) -> (Imported, Vec<Finding>) {
    let mut material = material::Material::new(request.limits.iterations);
    for input in request.inputs {
        material.take(input, request);
    }
    arrange::arrange(material, request)
}
