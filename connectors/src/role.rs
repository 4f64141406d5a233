//! The role `connectors`: its channels, its routes and its tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::{Data, ServiceConfig};
use bytes::Bytes;
use loket_backbone::bus::Wire;
use loket_backbone::clock::Clock;
use loket_backbone::kv::SharedKv;
use loket_backbone::tasks::Tasks;
use loket_protocol::channel::AccountSettings;
use loket_protocol::time::Timestamp;
use loket_protocol::topics::INBOUND;

use crate::channel::{Callback, Channel, Received};
use crate::channels::{CHANNELS, Deps};
use crate::ingress::{self, Ingress};
use crate::settings::ConnectorsSettings;
use crate::{sender, signals};

/// How often the bus is probed, and how old a good probe may be (`reliability-contract` §8).
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// See [`PROBE_EVERY`].
const PROBE_AGE_MAX: Duration = Duration::from_secs(5);

/// The channels of one process. Cheap to clone.
#[derive(Clone)]
pub struct Connectors {
    channels: Arc<[(&'static str, Arc<dyn Channel>)]>,
    ingress: Data<Ingress>,
    wire: Wire,
    kv: SharedKv,
    clock: Clock,
    /// When the bus was last known to be well.
    well_at: Arc<Mutex<Option<Instant>>>,
}

impl Connectors {
    /// Builds every channel that the settings name. The error is one sentence that says which
    /// setting to change: nothing is served with a secret missing.
    pub fn build(
        settings: &ConnectorsSettings,
        wire: Wire,
        kv: SharedKv,
        clock: Clock,
    ) -> Result<Self, String> {
        if let Some(unknown) = settings.channels.keys().find(|name| !is_known(name)) {
            let known: Vec<&str> = CHANNELS.iter().map(|(name, _)| *name).collect();
            return Err(format!("there is no channel {unknown}; there are {}", known.join(", ")));
        }
        let deps = Deps { clock: clock.clone(), graph: settings.graph.clone() };
        let mut channels = Vec::new();
        for (name, build) in CHANNELS {
            let section = settings.channels.get(*name).cloned().unwrap_or_default();
            if let Some(channel) = build(section, &deps)? {
                channels.push((*name, channel));
            }
        }
        let ingress = Ingress::new(&channels, wire.clone(), clock.clone(), ingress::Limits::default());
        Ok(Self {
            channels: channels.into(),
            ingress: Data::new(ingress),
            wire,
            kv,
            clock,
            well_at: Arc::default(),
        })
    }

    /// All configured channel accounts, for the hub.
    pub fn accounts(&self) -> Vec<AccountSettings> {
        self.channels.iter().flat_map(|(_, channel)| channel.accounts()).collect()
    }

    /// The channels by name, for `loket doctor`.
    pub fn channels(&self) -> &[(&'static str, Arc<dyn Channel>)] {
        &self.channels
    }
}
