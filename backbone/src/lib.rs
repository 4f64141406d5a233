//! The wires of Loket: services that more than one role uses, each a small trait with an embedded
//! twin, and the few tools (time, randomness, secrets, outgoing HTTP, supervised tasks) that every
//! room needs. Nothing here looks inside a payload.

pub mod bus;
pub mod clock;
pub mod disk;
pub mod failpoint;
pub mod http;
pub mod kv;
pub mod random;
pub mod secret;
pub mod tasks;
#[cfg(any(test, feature = "trial"))]
pub mod trial;
