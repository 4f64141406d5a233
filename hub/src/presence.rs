//! Presence: a lease of a minute in kv, renewed by the agent's socket. What kv loses is said again
//! from what this process was told, so that losing it loses nothing for longer than a renewal. Being
//! away is a lease, too: otherwise another process, with a socket of the same agent, would take it for lost
//! and say again that they are there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use loket_protocol::agent::PresenceState;
use loket_protocol::event::LiveSignal;
use loket_protocol::ids::AgentId;
use loket_protocol::topics::LIVE;

use crate::{Hub, HubError};

/// How long a presence counts without being renewed.
const LEASE: Duration = Duration::from_mins(1);

/// Presences that this process was told of, by agents or by other processes; at most one an agent.
#[derive(Default)]
pub(crate) struct Present(Mutex<HashMap<AgentId, (PresenceState, Instant)>>);

impl Present {
    pub(crate) fn set(&self, agent: AgentId, state: PresenceState, now: Instant) {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        present.retain(|_, (_, renewed)| now.duration_since(*renewed) < LEASE);
        present.insert(agent, (state, now));
    }

    pub(crate) fn get(&self, agent: AgentId, now: Instant) -> Option<PresenceState> {
        let present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, renewed) = present.get(&agent)?;
        (now.duration_since(*renewed) < LEASE).then_some(*state)
    }
}

fn key(agent: AgentId) -> String {
    format!("presence:{agent}")
}

impl Hub {
    /// Sets an agent's presence for a minute and tells the others.
    pub async fn set_presence(&self, agent: AgentId, state: PresenceState) -> Result<(), HubError> {
        if !(1..=100).contains(&state.capacity) {
            return Err(HubError::invalid("capacity", "say a number from 1 to 100"));
        }
        self.inner().present.set(agent, state, self.inner().clock.instant());
        self.keep_presence(agent, state).await;
        self.live(&LiveSignal::Presence { agent_id: agent, state }).await;
        Ok(())
    }

    /// Renews an agent's presence for another minute, as long as their socket lives. Whatever was set
    /// meanwhile, through any process, stays.
    pub async fn renew_presence(&self, agent: AgentId) {
        let now = self.inner().clock.instant();
        let lives = self.inner().kv.renew(&key(agent), LEASE).await.unwrap_or(false);
        let state = if lives {
            self.presence(agent).await
        } else {
            // Lost, or nobody can tell: what this process knows is said again.
            let Some(state) = self.inner().present.get(agent, now) else { return };
            self.keep_presence(agent, state).await;
            state
        };
        self.inner().present.set(agent, state, now);
    }

    /// How an agent is there right now; *offline* when nobody renewed it.
    pub async fn presence(&self, agent: AgentId) -> PresenceState {
        let kept = match self.inner().kv.get(&key(agent)).await {
            Ok(kept) => kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            Err(error) => {
                tracing::debug!(%error, "presence is answered from this process alone");
                None
            }
        };
        kept.or_else(|| self.inner().present.get(agent, self.inner().clock.instant())).unwrap_or_default()
    }

    async fn keep_presence(&self, agent: AgentId, state: PresenceState) {
        let bytes = serde_json::to_vec(&state).unwrap_or_default();
        if let Err(error) = self.inner().kv.set(&key(agent), bytes.into(), LEASE).await {
            tracing::debug!(%error, "presence is known to this process alone");
        }
    }

    /// Tells agents' sockets in every process something that may be lost.
    pub(crate) async fn live(&self, signal: &LiveSignal) {
        let bytes = Bytes::from(serde_json::to_vec(signal).unwrap_or_default());
        if let Err(error) = self.inner().kv.wake(LIVE, bytes).await {
            tracing::debug!(%error, "a live signal was lost");
        }
    }
}
