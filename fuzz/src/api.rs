//! Words that `src/pki` uses.

#[path = "../../src/api/keys.rs"]
pub mod keys;
#[path = "../../src/api/reasons.rs"]
pub mod reasons;
