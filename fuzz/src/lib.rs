//! `src/pki` of the operator, without the rest of it: that is all that the fuzz targets need, and it is pure.
//!
//! Besides itself it names words of `src/api`, and of the crate k8s-openapi two types.
#![allow(missing_docs)]

// For `k8s_openapi::` in the sources.
extern crate self as k8s_openapi;

pub use jiff;

pub mod api;
#[path = "../../src/pki/mod.rs"]
pub mod pki;

/// As in k8s-openapi.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByteString(pub Vec<u8>);
