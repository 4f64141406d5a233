//! Agents, their roles and their presence.

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;
use crate::time::Timestamp;

/// What somebody may do. One table (`agent-api/src/auth.rs`) maps roles to scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything; also the operator.
    Admin,
    /// Everything about threads, and who does what.
    Lead,
    /// Threads.
    Agent,
    /// A program that answers.
    Bot,
    /// A program that reads the log and writes messages.
    Integrator,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Lead, Self::Agent, Self::Bot, Self::Integrator];

    /// The name in JSON, on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Lead => "lead",
            Self::Agent => "agent",
            Self::Bot => "bot",
            Self::Integrator => "integrator",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// Whether an agent is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// At the counter.
    Online,
    /// Logged in, but not at the counter.
    Away,
    /// Not there.
    #[default]
    Offline,
}

/// An agent's presence as they set it; a lease in kv, gone when it is not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresenceState {
    /// Whether they are there.
    pub presence: Presence,
    /// Whether they take new threads.
    pub accepting: bool,
    /// How many threads at once, 1 to 100.
    pub capacity: u32,
}

impl Default for PresenceState {
    fn default() -> Self {
        Self { presence: Presence::Offline, accepting: false, capacity: 4 }
    }
}

/// An agent as the API shows one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Their id.
    pub id: AgentId,
    /// What they log in with.
    pub login: String,
    /// What customers and colleagues see.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
}
