//! Certificates that end without anybody renewing them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A time before expiry at which to warn: a span in Go syntax (`336h`), or a share of the lifetime (`10%`).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct ExpiryWarning(
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^(([0-9]+(\.[0-9]+)?(h|m|s|ms))+|[1-9][0-9]?%)$"))]
    pub  String,
);

/// A certificate that nobody renews here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// What it is.
    pub kind: WatchedKind,
    /// Its subject, as a distinguished name.
    pub subject: String,
    /// When its validity begins.
    pub not_before: Time,
    /// When it expires.
    pub not_after: Time,
}

/// What a watched certificate is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchedKind {
    /// An imported leaf.
    Imported,
    /// A CA's, between the leaf and the trust anchor, or one that signs here.
    CA,
    /// A trust anchor's, in `ca.crt`.
    Anchor,
}

impl WatchedKind {
    /// For labels of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::CA => "ca",
            Self::Anchor => "anchor",
        }
    }
}

/// A warning that was given.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Expiring {
    /// What it is.
    pub kind: WatchedKind,
    /// Its subject, as a distinguished name.
    pub subject: String,
    /// When it expires.
    pub not_after: Time,
    /// The threshold that was passed last (`14 days`); none: it has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}
