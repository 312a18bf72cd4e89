//! Maintenance windows: when something that may be noticed is allowed to happen.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// A span of time that opens again and again.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it opens: minute, hour, day of the month, month and day of the week, as in crontab (`0 2 * * SAT`). An
    /// opening that the clocks skip in spring comes as much later; one that they repeat in autumn comes once.
    #[schemars(length(min = 9, max = 128), regex(pattern = r"^\S+( +\S+){4}$"))]
    pub cron: String,
    /// How long it stays open, in Go syntax (`4h`).
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('168h')").message("duration must be between 1m and 168h"))]
    pub duration: kube::core::Duration,
    /// The time zone of `cron`, by its IANA name (`Europe/Berlin`). Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: Option<String>,
}
