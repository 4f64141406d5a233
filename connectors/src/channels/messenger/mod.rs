//! Messenger Platform.

pub mod fake;
