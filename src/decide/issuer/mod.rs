//! MailIssuer: whether it can sign, and how an ACME account comes to be.

pub mod world;

pub use world::{Action, Fact, World};
