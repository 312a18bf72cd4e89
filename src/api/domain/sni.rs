//! One server for many mail domains: which certificate it serves to whom (SNI, RFC 6066, section 3).

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::schema;

/// Has this MailDomain's certificate served by a server that serves others as well. All MailDomains of a namespace that
/// name the same Secret are a group: the operator keeps their keys, and the tables by which Postfix and Dovecot choose
/// between them, in that Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sni {
    /// The Secret that the server's pods mount whole. It is the group's alone, and is never written when it belongs to
    /// something else.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub secret_name: String,
    /// Where the pods mount it: the tables name files below this folder. The same for the whole group; where it is not,
    /// that of the MailDomain whose name comes first counts.
    #[serde(default = "Sni::default_mount_path")]
    #[schemars(length(min = 2, max = 200), regex(pattern = r"^(/[A-Za-z0-9._-]+)+$"))]
    pub mount_path: String,
}

impl Sni {
    fn default_mount_path() -> String {
        "/etc/mail-sni".to_owned()
    }
}

/// What the group's Secret holds.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct SniStatus {
    /// The Secret that the pods mount.
    pub secret_name: String,
    /// The MailDomain that writes it for the group: the one whose name comes first.
    pub writer: String,
    /// SHA-256 over what the Secret was made from, in lower-case hex; on the writer only.
    #[serde(default, rename = "digestSHA256", skip_serializing_if = "Option::is_none")]
    pub digest_sha256: Option<String>,
    /// The Secret's resourceVersion as it was written or last read; on the writer only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_resource_version: Option<String>,
    /// Names for which the server has this MailDomain's certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}
