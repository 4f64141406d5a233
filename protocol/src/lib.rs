//! The nouns that every room of Loket speaks: plain data and total functions.
//!
//! There is no I/O here, no async and no clock: time and randomness come in as arguments, so that
//! the same input gives the same value on every machine and in every version. What is deliberately
//! absent: SQL, HTTP, and anything that only one room needs.

pub mod agent;
pub mod asks;
pub mod channel;
pub mod contact;
pub mod content;
pub mod delivery;
pub mod event;
pub mod handoff;
pub mod ids;
pub mod inbound;
mod keys;
pub mod message;
pub mod outbound;
pub mod problem;
pub mod thread;
pub mod time;
pub mod topics;
