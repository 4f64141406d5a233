//! The agent API over a real listener, a real hub and an embedded bus. Every answer that any of
//! these tests gets is also held against the OpenAPI document.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test ends at the first surprise, and its tasks end with it"
)]

mod access;
mod cookie;
mod document;
mod harness;
mod load;
mod log;
mod merging;
mod processes;
mod refusals;
mod sockets;
mod threads;
