//! Provider words to protocol and back. This crate holds no database and no domain rules: what must
//! be kept rides the bus to the hub, what must be asked is asked over the bus.

pub mod channel;
pub mod channels;
pub mod meta;
pub mod simulator;
