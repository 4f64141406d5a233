//! One process of Loket: built from the settings, run until told to stop, stopped in reverse.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App as WebApp, HttpServer, web};
use anyhow::Context as _;
use loket_agent_api::{AgentApi, ApiSettings, Lent};
use loket_backbone::bus::Wire;
use loket_backbone::clock::Clock;
use loket_backbone::disk::Disks;
use loket_backbone::tasks::Tasks;
use loket_backbone::{bus, kv};
use loket_connectors::Connectors;
use loket_connectors::channels::{CHANNELS, Deps};
use loket_hub::{Hub, Reread};
use loket_protocol::channel::ChannelAccount;
use loket_protocol::inbound::InboundEvent;
use loket_protocol::problem::Problem;
use loket_protocol::time::Timestamp;
use loket_protocol::topics;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::Config;

/// How long an orderly stop may take in all (`reliability-contract` §8); then it ends hard, which
/// is as safe.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long open requests may go on after the listeners have stopped.
const REQUESTS_LIMIT_S: u64 = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpSettings {
    listen: String,
    drain_delay_ms: u64,
    trusted_proxies: Vec<std::net::IpAddr>,
}

/// A built process: its backends are open and its ports are bound, and nothing runs yet.
pub struct App {
    hub: Hub,
    connectors: Connectors,
    api: AgentApi,
    bus: Arc<dyn bus::Bus>,
    tasks: Tasks,
    disks: Disks,
    http: TcpListener,
    /// Absent when the API shares the port of callbacks and web chat.
    api_listener: Option<TcpListener>,
    drain_delay: Duration,
}

/// What the settings open: shared by the server and by the operator's commands.
pub struct Backends {
    /// The bus, typed.
    pub wire: Wire,
    /// What may be lost.
    pub kv: kv::SharedKv,
    /// The channels.
    pub connectors: Connectors,
    /// The hub.
    pub hub: Hub,
    /// The time.
    pub clock: Clock,
    /// Room on the disks that this process writes to.
    pub disks: Disks,
}

impl Backends {
    /// Opens everything that the settings name, and checks it.
    pub async fn open(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        let kv_url = url_of(config, "kv")?;
        let kv = kv::open(&kv_url, clock.clone()).context("kv.url")?;
        let bus_url = url_of(config, "bus")?;
        let bus =
            bus::open(&bus_url, clock.clone(), topics::TOPICS, topics::SUBJECTS).await.context("bus.url")?;
        let wire = Wire::new(bus);
        let settings = hub_settings(config)?;
        let disks = local_disks(&wire, &settings);
        let connectors = Connectors::build(
            &connectors_settings(config)?,
            wire.clone(),
            kv.clone(),
            clock.clone(),
            disks.clone(),
        )
        .map_err(anyhow::Error::msg)?;
        let hub = Hub::open(
            &settings,
            crate::master_key(config)?,
            connectors.accounts(),
            wire.clone(),
            kv.clone(),
            clock.clone(),
        )
        .await
        .context("store.url")?;
        Ok(Self { wire, kv, connectors, hub, clock, disks })
    }

    /// The channels' own reading of bodies, for parked items.
    pub fn channels(&self) -> Channels {
        Channels(self.connectors.clone())
    }

    /// Asks every channel account's provider whether the account works; each with a sentence when not.
    pub async fn probe(&self) -> Vec<(ChannelAccount, Result<(), String>)> {
        let mut outcomes = Vec::new();
        for (_, channel) in self.connectors.channels() {
            for account in channel.accounts() {
                let outcome = channel.probe(&account.channel.account).await;
                outcomes.push((account.channel, outcome));
            }
        }
        outcomes
    }

    /// Closes what was opened.
    pub async fn close(self) {
        self.wire.bus().close().await;
        self.hub.close().await;
    }
}

/// The channels' own reading of callback bodies, which the hub needs for parked items and may not
/// know (`hub` and `connectors` never meet but on the bus).
pub struct Channels(Connectors);

impl Reread for Channels {
    fn receive(
        &self,
        channel_kind: &str,
        body: &[u8],
        received_at: Timestamp,
    ) -> Option<(Vec<InboundEvent>, Vec<Problem>)> {
        let received = self.0.reread(channel_kind, body, received_at)?;
        Some((received.events, received.problems))
    }
}

/// Checks the settings as far as it can be done without opening or binding anything.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let deps = Deps { clock: Clock::system(), graph: config.section("graph")? };
    for (name, build) in CHANNELS {
        build(config.section_json(name)?, &deps).map_err(anyhow::Error::msg)?;
    }
    hub_settings(config)?;
    connectors_settings(config)?;
    config.section::<ApiSettings>("api")?.check()?;
    crate::master_key(config)?;
    Ok(())
}

/// The hub's settings, from the sections that are its own.
pub fn hub_settings(config: &Config) -> anyhow::Result<loket_hub::HubSettings> {
    Ok(loket_hub::HubSettings {
        store: config.section("store")?,
        outbound: config.section("outbound")?,
        passwords: config.section("passwords")?,
    })
}

