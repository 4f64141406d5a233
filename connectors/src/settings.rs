//! What the front door hands to this crate.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use crate::meta::GraphSettings;

/// The settings of all channels. There is no `Debug`, because the sections hold secrets.
#[derive(Clone, Default)]
pub struct ConnectorsSettings {
    /// The section `graph`.
    pub graph: GraphSettings,
    /// The sections of the channels by name, such as `whatsapp`, as they stand in the settings: each
    /// is parsed by its channel. A name that no channel has is refused.
    pub channels: BTreeMap<String, Value>,
    /// Proxies in front of us: only what they say in `X-Forwarded-For` is believed, read from the
    /// right (`security` §12).
    pub trusted_proxies: Vec<IpAddr>,
}
