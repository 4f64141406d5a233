//! Journeys: the real program as a process, real sockets, the simulator in Meta's place. One file a
//! journey; `harness` has the nouns that they are told with.

mod harness;

mod album;
mod bad_input;
mod conversation;
mod fixtures;
mod kill;
mod order;
mod secrets_in_logs;
mod socket;
mod verify;
