//! The verbs of Loket: a library that the agent API calls, and the workers that run it.
//!
//! [`Hub`] is the only door. SQL is in `store` and nowhere else; connectors are met on the bus only.

mod contacts;
mod error;
mod events;
mod hub;
mod requests;
mod seal;
mod settings;
mod store;
mod threads;

pub use error::HubError;
pub use hub::Hub;
pub use requests::*;
pub use seal::{MasterKey, SealError};
pub use settings::{HubSettings, OutboundSettings, StoreSettings, UnconfirmedPolicy};
