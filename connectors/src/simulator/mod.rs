//! `loket simulate`: a stand-in for the Graph API and for customers' phones (`design.md` §6). The
//! only fake in the project. Its own API and its limits are in `README.md` beside this file; what
//! the platforms say and refuse is in each channel's `fake`.
//!
//! Deliberately not here: anything of record. A restart forgets everything.

mod api;
mod callbacks;
mod courier;
mod faults;
mod graph;
mod media;
mod objects;
mod page;
pub(crate) mod phone;
pub(crate) mod read;
pub(crate) mod refusal;
mod ring;
mod sample;
mod says;
mod sends;
pub(crate) mod settings;
mod shop;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer, web};
use loket_backbone::clock::Clock;
use loket_backbone::http;
use loket_backbone::secret::Secret;
use loket_backbone::tasks::Tasks;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use courier::{CALLBACK, Courier};
use world::{Step, World};

pub use faults::Faults;
pub use phone::Platform;
pub use settings::{NewCustomer, Number, Page, Recipients, Rules, Settings, WindowRule};
pub use shop::Shop;

/// How many later steps of messages may wait; more are dropped and counted.
const STEPS_MAX: usize = 200_000;
/// The server's threads: the simulator is never the bottleneck of what is tested.
const WORKERS: usize = 2;

/// A simulator that runs until its tasks are told to stop.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
}

/// Where callbacks go; can be changed while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Addresses {
    pub(crate) whatsapp: String,
    pub(crate) messenger: String,
}

impl Addresses {
    pub(crate) fn of(&self, platform: Platform) -> &str {
        match platform {
            Platform::Whatsapp => &self.whatsapp,
            Platform::Messenger => &self.messenger,
        }
    }
}

#[derive(Default)]
struct Steps {
    waiting: BTreeMap<(Instant, u64), Step>,
    made: u64,
}

/// What all requests and tasks share.
pub(crate) struct Shared {
    world: Mutex<World>,
    addresses: Mutex<Addresses>,
    steps: Mutex<Steps>,
    steps_changed: Notify,
    version: watch::Sender<u64>,
    couriers: BTreeMap<String, Arc<Courier>>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: reqwest::Client,
    pub(crate) clock: Clock,
    pub(crate) stop: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Looks at or changes the world, and sets off what follows from it.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let (result, posts, steps, version) = {
            let mut world = lock(&self.world);
            let result = change(&mut world);
            (result, std::mem::take(&mut world.posts), std::mem::take(&mut world.steps), world.version)
        };
        for post in posts {
            if let Some(courier) = self.couriers.get(&post.account) {
                courier.take(post, &self.clock);
            }
        }
        if !steps.is_empty() {
            self.plan(steps);
        }
        self.version.send_if_modified(|known| std::mem::replace(known, version) != version);
        result
    }

    fn plan(&self, steps: Vec<Step>) {
        let now = self.clock.instant();
        let mut waiting = lock(&self.steps);
        for step in steps {
            if waiting.waiting.len() >= STEPS_MAX {
                metrics::counter!("loket_simulator_steps_dropped_total").increment(1);
                continue;
            }
            waiting.made += 1;
            let key = (now + step.delay, waiting.made);
            waiting.waiting.insert(key, step);
        }
        drop(waiting);
        self.steps_changed.notify_one();
    }

    /// Forgets all but the settings.
    pub(crate) fn reset(&self) {
        lock(&self.steps).waiting.clear();
        for courier in self.couriers.values() {
            courier.reset();
        }
        self.with(World::reset);
    }

    pub(crate) fn couriers(&self) -> impl Iterator<Item = &Arc<Courier>> {
        self.couriers.values()
    }

    pub(crate) fn addresses(&self) -> Addresses {
        lock(&self.addresses).clone()
    }

    pub(crate) fn set_addresses(&self, addresses: Addresses) {
        *lock(&self.addresses) = addresses;
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The secret of a platform's app.
    pub(crate) fn secret(&self, platform: Platform) -> &Secret {
        match platform {
            Platform::Whatsapp => &self.settings.app_secret_whatsapp,
            Platform::Messenger => &self.settings.app_secret_messenger,
        }
    }

    /// Carries out steps when they are due, until told to stop.
    async fn walk(self: Arc<Self>) {
        loop {
            let now = self.clock.instant();
            let (due, next) = {
                let mut steps = lock(&self.steps);
                let later = steps.waiting.split_off(&(now, u64::MAX));
                let due = std::mem::replace(&mut steps.waiting, later);
                (due, steps.waiting.first_key_value().map(|((next, _), _)| *next))
            };
            for step in due.into_values() {
                self.with(|world| world.step(&step.message_id, step.to));
            }
            let rest = next.map(|next| next.saturating_duration_since(self.clock.instant()));
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.steps_changed.notified() => {}
                () = tokio::time::sleep(rest.unwrap_or(Duration::MAX)), if rest.is_some() => {}
            }
        }
    }
}

