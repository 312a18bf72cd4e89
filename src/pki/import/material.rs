//! What was found in the inputs, before it is arranged.

use std::sync::Arc;

use super::{Finding, Format, Input, Limits, Request, binary, budget::Budget, pem, pkcs12};
use crate::api::reasons::import as code;
use crate::pki::{cert::Certificate, key::PrivateKey, pem_blocks};

/// The most certificates that are kept of an import.
const CERTIFICATES: usize = 500;
/// The most private keys.
const KEYS: usize = 16;

/// A certificate and where it was found.
pub(super) struct FoundCertificate {
    pub certificate: Certificate,
    /// Which input, counted from 0.
    pub input: usize,
    pub input_name: String,
    /// Whether the order within the input says something: in PEM it does, in PKCS#12 it does not.
    pub ordered: bool,
}

/// A key and where it was found.
pub(super) struct FoundKey {
    pub key: Arc<PrivateKey>,
    /// For messages: the input, and the friendly name when there is one.
    pub origin: String,
}

/// Everything that the inputs hold. Certificates and keys that stand twice are kept once.
pub(super) struct Material {
    pub certificates: Vec<FoundCertificate>,
    pub keys: Vec<FoundKey>,
    pub findings: Vec<Finding>,
    /// Something could not be opened, so that a key or a certificate that is missing may be in there.
    pub closed: bool,
    /// What key derivations may cost, of all inputs together.
    pub budget: Budget,
    inputs: usize,
}

impl Material {
    /// Nothing yet, with as many rounds for one key derivation.
    pub fn new(iterations: u64) -> Self {
        let budget = Budget::new(iterations);
        Self { certificates: Vec::new(), keys: Vec::new(), findings: Vec::new(), closed: false, budget, inputs: 0 }
    }

    /// Takes in what an input holds.
    pub fn take(&mut self, input: &Input<'_>, request: &Request<'_>) {
        let bytes = input.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input.bytes);
        let input = Input { name: input.name, bytes };
        match request.format {
            Format::Pkcs12 => pkcs12::take(self, &input, request),
            Format::Pem => pem::take(self, &input, request),
            Format::Auto if pem_blocks::has_begin_line(bytes) => pem::take(self, &input, request),
            Format::Auto => binary::take(self, &input, request),
        }
        self.inputs += 1;
    }

    /// A finding because of which something stays unknown.
    pub fn refuse(&mut self, finding: Finding) {
        self.closed = true;
        self.findings.push(finding);
    }

    /// One certificate in DER, the `number`-th of its input; `size` is what counts against the limit.
    pub fn certificate(&mut self, input: &Input<'_>, number: usize, der: &[u8], size: usize, how: (&Limits, bool)) {
        let (limits, ordered) = how;
        if size > limits.certificate {
            let message = format!(
                "certificate {number} has {size} bytes; at most {} are read. Look at what makes it so large",
                limits.certificate
            );
            return self.refuse(Finding::error(code::TOO_LARGE, input.name, message));
        }
        if self.certificates.len() >= CERTIFICATES {
            if !self.findings.iter().any(|f| f.code == code::TOO_LARGE) {
                let message = format!("there are more than {CERTIFICATES} certificates; keep those of the chain");
                self.refuse(Finding::error(code::TOO_LARGE, input.name, message));
            }
            return;
        }
        match Certificate::read(der) {
            Ok(certificate) => {
                if self.certificates.iter().all(|known| known.certificate.fingerprint != certificate.fingerprint) {
                    let input_name = input.name.to_owned();
                    self.certificates.push(FoundCertificate { certificate, input: self.inputs, input_name, ordered });
                }
            }
            Err(reason) => {
                let message = format!("certificate {number} is damaged: {reason}. Export it again");
                self.refuse(Finding::error(code::UNREADABLE, input.name, message));
            }
        }
    }

    /// Whether no further key is looked at: it is an error already.
    pub fn has_enough_keys(&self) -> bool {
        self.keys.len() >= KEYS
    }

    /// One key.
    pub fn key(&mut self, key: PrivateKey, origin: String) {
        if self.keys.iter().all(|known| known.key.spki_der() != key.spki_der()) {
            self.keys.push(FoundKey { key: Arc::new(key), origin });
        }
    }
}
