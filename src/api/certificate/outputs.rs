//! What the Secret holds besides certificate, key and CA in PEM.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PasswordRef;

/// Further forms of certificate and key in the Secret. A key that is no longer asked for is removed from it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Outputs {
    /// `tls.der`, the leaf, and `key.der`, the key as PKCS#8, both in DER.
    #[serde(default)]
    pub der: bool,
    /// `bluemind.pem`: leaf, key, chain and CA in one file, in the order that BlueMind wants.
    #[serde(default)]
    pub bluemind: bool,
    /// `keystore.p12` and `truststore.p12` (RFC 7292), for servers in Java.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<Pkcs12Output>,
}

impl Outputs {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// PKCS#12 stores.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Pkcs12Output {
    /// How they are encrypted.
    #[serde(default)]
    pub profile: Pkcs12Profile,
    /// Their password: printable ASCII, since Java reads no other. When it changes, they are written anew.
    pub password_secret_ref: PasswordRef,
    /// Whether to write `truststore.p12` with the certificates of `ca.crt`.
    #[serde(default = "Pkcs12Output::default_truststore")]
    pub truststore: bool,
}

impl Pkcs12Output {
    fn default_truststore() -> bool {
        true
    }
}

/// How a PKCS#12 store is encrypted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pkcs12Profile {
    /// AES-256 with HMAC-SHA-256, as OpenSSL 3 and Java from 8u301 on write them.
    #[default]
    Modern2023,
    /// Triple DES with HMAC-SHA-1, for programs that read nothing newer. OpenSSL 3 reads it.
    LegacyDES,
}

/// The form of private keys in PEM.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyEncoding {
    /// PKCS#8 (`-----BEGIN PRIVATE KEY-----`, RFC 5958).
    #[default]
    PKCS8,
    /// PKCS#1 for RSA (`-----BEGIN RSA PRIVATE KEY-----`, RFC 8017), SEC1 for ECDSA (`-----BEGIN EC PRIVATE KEY-----`, RFC 5915).
    Traditional,
}

/// What is known about what the Secret's outputs were made from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct OutputsStatus {
    /// resourceVersion of the Secret with the PKCS#12 stores' password as it was last read; none: there is no such
    /// Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_resource_version: Option<String>,
}
