//! The role `connectors`: its channels, its routes and its tasks.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::{Data, ServiceConfig};
use loket_backbone::bus::{BusError, Wire};
use loket_backbone::clock::Clock;
use loket_backbone::disk::Disks;
use loket_backbone::kv::SharedKv;
use loket_backbone::tasks::Tasks;
use loket_protocol::topics::INBOUND;
use tokio::sync::Semaphore;

use crate::channels::webchat::Sockets;
use crate::channels::{Channels, Wires};
use crate::ingress::{self, Ingress};
use crate::settings::ConnectorsSettings;
use crate::{sender, signals};

/// How many bytes of visitors' bodies are in hand at once.
const VISITOR_BODIES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often the bus is probed, and how old a good probe may be (`reliability-contract` §8).
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// See [`PROBE_EVERY`].
const PROBE_AGE_MAX: Duration = Duration::from_secs(5);

/// The channels of one process. Cheap to clone.
#[derive(Clone)]
pub struct Connectors {
    channels: Channels,
    ingress: Data<Ingress>,
    wires: Data<Wires>,
    /// When the bus was last known to be well.
    well_at: Arc<Mutex<Option<Instant>>>,
}

impl Connectors {
    /// Builds every channel that the settings name; see [`Channels::build`] and [`Self::new`].
    pub fn build(
        settings: &ConnectorsSettings,
        wire: Wire,
        kv: SharedKv,
        clock: Clock,
        disks: Disks,
    ) -> Result<Self, String> {
        let channels = Channels::build(settings, clock.clone())?;
        Ok(Self::new(channels, settings.trusted_proxies.clone(), wire, kv, clock, disks))
    }

    /// Serves these channels. `trusted_proxies` are those in front of web chat whose
    /// `X-Forwarded-For` is believed. While one of `disks` is nearly full nothing new is taken.
    pub fn new(
        channels: Channels,
        trusted_proxies: Vec<IpAddr>,
        wire: Wire,
        kv: SharedKv,
        clock: Clock,
        disks: Disks,
    ) -> Self {
        let limits = ingress::Limits::default();
        let ingress = Ingress::new(channels.by_name(), wire.clone(), clock.clone(), disks.clone(), limits);
        let wires = Wires {
            wire,
            kv,
            clock,
            trusted_proxies,
            bodies: Semaphore::new(VISITOR_BODIES_BYTES_MAX),
            sockets: Sockets::default(),
            disks,
        };
        Self { channels, ingress: Data::new(ingress), wires: Data::new(wires), well_at: Arc::default() }
    }

    /// The channels that it serves.
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Mounts the public routes: `/callbacks/{channel}` and what the channels have of their own.
    pub fn configure(&self, service: &mut ServiceConfig) {
        service.app_data(self.wires.clone());
        ingress::configure(&self.ingress, service);
        for (_, channel) in self.channels.by_name() {
            channel.routes(service);
        }
    }

    /// Starts sending, signals, the visitors' wake-ups and the probe of the bus.
    pub fn start(&self, tasks: &Tasks) {
        let Wires { wire, kv, clock, sockets, .. } = self.wires.get_ref();
        sender::start(self.channels.by_name(), wire.clone(), kv.clone(), clock.clone(), tasks);
        signals::start(self.channels.by_name(), wire.clone(), tasks);
        sockets.start(kv, wire, tasks);
        let (own, stop) = (self.clone(), tasks.stop_sign());
        tasks.spawn("bus probe", async move {
            loop {
                own.probe().await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PROBE_EVERY) => {}
                }
            }
        });
    }

    async fn probe(&self) {
        let Wires { wire, clock, .. } = self.wires.get_ref();
        let probing = wire.publish(&INBOUND, &[]);
        match tokio::time::timeout(PROBE_AGE_MAX, probing).await.unwrap_or(Err(BusError::Deadline)) {
            Ok(()) => *self.well_at() = Some(clock.instant()),
            Err(error) => tracing::warn!(%error, "the bus does not answer its probe"),
        }
    }

    fn well_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.well_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Can this role do its work right now? The error is one sentence. Not ready does not refuse
    /// callbacks that still arrive and can be made safe (`reliability-contract` §8).
    pub fn ready(&self) -> Result<(), String> {
        let now = self.wires.clock.instant();
        let refused = self.ingress.refused_at();
        if self.wires.disks.is_full() {
            return Err("the disk is nearly full".to_owned());
        }
        match *self.well_at() {
            None => Err("the bus has not answered yet".to_owned()),
            Some(at) if now.duration_since(at) >= PROBE_AGE_MAX => {
                Err("the bus has not answered its probe for 5 seconds".to_owned())
            }
            Some(_) if refused.is_some_and(|at| now.duration_since(at) < PROBE_AGE_MAX) => {
                Err("the bus refused a callback within the last 5 seconds".to_owned())
            }
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
