//! The certManager issuer with the operator on a real API server, with cert-manager's CertificateRequest as it publishes
//! it. A test signer plays cert-manager's approver and an issuer's controller.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests too")]

mod common;

#[path = "cert_manager/issuing.rs"]
mod issuing;
#[path = "cert_manager/permissions.rs"]
mod permissions;
#[path = "cert_manager/refusals.rs"]
mod refusals;
#[path = "cert_manager/signer.rs"]
mod signer;
