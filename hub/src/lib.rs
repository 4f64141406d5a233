//! The verbs of Loket: a library that the agent API calls, and the workers that run it.
//!
//! [`Hub`] is the only door. SQL is in `store` and nowhere else; connectors are met on the bus only.

mod agents;
mod channels;
mod claims;
mod contacts;
mod delivery;
mod desk;
mod dispatch;
mod error;
mod events;
mod handoff;
mod hub;
mod idempotency;
mod ingest;
mod joining;
mod keys;
mod linking;
mod parked;
mod passwords;
mod presence;
mod replies;
mod reports;
mod requests;
mod retry;
mod seal;
mod sendability;
mod sequencer;
mod settings;
mod signals;
mod standing;
mod store;
mod suggestions;
mod sweeps;
mod threads;
mod tokens;
#[cfg(test)]
mod trials;
#[cfg(test)]
#[path = "trials/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests on the other store (store/trial.rs)")]
mod trials_on_postgres;
mod verify;
mod webchat;
mod worker;

pub use agents::{CreatedAgent, LoggedIn};
pub use channels::{Decision, UnconfirmedMessage};
pub use error::HubError;
pub use hub::Hub;
pub use keys::CreatedKey;
pub use parked::Reread;
pub use passwords::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, PasswordSettings};
pub use requests::*;
pub use seal::{MasterKey, SealError};
pub use sendability::{IdentitySendability, MaySend, Sendability};
pub use settings::{HandoffSettings, HubSettings, OutboundSettings, StoreSettings, UnconfirmedPolicy};
