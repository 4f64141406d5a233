//! The hub's section of the settings.

use serde::{Deserialize, Serialize};

use crate::passwords::PasswordSettings;

/// What the hub is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubSettings {
    /// Where state of record is.
    pub store: StoreSettings,
    /// How answers go out.
    pub outbound: OutboundSettings,
    /// How much work a password costs.
    pub passwords: PasswordSettings,
}

/// Where state of record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// `sqlite:PATH`.
    pub url: String,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { url: "sqlite:data/loket.db".to_owned() }
    }
}

/// How answers go out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboundSettings {
    /// What happens to what a person wrote (and to templates) when the provider's answer was lost.
    pub unconfirmed: UnconfirmedPolicy,
}

/// What to do about a send whose answer was lost and which nothing settled in 120 s
/// (`reliability-contract` §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnconfirmedPolicy {
    /// Shown to the agent, who decides.
    #[default]
    Hold,
    /// Sent once more, marked as a possible duplicate.
    ResendOnce,
}