/// The settings of all channels, from their sections.
fn connectors_settings(config: &Config) -> anyhow::Result<loket_connectors::ConnectorsSettings> {
    let http: HttpSettings = config.section("http")?;
    let mut channels = std::collections::BTreeMap::new();
    for (name, _) in CHANNELS {
        channels.insert((*name).to_owned(), config.section_json(name)?);
    }
    let graph = config.section("graph")?;
    Ok(loket_connectors::ConnectorsSettings { graph, channels, trusted_proxies: http.trusted_proxies })
}

/// The disks under an embedded bus and a SQLite store; servers look after their own.
fn local_disks(wire: &Wire, settings: &loket_hub::HubSettings) -> Disks {
    let bus = wire.bus().directory().map(|dir| ("bus", dir.to_owned()));
    let store = settings.store.directory().map(|dir| ("store", dir));
    Disks::new(bus.into_iter().chain(store).collect())
}

fn url_of(config: &Config, section: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Url {
        url: String,
    }
    Ok(config.section::<Url>(section)?.url)
}

#[derive(Deserialize)]
struct ApiListen {
    listen: String,
}

impl App {
    /// Opens the backends and binds the ports; port 0 takes a free one, see [`Self::addresses`].
    pub async fn build(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        let render = crate::telemetry::start_metrics()?;
        let http: HttpSettings = config.section("http")?;
        let api_listen: ApiListen = config.section("api")?;
        let Backends { wire, kv, connectors, hub, clock, disks } = Backends::open(config, clock).await?;
        let settings: ApiSettings = config.section("api")?;
        let public = connectors.clone();
        let lent = Lent {
            render_metrics: Arc::new(move || render.render()),
            others_ready: Arc::new(move || public.ready()),
            reread: Arc::new(Channels(connectors.clone())),
            disks: disks.clone(),
        };
        let api = AgentApi::new(hub.clone(), kv, clock, settings, lent)?;
        let shared = api_listen.listen == http.listen;
        let bind = |name: &str, address: &str| {
            TcpListener::bind(address).with_context(|| {
                format!("{name}: {address} cannot be bound; is something else running there?")
            })
        };
        Ok(Self {
            hub,
            connectors,
            api,
            bus: wire.bus().clone(),
            tasks: Tasks::new(),
            disks,
            http: bind("http.listen", &http.listen)?,
            api_listener: if shared { None } else { Some(bind("api.listen", &api_listen.listen)?) },
            drain_delay: Duration::from_millis(http.drain_delay_ms),
        })
    }

    /// Where it listens: callbacks and web chat, then the API.
    pub fn addresses(&self) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        let http = self.http.local_addr()?;
        let api = self.api_listener.as_ref().map_or(Ok(http), TcpListener::local_addr)?;
        Ok((http, api))
    }

    /// The hub, for tests that look from inside.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Runs all roles until `shutdown` or until a task panics, then stops in order: not ready, listeners,
    /// sockets, workers, bus, store (`reliability-contract` §8).
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { hub, connectors, api, bus, tasks, disks, http, api_listener, drain_delay } = self;
        let stop = tasks.stop_sign();
        disks.start(&tasks);
        hub.start(&tasks);
        connectors.start(&tasks);
        api.start(&tasks);
        let mut servers = Vec::new();
        if let Some(listener) = api_listener {
            let public = connectors.clone();
            servers.push(serve(http, move |service| public.configure(service))?);
            let inside = api.clone();
            servers.push(serve(listener, move |service| inside.configure(service))?);
        } else {
            let (public, inside) = (connectors.clone(), api.clone());
            servers.push(serve(http, move |service| {
                public.configure(service);
                inside.configure(service);
            })?);
        }
        let handles: Vec<_> = servers.iter().map(actix_web::dev::Server::handle).collect();
        for server in servers {
            tasks.spawn("http", async move {
                if let Err(error) = server.await {
                    tracing::error!(%error, "a listener ended");
                }
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => tracing::info!("stopping"),
            () = stop.cancelled() => tracing::error!("a task panicked; stopping"),
        }
        let broken = stop.is_cancelled();
        api.drain();
        tokio::time::sleep(drain_delay).await;
        let ended = tokio::time::timeout(STOP_LIMIT, async {
            api.close_sockets(Duration::from_secs(REQUESTS_LIMIT_S)).await;
            for handle in handles {
                handle.stop(true).await;
            }
            tasks.stop(STOP_LIMIT).await
        })
        .await;
        bus.close().await;
        hub.close().await;
        anyhow::ensure!(ended == Ok(true), "not everything stopped within {} s", STOP_LIMIT.as_secs());
        anyhow::ensure!(!broken, "a task panicked; the log says which");
        Ok(())
    }
}

fn serve(
    listener: TcpListener,
    configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> anyhow::Result<actix_web::dev::Server> {
    let server = HttpServer::new(move || WebApp::new().configure(configure.clone()))
        .disable_signals()
        .tcp_nodelay(true)
        .client_request_timeout(Duration::from_secs(5))
        .shutdown_timeout(REQUESTS_LIMIT_S)
        .listen(listener)?;
    Ok(server.run())
}
