//! How control of a name is shown to a CA: one folder per ACME challenge type.

pub mod dns01;
pub mod http01;
pub mod table;
pub mod tls_alpn01;
