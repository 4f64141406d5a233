//! One process of Loket: built from the settings, run until told to stop, stopped in reverse. What
//! each role needs and starts is the table in `roles`; nothing else is opened.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App as WebApp, HttpServer, web};
use anyhow::Context as _;
use loket_agent_api::{AgentApi, ApiSettings, Lent, RenderMetrics};
use loket_backbone::bus::Wire;
use loket_backbone::clock::Clock;
use loket_backbone::disk::Disks;
use loket_backbone::tasks::Tasks;
use loket_backbone::{bus, kv};
use loket_connectors::Connectors;
use loket_connectors::channels::{CHANNELS, Channels};
use loket_hub::{Hub, Reread};
use loket_protocol::channel::ChannelAccount;
use loket_protocol::inbound::InboundEvent;
use loket_protocol::problem::Problem;
use loket_protocol::time::Timestamp;
use loket_protocol::topics;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::health::{Health, Routes};
use crate::roles::{AGENT_API, Addresses, CONNECTORS, Chosen, Needs, Parts, without_kv};

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
    roles: Chosen,
    parts: Parts,
    health: Arc<Health>,
    render: RenderMetrics,
    bus: Arc<dyn bus::Bus>,
    tasks: Tasks,
    disks: Disks,
    http: TcpListener,
    /// Absent when the API shares the port of callbacks and web chat.
    api_listener: Option<TcpListener>,
    drain_delay: Duration,
}

/// What the operator's commands work on: everything that the settings name, with nothing running.
pub struct Backends {
    /// The bus, typed.
    pub wire: Wire,
    /// The channels.
    pub channels: Channels,
    /// The hub.
    pub hub: Hub,
    /// The time.
    pub clock: Clock,
}

impl Backends {
    /// Opens everything that the settings name, and checks it.
    pub async fn open(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        let kv = open_kv(config, clock.clone())?;
        let wire = open_bus(config, clock.clone()).await?;
        let channels = open_channels(config, clock.clone())?;
        let hub = open_hub(config, &channels, wire.clone(), kv, clock.clone()).await?;
        Ok(Self { wire, channels, hub, clock })
    }

    /// The channels' own reading of bodies, for parked items.
    pub fn reader(&self) -> Reader {
        Reader(self.channels.clone())
    }

    /// Closes what was opened.
    pub async fn close(self) {
        self.wire.bus().close().await;
        self.hub.close().await;
    }
}

/// Room on the disks under an embedded bus and a SQLite store; servers look after their own.
pub fn local_disks(config: &Config, wire: Option<&Wire>, has_store: bool) -> anyhow::Result<Disks> {
    let bus = wire.and_then(|wire| wire.bus().directory().map(|dir| ("bus", dir.to_owned())));
    let store = if has_store { hub_settings(config)?.store.directory() } else { None };
    Ok(Disks::new(bus.into_iter().chain(store.map(|dir| ("store", dir))).collect()))
}

/// The error with the setting that it is about, unless it says so itself.
fn named(what: Needs, error: anyhow::Error) -> anyhow::Error {
    let setting = what.setting();
    if format!("{error:#}").contains(setting) { error } else { error.context(setting) }
}

/// The store of what may be lost.
pub fn open_kv(config: &Config, clock: Clock) -> anyhow::Result<kv::SharedKv> {
    kv::open(&url_of(config, Needs::Kv)?, clock).map_err(|error| named(Needs::Kv, error.into()))
}

/// The bus.
pub async fn open_bus(config: &Config, clock: Clock) -> anyhow::Result<Wire> {
    let url = url_of(config, Needs::Bus)?;
    // Large, and asked for from deep inside other futures.
    let opened = Box::pin(bus::open(&url, clock, topics::TOPICS, topics::SUBJECTS)).await;
    Ok(Wire::new(opened.map_err(|error| named(Needs::Bus, error.into()))?))
}

/// The channels that the settings name; nothing is called yet.
pub fn open_channels(config: &Config, clock: Clock) -> anyhow::Result<Channels> {
    Channels::build(&connectors_settings(config)?, clock).map_err(anyhow::Error::msg)
}

/// The hub with its store.
pub async fn open_hub(
    config: &Config,
    channels: &Channels,
    wire: Wire,
    kv: kv::SharedKv,
    clock: Clock,
) -> anyhow::Result<Hub> {
    let (settings, key) = (hub_settings(config)?, crate::master_key(config)?);
    let opened = Hub::open(&settings, key, channels.accounts(), wire, kv, clock).await;
    opened.map_err(|error| named(Needs::Store, error.into()))
}

/// Asks every channel account's provider whether the account works; each with a sentence when not.
pub async fn probe(channels: &Channels) -> Vec<(ChannelAccount, Result<(), String>)> {
    let mut outcomes = Vec::new();
    for (_, channel) in channels.by_name() {
        for account in channel.accounts() {
            let outcome = channel.probe(&account.channel.account).await;
            outcomes.push((account.channel, outcome));
        }
    }
    outcomes
}

/// The channels' own reading of callback bodies, which the hub needs for parked items and may not
/// know (`hub` and `connectors` never meet but on the bus).
pub struct Reader(Channels);

impl Reread for Reader {
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
    open_channels(config, Clock::system())?;
    hub_settings(config)?;
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
        handoff: config.section("handoff")?,
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

/// Where a service is, as the settings have it.
pub fn url_of(config: &Config, what: Needs) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Url {
        url: String,
    }
    let section = what.setting().trim_end_matches(".url");
    Ok(config.section::<Url>(section)?.url)
}

