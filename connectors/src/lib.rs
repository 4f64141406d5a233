//! Provider words to protocol and back. This crate holds no database and no domain rules: what must
//! be kept rides the bus to the hub, what must be asked is asked over the bus.

pub mod channel;
pub mod channels;
pub mod ingress;
pub mod meta;
mod pace;
pub mod refusal;
mod role;
mod sender;
mod settings;
mod signals;
pub mod simulator;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod testing;

pub use role::Connectors;
pub use settings::ConnectorsSettings;
