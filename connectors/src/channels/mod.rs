//! The register of channels: one line each.

pub mod messenger;

use std::sync::Arc;

use loket_backbone::clock::Clock;
use serde_json::Value;

use crate::channel::Channel;
use crate::meta::GraphSettings;

/// What a channel is built with, beside its own settings.
#[derive(Clone)]
pub struct Deps {
    /// Time and ids.
    pub clock: Clock,
    /// Where the Graph API is.
    pub graph: GraphSettings,
}

/// Builds a channel from its own section of the settings. `None`: the section is absent or names no
/// account. The error is one sentence that says which setting to change: a section with accounts but
/// without a secret is refused at start and never open.
pub type Build = fn(Value, &Deps) -> Result<Option<Arc<dyn Channel>>, String>;

/// Every channel: the name of its section, which is also its kind and its place under
/// `/callbacks/`, and how it is built.
pub const CHANNELS: &[(&str, Build)] = &[(messenger::KIND, messenger::build)];