#[derive(Deserialize)]
struct ApiListen {
    listen: String,
}

fn bind(name: &str, address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .with_context(|| format!("{name}: {address} cannot be bound; is something else running there?"))
}

impl App {
    /// Opens what these roles need and binds the ports; port 0 takes a free one, see
    /// [`Self::addresses`]. A split on backends that only one process can have is refused, with the
    /// settings to change.
    pub async fn build(config: &Config, roles: Chosen, clock: Clock) -> anyhow::Result<Self> {
        roles.check(|what| url_of(config, what))?;
        if let Some(consequences) = without_kv(&url_of(config, Needs::Kv)?) {
            tracing::warn!("{consequences}");
        }
        let render = crate::telemetry::start_metrics()?;
        let render: RenderMetrics = Arc::new(move || render.render());
        let http: HttpSettings = config.section("http")?;
        let api_listen: ApiListen = config.section("api")?;
        let channels = open_channels(config, clock.clone())?;
        let kv = open_kv(config, clock.clone())?;
        let wire = open_bus(config, clock.clone()).await?;
        let hub = if roles.need(Needs::Store) {
            Some(open_hub(config, &channels, wire.clone(), kv.clone(), clock.clone()).await?)
        } else {
            None
        };
        let disks = local_disks(config, Some(&wire), hub.is_some())?;
        let connectors = roles.has(CONNECTORS).then(|| {
            let (channels, proxies) = (channels.clone(), http.trusted_proxies.clone());
            Connectors::new(channels, proxies, wire.clone(), kv.clone(), clock.clone(), disks.clone())
        });
        let relaxed = hub.as_ref().map_or_else(
            || if wire.bus().durability_is_relaxed() { vec![Needs::Bus.setting()] } else { Vec::new() },
            Hub::relaxed,
        );
        let mut parts = Parts { connectors, hub, api: None };
        let health = Arc::new(Health::new(roles.clone(), parts.clone(), relaxed));
        if let (true, Some(hub)) = (roles.has(AGENT_API), &parts.hub) {
            let settings: ApiSettings = config.section("api")?;
            let (render, health) = (Arc::clone(&render), Arc::clone(&health));
            let ready = Arc::new(move || {
                let health = Arc::clone(&health);
                Box::pin(async move { health.ready().await }) as loket_agent_api::Readiness
            });
            let reread = Arc::new(Reader(channels));
            let lent = Lent { render_metrics: render, ready, reread, disks: disks.clone() };
            parts.api = Some(AgentApi::new(hub.clone(), kv, clock, settings, lent)?);
        }
        let shared = api_listen.listen == http.listen;
        Ok(Self {
            roles,
            parts,
            health,
            render,
            bus: wire.bus().clone(),
            tasks: Tasks::new(),
            disks,
            http: bind("http.listen", &http.listen)?,
            api_listener: if shared { None } else { Some(bind("api.listen", &api_listen.listen)?) },
            drain_delay: Duration::from_millis(http.drain_delay_ms),
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> anyhow::Result<Addresses> {
        let http = self.http.local_addr()?;
        let api = self.api_listener.as_ref().map_or(Ok(http), TcpListener::local_addr)?;
        Ok(Addresses { http, api })
    }

    /// Runs the roles until `shutdown` or until a task panics, then stops in order: not ready, listeners,
    /// sockets, workers, bus, store (`reliability-contract` §8).
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { roles, parts, health, render, bus, tasks, disks, http, api_listener, drain_delay } = self;
        let stop = tasks.stop_sign();
        disks.start(&tasks);
        for role in roles.iter() {
            (role.start)(&parts, &tasks);
        }
        let mut servers = Vec::new();
        // Figures are for the inside: on a port that callbacks have to themselves there are none.
        let inside = Routes { health: Arc::clone(&health), metrics: Some(render) };
        let outside = Routes { health: Arc::clone(&health), metrics: None };
        let (connectors, api) = (parts.connectors.clone(), parts.api.clone());
        if let Some(listener) = api_listener {
            servers.push(serve(http, move |service| mount(service, connectors.as_ref(), None, &outside))?);
            servers.push(serve(listener, move |service| mount(service, None, api.as_ref(), &inside))?);
        } else {
            servers.push(serve(http, move |service| {
                mount(service, connectors.as_ref(), api.as_ref(), &inside);
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
        health.stop();
        if let Some(api) = &parts.api {
            api.drain();
        }
        tokio::time::sleep(drain_delay).await;
        let ended = tokio::time::timeout(STOP_LIMIT, async {
            if let Some(api) = &parts.api {
                api.close_sockets(Duration::from_secs(REQUESTS_LIMIT_S)).await;
            }
            for handle in handles {
                handle.stop(true).await;
            }
            tasks.stop(STOP_LIMIT).await
        })
        .await;
        bus.close().await;
        if let Some(hub) = &parts.hub {
            hub.close().await;
        }
        anyhow::ensure!(ended == Ok(true), "not everything stopped within {} s", STOP_LIMIT.as_secs());
        anyhow::ensure!(!broken, "a task panicked; the log says which");
        Ok(())
    }
}

/// What one listener serves. The API brings health and figures of its own, and an answer for every
/// other path.
fn mount(
    service: &mut web::ServiceConfig,
    connectors: Option<&Connectors>,
    api: Option<&AgentApi>,
    own: &Routes,
) {
    if let Some(connectors) = connectors {
        connectors.configure(service);
    }
    match api {
        Some(api) => api.configure(service),
        None => own.configure(service),
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
