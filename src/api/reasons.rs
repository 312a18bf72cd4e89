//! Condition types and reasons. They are API: documented in the README, and a test says when one is missing there.
