//! The verbs of Loket: a library that the agent API calls, and the workers that run it.
//!
//! [`Hub`] is the only door. SQL is in `store` and nowhere else; connectors are met on the bus only.

mod error;
mod requests;

pub use error::HubError;
pub use requests::*;
