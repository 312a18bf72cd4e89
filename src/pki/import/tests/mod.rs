//! Imports of what the tests make themselves; what others made is in tests/import.
