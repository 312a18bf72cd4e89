//! Pieces of JSON schema that several kinds share.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Longest DNS name in text form (RFC 1035, section 2.3.4).
pub const MAX_NAME: usize = 253;

/// A host name, as A-labels or in Unicode; Unicode is turned into A-labels (RFC 5890) before use.
pub const HOST_PATTERN: &str =
    r"^([\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?\.)+[\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?$";
/// As [`HOST_PATTERN`], with an optional wildcard as the whole left-most label (RFC 9525, section 6.3).
pub const SAN_PATTERN: &str = r"^(\*\.)?([\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?\.)+[\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?$";
/// The name of a Kubernetes object (RFC 1123 subdomain).
pub const OBJECT_NAME_PATTERN: &str = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";
/// A key of a Secret or ConfigMap.
pub const SECRET_KEY_PATTERN: &str = r"^[-._a-zA-Z0-9]+$";

/// The type of a condition, as Kubernetes takes it.
pub const CONDITION_TYPE_PATTERN: &str =
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$";

/// Go syntax in hours, minutes, seconds and milliseconds. The API server's own `duration` also takes `90 days`, which the
/// operator could not read.
const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(h|m|s|ms))+$";

/// A span of time in Go syntax (`2160h`, `90m`).
pub fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "duration", "maxLength": 32, "pattern": DURATION_PATTERN})
}

/// An optional [`duration`].
pub fn optional_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "format": "duration", "maxLength": 32, "pattern": DURATION_PATTERN, "nullable": true
    })
}

/// An object that is passed on as it is.
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true})
}
