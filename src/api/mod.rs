//! The public API, group `mailcert.dev`, version `v1alpha1`: one file or folder per kind.
//!
//! This is the only place with serde and schemars attributes of public types. What CEL can check is checked by the
//! rules on these types; what needs a look at other objects is a condition, with a reason from [`reasons`].

pub mod certificate;
pub mod domain;
pub mod endpoint;
pub mod issuer;
pub mod keys;
pub mod reasons;
pub mod revocation;
pub mod schema;
pub mod solver;
pub mod trust_bundle;
pub mod window;

pub use certificate::{MailCertificate, MailCertificateSpec, MailCertificateStatus};
pub use domain::{MailDomain, MailDomainSpec, MailDomainStatus};
pub use issuer::{MailIssuer, MailIssuerSpec, MailIssuerStatus};
pub use trust_bundle::{MailTrustBundle, MailTrustBundleSpec, MailTrustBundleStatus};
