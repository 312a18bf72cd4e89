//! How control of a name is shown to a CA: one folder per ACME challenge type.

pub mod http01;
