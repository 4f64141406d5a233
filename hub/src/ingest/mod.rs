//! Ingest: from the bus into threads, once however often it arrives (`reliability-contract` §2, §7).

mod batch;
mod marking;
mod messages;
mod notices;
mod people;
mod told;

pub(crate) use batch::{Applied, apply};
