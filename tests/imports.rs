//! MailCertificates that are imported, with the operator on a real API server and files that OpenSSL made.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the helpers here are tests too")]

mod common;

#[path = "imports/activation.rs"]
mod activation;
#[path = "imports/domains.rs"]
mod domains;
#[path = "imports/expiry.rs"]
mod expiry;
#[path = "imports/fetched.rs"]
mod fetched;
#[path = "imports/formats.rs"]
mod formats;
#[path = "imports/openssl.rs"]
mod openssl;
#[path = "imports/scene.rs"]
mod scene;
#[path = "domains/server.rs"]
#[allow(dead_code, reason = "it is the domains' too")]
mod server;
#[path = "imports/sources.rs"]
mod sources;
