//! The single inbox over REST and WebSocket: translates, decides nothing.
//!
//! A request comes in through `gate`, which is the same for all of them; its handler in `routes` is
//! a few lines around a call of [`loket_hub::Hub`]; `live` carries the log to open sockets. What is
//! deliberately absent: SQL, rules about threads, and every verb of a later issue. The list of doors
//! in `doors` is what the route table, the OpenAPI document and the tests are made from.

mod answer;
mod auth;
mod cookie;
mod cursor;
mod doors;
mod error;
mod gate;
mod live;
mod openapi;
mod request;
mod routes;
mod schema;
mod settings;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use bytes::Bytes;
use loket_backbone::clock::Clock;
use loket_backbone::disk::Disks;
use loket_backbone::kv::SharedKv;
use loket_backbone::tasks::Tasks;
use loket_hub::{Hub, Reread};

pub use auth::{Access, Scope};
pub use error::{Code, Problem};
pub use settings::{ApiSettings, SettingsError};

/// Renders all metrics of the process as Prometheus text.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Whether this process can do its work right now; the error is one sentence. What a role needs for
/// its work is the front door's to know: `/health/ready` speaks for all roles of the process.
pub type Ready = Arc<dyn Fn() -> Readiness + Send + Sync>;
/// The answer of [`Ready`], being looked up.
pub type Readiness = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What the front door lends the API of other rooms, which it may not reach by itself.
#[derive(Clone)]
pub struct Lent {
    /// The figures of the process.
    pub render_metrics: RenderMetrics,
    /// Whether the process can work.
    pub ready: Ready,
    /// Reads a parked body once more with the channels' own code, which neither hub nor API know.
    pub reread: Arc<dyn Reread + Send + Sync>,
    /// Room on the disks of the process.
    pub disks: Disks,
}

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) hub: Hub,
    pub(crate) kv: SharedKv,
    pub(crate) clock: Clock,
    pub(crate) settings: ApiSettings,
    pub(crate) proxies: settings::Proxies,
    pub(crate) lent: Lent,
    pub(crate) document: Bytes,
    pub(crate) inside: gate::Inside,
    pub(crate) live: Arc<live::Live>,
}

/// A door as the outside may know it, for tests of the whole installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorInfo {
    /// The method.
    pub method: String,
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// What it asks for.
    pub access: Access,
}

/// The agent API of one process. Cheap to clone.
#[derive(Clone)]
pub struct AgentApi {
    shared: Arc<Shared>,
}

impl AgentApi {
    /// An API over a hub. Refuses settings that cannot be.
    pub fn new(
        hub: Hub,
        kv: SharedKv,
        clock: Clock,
        settings: ApiSettings,
        lent: Lent,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let proxies = settings.proxies()?;
        let live = Arc::new(live::Live::new(&settings));
        let document = Bytes::from(openapi::text());
        Ok(Self {
            shared: Arc::new(Shared {
                hub,
                kv,
                clock,
                settings,
                proxies,
                lent,
                document,
                inside: gate::Inside::default(),
                live,
            }),
        })
    }

    /// Mounts all doors, and an answer for every other path of the listener. Call it last where the
    /// listener is shared.
    pub fn configure(&self, service: &mut ServiceConfig) {
        service.app_data(web::Data::from(Arc::clone(&self.shared)));
        routes::doors().mount(service);
        service.default_service(web::to(|req: actix_web::HttpRequest| {
            std::future::ready(gate::refuse(&req, "none", Problem::of(Code::RouteNotFound)))
        }));
    }

    /// Starts the tasks that carry the log to open sockets and long polls, and passing signs to
    /// sockets. They end with the tasks' stop sign: then every socket is told `going_away`.
    pub fn start(&self, tasks: &Tasks) {
        let pump = live::pump(Arc::clone(&self.shared), tasks.stop_sign());
        tasks.spawn("live pump", pump);
        let signals = live::signals(Arc::clone(&self.shared), tasks.stop_sign());
        tasks.spawn("live signals", signals);
    }

    /// From now on `/health/ready` says no, so that a balancer sends nobody new; everything that
    /// still comes is done (`reliability-contract` §8).
    pub fn drain(&self) {
        self.shared.live.drain();
    }

    /// Tells every socket `going_away` and waits until they are closed, at most `limit`. False when
    /// some were not.
    pub async fn close_sockets(&self, limit: Duration) -> bool {
        self.shared.live.close_all(limit).await
    }

    /// How many sockets are open.
    pub fn sockets(&self) -> usize {
        self.shared.live.count()
    }

    /// Every door, in the order of the document.
    pub fn doors() -> Vec<DoorInfo> {
        let list = routes::doors().list();
        list.iter()
            .map(|door| DoorInfo { method: door.method.to_string(), path: door.path, access: door.access })
            .collect()
    }

    /// The OpenAPI document, as `/openapi.json` serves it.
    pub fn openapi() -> String {
        openapi::text()
    }
}
