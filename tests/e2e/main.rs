//! Journeys: the real program as a process, real sockets, the simulator in Meta's place. One file a
//! journey; `harness` has the nouns that they are told with.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "the journeys are outside of the house, and stop at the first surprise"
)]

mod harness;

mod album;
mod bad_input;
mod conversation;
mod fixtures;
mod kill;
mod linking;
mod network;
mod order;
mod outage;
mod restarts;
mod roles;
mod secrets_in_logs;
mod sends;
mod siege;
mod socket;
#[cfg(feature = "failpoints")]
mod sweep;
mod verify;
