//! The public API, group `mailcert.dev`, version `v1alpha1`: one file per kind.

pub mod endpoint;