fn shared(settings: Settings, clock: Clock, stop: CancellationToken, base: String) -> Result<Shared, String> {
    if let Some(problem) = settings.rules.problem() {
        return Err(format!("the simulator's rules are wrong: {problem}"));
    }
    let client =
        http::client(CALLBACK).map_err(|error| format!("the simulator has no HTTP client: {error}"))?;
    let whatsapp = settings.numbers.iter().map(|number| (Platform::Whatsapp, &number.phone_number_id));
    let messenger = settings.pages.iter().map(|page| (Platform::Messenger, &page.page_id));
    let mut couriers = BTreeMap::new();
    for (platform, account) in whatsapp.chain(messenger) {
        let courier = Arc::new(Courier::new(platform, account.clone()));
        if couriers.insert(account.clone(), courier).is_some() {
            return Err(format!("the simulator has the account {account} twice"));
        }
    }
    let addresses = Addresses {
        whatsapp: settings.callback_whatsapp.clone(),
        messenger: settings.callback_messenger.clone(),
    };
    if let Some(problem) = settings.shop.as_ref().and_then(Shop::problem) {
        return Err(format!("the demo shop cannot be served: {problem}"));
    }
    let settings = Arc::new(settings);
    let world = World::new(&settings, clock.clone(), base);
    Ok(Shared {
        version: watch::Sender::new(world.version),
        world: Mutex::new(world),
        addresses: Mutex::new(addresses),
        steps: Mutex::default(),
        steps_changed: Notify::new(),
        couriers,
        settings,
        client,
        clock,
        stop,
    })
}

/// Starts the simulator. It listens when this returns, and runs until `tasks` are stopped. The
/// error is one sentence. Needs a TLS provider installed, as every client of
/// [`loket_backbone::http`] does.
pub async fn run(settings: Settings, clock: Clock, tasks: &Tasks) -> Result<Running, String> {
    let listen = settings.listen.clone();
    let listener = TcpListener::bind(&listen)
        .await
        .and_then(TcpListener::into_std)
        .map_err(|error| format!("the simulator cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr().map_err(|error| format!("the simulator has no address: {error}"))?;
    let base = settings.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let base = base.trim_end_matches('/').to_owned();
    let shared = Arc::new(shared(settings, clock, tasks.stop_sign(), base)?);
    let data = web::Data::from(Arc::clone(&shared));
    let own_shop = shared.settings.shop.clone();
    let server = HttpServer::new(move || {
        let own_shop = own_shop.clone();
        App::new()
            .app_data(data.clone())
            .app_data(web::JsonConfig::default().limit(api::BODY_BYTES_MAX))
            .configure(page::routes)
            .configure(api::routes)
            .configure(|service| {
                if let Some(own_shop) = &own_shop {
                    shop::routes(own_shop, service);
                }
            })
            .configure(graph::routes)
    })
    .workers(WORKERS)
    .disable_signals()
    .shutdown_timeout(1)
    .tcp_nodelay(true)
    .listen(listener)
    .map_err(|error| format!("the simulator cannot listen on {address}: {error}"))?
    .run();
    let handle = server.handle();
    let stop = tasks.stop_sign();
    tasks.spawn("simulator", async move {
        if let Err(error) = server.await {
            tracing::error!(reason = %error, "the simulator's server ended");
        }
    });
    tasks.spawn("simulator_stop", async move {
        stop.cancelled().await;
        handle.stop(false).await;
    });
    tasks.spawn("simulator_steps", Arc::clone(&shared).walk());
    for courier in shared.couriers() {
        let courier = Arc::clone(courier);
        tasks.spawn("simulator_courier", courier.run(Arc::clone(&shared), tasks.stop_sign()));
    }
    tracing::info!(%address, "the simulator listens");
    Ok(Running { address })
}
