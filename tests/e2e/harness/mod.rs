//! The nouns of the journeys: a [`World`] (one installation, of a [`Kind`], with data of its own), an
//! [`AgentClient`] at its API, a [`Meta`] that signs callbacks, and the simulator.

mod agent;
mod ground;
pub(crate) mod kind;
mod meta;
mod process;
mod simulator;
mod talk;
mod world;

pub(crate) use agent::AgentClient;
pub(crate) use ground::{Database, with_names_of_its_own};
pub(crate) use kind::{AMQP, Kind, POSTGRES, REDIS};
pub(crate) use meta::{APP_SECRET, Meta, PHONE_NUMBER};
pub(crate) use simulator::Simulator;
#[cfg(feature = "failpoints")]
pub(crate) use talk::riddles;
pub(crate) use talk::{Promised, Talk};
pub(crate) use world::{Options, World, free_port};

use std::future::Future;
use std::time::Duration;

pub(crate) use kind::journeys;

/// How long anything may take to become true.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Looks again and again until `look` gives something, at most [`DEADLINE`].
///
/// # Panics
/// When it does not come true in time; `what` says what was awaited.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "it did not become true in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
