//! The verbs of Loket: a library that the agent API calls, and the workers that run it.
//!
//! [`Hub`] is the only door. SQL is in `store` and nowhere else; connectors are met on the bus only.

mod error;
mod hub;
mod requests;
mod seal;
mod settings;
mod store;

pub use error::HubError;
pub use hub::Hub;
pub use requests::*;
pub use seal::{MasterKey, SealError};
pub use settings::{HubSettings, OutboundSettings, StoreSettings, UnconfirmedPolicy};
