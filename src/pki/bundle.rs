//! What stands in the Secret that mail servers mount, and the way back.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::ByteString;
use zeroize::Zeroizing;

use super::{
    cert::{CertError, Certificate},
    chain::{Chain, PemLimits},
    key::{KeyError, PrivateKey},
    outputs::Encoding,
};

pub use crate::api::keys::{CA_CRT, TLS_COMBINED, TLS_CRT, TLS_KEY};

/// The values of the Secret. Every one ends with a newline.
pub struct SecretBundle {
    /// For [`TLS_CRT`].
    pub tls_crt: String,
    /// For [`TLS_KEY`].
    pub tls_key: Zeroizing<String>,
    /// For [`CA_CRT`]; empty when there is none.
    pub ca_crt: String,
    /// For [`TLS_COMBINED`].
    pub tls_combined: Zeroizing<String>,
}

impl fmt::Debug for SecretBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretBundle")
            .field("tls_crt", &self.tls_crt)
            .field("ca_crt", &self.ca_crt)
            .finish_non_exhaustive()
    }
}

/// Why a Secret holds no usable key pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A key of the Secret is missing or empty.
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    /// `tls.crt` cannot be read.
    #[error("tls.crt: {0}")]
    Certificate(CertError),
    /// `tls.key` cannot be read.
    #[error("tls.key: {0}")]
    Key(KeyError),
    /// `ca.crt` cannot be read.
    #[error("ca.crt: {0}")]
    Ca(CertError),
}

/// A Secret's content, parsed.
#[derive(Debug)]
pub struct ParsedBundle {
    /// From `tls.crt`.
    pub chain: Chain,
    /// From `tls.key`.
    pub key: PrivateKey,
    /// From `ca.crt`; empty when there is none.
    pub ca: Vec<Certificate>,
    /// Whether the key belongs to the leaf.
    pub key_matches: bool,
    /// Whether every value is byte by byte what [`SecretBundle::new`] would write.
    pub canonical: bool,
}

impl SecretBundle {
    /// Arranges a chain, its key and the CA certificates that clients must trust.
    pub fn new(chain: &Chain, key: &PrivateKey, ca: &[Certificate]) -> Self {
        Self::encoded(chain, key, ca, Encoding::Pkcs8)
    }

    /// As [`SecretBundle::new`], with the key in another form.
    pub fn encoded(chain: &Chain, key: &PrivateKey, ca: &[Certificate], encoding: Encoding) -> Self {
        let tls_crt = chain.to_pem();
        let tls_key = encoding.pem(key);
        // Allocated at full size, so that no copy of the key is left behind in memory by growing.
        let mut tls_combined = Zeroizing::new(String::with_capacity(tls_key.len() + tls_crt.len()));
        tls_combined.push_str(&tls_key);
        tls_combined.push_str(&tls_crt);
        Self { tls_crt, tls_key, ca_crt: ca.iter().map(Certificate::to_pem).collect(), tls_combined }
    }

    /// The Secret's `data`. `ca.crt` is left out when it is empty.
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        for (name, value) in [
            (TLS_CRT, &self.tls_crt),
            (TLS_KEY, &self.tls_key),
            (CA_CRT, &self.ca_crt),
            (TLS_COMBINED, &self.tls_combined),
        ] {
            if !value.is_empty() {
                data.insert(name.to_owned(), ByteString(value.as_bytes().to_vec()));
            }
        }
        data
    }

    /// Reads a Secret's `data` back, to judge what it holds. Other keys are not looked at.
    ///
    /// # Errors
    /// When `tls.crt` or `tls.key` is missing, or a value cannot be read. A key of another certificate is no error here.
    pub fn parse(data: &BTreeMap<String, ByteString>) -> Result<ParsedBundle, BundleError> {
        let value = |name| data.get(name).map(|v| v.0.as_slice()).filter(|v| !v.is_empty());
        let crt = value(TLS_CRT).ok_or(BundleError::Missing(TLS_CRT))?;
        let key = value(TLS_KEY).ok_or(BundleError::Missing(TLS_KEY))?;
        let chain = Chain::from_pem(crt, &PemLimits::CHAIN).map_err(BundleError::Certificate)?;
        let key = PrivateKey::from_pem(key).map_err(BundleError::Key)?;
        let ca = match value(CA_CRT) {
            Some(pem) => Chain::from_pem(pem, &PemLimits::BUNDLE).map_err(BundleError::Ca)?.iter().cloned().collect(),
            None => Vec::new(),
        };
        let wanted = Self::new(&chain, &key, &ca);
        let canonical = wanted.to_data().iter().all(|(name, value)| data.get(name) == Some(value));
        let key_matches = chain.leaf().spki_der() == key.spki_der();
        Ok(ParsedBundle { chain, key, ca, key_matches, canonical })
    }
}
