//! The register of channels: one line each.

pub mod messenger;
pub mod webchat;
pub mod whatsapp;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use loket_backbone::bus::Wire;
use loket_backbone::clock::Clock;
use loket_backbone::disk::Disks;
use loket_backbone::kv::SharedKv;
use loket_protocol::channel::AccountSettings;
use loket_protocol::time::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::channel::{Callback, Channel, Received};
use crate::ingress;
use crate::meta::GraphSettings;
use crate::refusal::{CALLBACK_RETRY_AFTER_S, Refusal};
use crate::settings::ConnectorsSettings;

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
pub const CHANNELS: &[(&str, Build)] = &[
    (whatsapp::KIND, |section, deps| shared(whatsapp::build(&read(whatsapp::KIND, section)?, &deps.graph))),
    (messenger::KIND, messenger::build),
    (webchat::KIND, |section, _| shared(webchat::build(read(webchat::KIND, section)?))),
];

/// A channel's own section; its defaults when it is absent.
fn read<T: DeserializeOwned + Default>(name: &str, section: Value) -> Result<T, String> {
    if section.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(section).map_err(|error| format!("the section {name} cannot be read: {error}"))
}

fn shared(built: Result<Option<Box<dyn Channel>>, String>) -> Result<Option<Arc<dyn Channel>>, String> {
    Ok(built?.map(Arc::from))
}

/// The channels that the settings name: what they are and how they read. Every role knows them; only
/// [`crate::Connectors`] serves them and sends through them. Cheap to clone.
#[derive(Clone)]
pub struct Channels {
    by_name: Arc<[(&'static str, Arc<dyn Channel>)]>,
}

impl Channels {
    /// Builds every channel that the settings name. The error is one sentence that says which
    /// setting to change: nothing is served with a secret missing.
    pub fn build(settings: &ConnectorsSettings, clock: Clock) -> Result<Self, String> {
        if let Some(unknown) = settings.channels.keys().find(|name| !is_known(name)) {
            let known: Vec<&str> = CHANNELS.iter().map(|(name, _)| *name).collect();
            return Err(format!("there is no channel {unknown}; there are {}", known.join(", ")));
        }
        let deps = Deps { clock, graph: settings.graph.clone() };
        let mut by_name = Vec::new();
        for (name, build) in CHANNELS {
            let section = settings.channels.get(*name).cloned().unwrap_or_default();
            if let Some(channel) = build(section, &deps)? {
                by_name.push((*name, channel));
            }
        }
        Ok(Self { by_name: by_name.into() })
    }

    /// The channels by name, in the order of the register.
    pub fn by_name(&self) -> &[(&'static str, Arc<dyn Channel>)] {
        &self.by_name
    }

    /// All configured channel accounts, for the hub.
    pub fn accounts(&self) -> Vec<AccountSettings> {
        self.by_name.iter().flat_map(|(_, channel)| channel.accounts()).collect()
    }

    /// Reads a parked body with today's code (`reliability-contract` §7): what it comes to, and
    /// `None` when there is no such channel or the body is no JSON at all. The body was authenticated
    /// when it came.
    pub fn reread(&self, channel_kind: &str, body: &[u8], received_at: Timestamp) -> Option<Received> {
        let (kind, channel) = self.by_name.iter().find(|(kind, _)| *kind == channel_kind)?;
        let body = Bytes::copy_from_slice(body);
        let callback = Callback { signatures: Vec::new(), body, received_at };
        ingress::receive(kind, channel.as_ref(), &callback).ok()
    }
}

fn is_known(name: &str) -> bool {
    CHANNELS.iter().any(|(known, _)| *known == name)
}

/// What a channel's own routes work with; handlers find it as `web::Data<Wires>`.
pub(crate) struct Wires {
    /// To the hub.
    pub(crate) wire: Wire,
    /// For what may be lost.
    pub(crate) kv: SharedKv,
    /// Time and ids.
    pub(crate) clock: Clock,
    /// Whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<IpAddr>,
    /// Room for bodies in hand, in bytes.
    pub(crate) bodies: Semaphore,
    /// The open sockets of this process.
    pub(crate) sockets: webchat::Sockets,
    /// Room on the disks of this process.
    pub(crate) disks: Disks,
}

impl Wires {
    /// Refuses something new while the disk is nearly full (`reliability-contract` §8).
    pub(crate) fn has_room(&self) -> Result<(), Refusal> {
        if self.disks.is_full() { Err(Refusal::DiskFull(CALLBACK_RETRY_AFTER_S)) } else { Ok(()) }
    }
}
