//! The hub's section of the settings.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::passwords::PasswordSettings;
use crate::store::dialect::Location;

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
    /// Who answers.
    pub handoff: HandoffSettings,
}

/// Who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HandoffSettings {
    /// A bot answers new cases first, and takes back what an agent releases: a program with a key of the
    /// role bot.
    pub bot_first: bool,
    /// Further words by which customers ask for a person, beside those that the house knows.
    pub phrases: Vec<String>,
}

/// Where state of record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`.
    pub url: String,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { url: "sqlite:data/loket.db".to_owned() }
    }
}

impl StoreSettings {
    /// The directory of this machine that the store writes to, so that its room can be watched;
    /// `None` for a server.
    pub fn directory(&self) -> Option<PathBuf> {
        let Ok(Location::Sqlite(file)) = Location::of(&self.url) else { return None };
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
        Some(dir.map_or_else(|| PathBuf::from("."), Path::to_path_buf))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_directory_and_a_server_has_none() {
        let directory = |url: &str| StoreSettings { url: url.to_owned() }.directory();
        assert_eq!(directory("sqlite:var/loket.db"), Some("var".into()));
        assert_eq!(directory("sqlite:///srv/loket/loket.db"), Some("/srv/loket".into()));
        assert_eq!(directory("sqlite:loket.db"), Some(".".into()));
        assert_eq!(directory("postgres://host/loket"), None);
    }
}
