//! MailDomain: which names its certificate needs, who is to be restarted, what is to be probed, and what that proves.

pub mod world;

pub use world::{Action, Fact, World};
