//! `/health/…` and `/metrics` (`reliability-contract` §8).

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::Method;
use loket_backbone::disk::DiskState;
use loket_hub::{ChannelState, HubHealth};
use serde::Serialize;
use serde_json::{Value, json};

use super::Api;
use crate::answer;
use crate::auth::{Anyone, Caller, scope};
use crate::doors::{Carries, Class, Doc, Doors};
use crate::error::{Code, Problem};
use crate::schema::examples;

/// How long it may take to find out whether the process can do its work.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// How the parts are doing.
#[derive(Serialize)]
struct Status {
    ready: bool,
    hub: HubHealth,
    channels: Vec<ChannelState>,
    log_head: i64,
    sockets: usize,
    requests: usize,
    disks: Vec<DiskState>,
    /// `full`, or `relaxed` by the settings that are named.
    durability: &'static str,
    relaxed: Vec<&'static str>,
}

/// The word that stands on every health page (`reliability-contract` §1).
fn durability(api: &Api) -> &'static str {
    if api.hub.relaxed().is_empty() { "full" } else { "relaxed" }
}

fn example(status: &str) -> Value {
    json!({"status": status, "durability": "full"})
}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Health");
    doors.door(
        Method::GET,
        "/health/live",
        Class::Probe,
        live,
        Doc::new(
            "live",
            "The process answers.",
            "Looks at nothing else; for a restart by whoever watches it.",
        )
        .answers(200, "It does.", Carries::Json("Live", example("live"))),
    );
    doors.door(
        Method::GET,
        "/health/ready",
        Class::Probe,
        ready,
        Doc::new(
            "ready",
            "The process can do its work now.",
            "503 while what its roles need is away (the store for the agent API, the store and the bus for the \
             hub, the bus for callbacks), or while it is stopping; the detail says which.",
        )
        .answers(200, "It can.", Carries::Json("Ready", example("ready"))),
    );
    doors.get(
        "/health/status",
        status,
        Doc::new("status", "How the parts are doing.", "For operators and leads.").answers(
            200,
            "How they are.",
            Carries::Json("Status", examples::status()),
        ),
    );
    doors.door(
        Method::GET,
        "/metrics",
        Class::Probe,
        metrics_text,
        Doc::new("metrics", "Figures for Prometheus.", "Names and numbers only; nothing personal.").answers(
            200,
            "The text format, version 0.0.4.",
            Carries::Other("text/plain", "The text format, version 0.0.4."),
        ),
    );
}

async fn live(_: Anyone, api: Api) -> Result<HttpResponse, Problem> {
    answer::json(200, &json!({"status": "live", "durability": durability(&api)}))
}

/// Why the process cannot do its work right now; `None`: it can.
async fn hindrance(api: &Api) -> Option<String> {
    if api.live.is_draining() {
        return Some("The process is stopping.".to_owned());
    }
    match tokio::time::timeout(READY_DEADLINE, (api.lent.ready)()).await {
        Ok(ready) => ready.err(),
        Err(_) => Some("The store or the bus does not answer in time.".to_owned()),
    }
}

async fn ready(_: Anyone, api: Api) -> Result<HttpResponse, Problem> {
    match hindrance(&api).await {
        Some(sentence) => {
            let relaxed = api.hub.relaxed();
            let told = if relaxed.is_empty() {
                sentence
            } else {
                format!("{sentence} Durability is relaxed by {}.", relaxed.join(" and "))
            };
            Err(Problem::new(Code::Unavailable, told).retry_soon())
        }
        None => answer::json(200, &json!({"status": "ready", "durability": durability(&api)})),
    }
}

async fn status(_: Caller<scope::StatusRead>, api: Api) -> Result<HttpResponse, Problem> {
    let hub = api.hub.health().await;
    let status = Status {
        ready: hindrance(&api).await.is_none(),
        hub,
        channels: api.hub.channels().await?,
        log_head: api.hub.log_head().await?.0,
        sockets: api.live.count(),
        requests: api.inside.ordinary(),
        disks: api.lent.disks.states(),
        durability: durability(&api),
        relaxed: api.hub.relaxed(),
    };
    answer::json(200, &status)
}

async fn metrics_text(_: Anyone, api: Api) -> Result<HttpResponse, Problem> {
    let text = (api.lent.render_metrics)();
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}
