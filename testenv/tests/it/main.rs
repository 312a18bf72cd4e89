//! The test environment's own tests: it comes up, does what it says, and leaves nothing behind.

// Helpers here panic as the tests that call them do.
#![allow(clippy::unwrap_used)]

mod bind;
mod common;
mod control_plane;
mod node;
mod pebble;
