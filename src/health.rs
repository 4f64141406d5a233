//! `/health/live`, `/health/ready` and `/metrics` for listeners without the agent API, which has its
//! own doors (`reliability-contract` §8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, ResponseError as _};
use loket_agent_api::{Code, Problem, RenderMetrics};
use serde_json::json;

use crate::roles::{Chosen, Parts};

/// How long it may take to find out whether the process can do its work.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// Whether one process can do its work: each of its roles has its say.
pub(crate) struct Health {
    roles: Chosen,
    parts: Parts,
    /// Settings that allow to forget what was confirmed: told on every page (`reliability-contract` §1).
    relaxed: Vec<&'static str>,
    stopping: AtomicBool,
}

impl Health {
    pub(crate) fn new(roles: Chosen, parts: Parts, relaxed: Vec<&'static str>) -> Self {
        Self { roles, parts, relaxed, stopping: AtomicBool::new(false) }
    }

    /// From now on it is not ready; everything that still comes is done.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn page(&self, word: &str) -> HttpResponse {
        let durability = if self.relaxed.is_empty() { "full" } else { "relaxed" };
        let told = json!({ "status": word, "durability": durability });
        HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(told)
    }

    fn problem(&self, sentence: String) -> HttpResponse {
        let told = if self.relaxed.is_empty() {
            sentence
        } else {
            format!("{sentence} Durability is relaxed by {}.", self.relaxed.join(" and "))
        };
        Problem::new(Code::Unavailable, told).retry_soon().error_response()
    }

    /// The first reason why a role of this process cannot do its work, as a sentence.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Acquire) {
            return Err("The process is stopping.".to_owned());
        }
        let all = async {
            for role in self.roles.iter() {
                (role.ready)(&self.parts).await?;
            }
            Ok(())
        };
        let late = |_| Err("The store or the bus does not answer in time.".to_owned());
        tokio::time::timeout(READY_DEADLINE, all).await.unwrap_or_else(late)
    }
}

/// What a listener serves beside its own routes.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) health: Arc<Health>,
    /// Figures are for the inside (`security` D3): absent on a listener that the internet may reach.
    pub(crate) metrics: Option<RenderMetrics>,
}

impl Routes {
    /// Mounts them, and an answer for every other path of the listener. Call it last.
    pub(crate) fn configure(&self, service: &mut ServiceConfig) {
        let health = Arc::clone(&self.health);
        let live = Arc::clone(&self.health);
        service.route("/health/live", web::get().to(move || std::future::ready(live.page("live"))));
        service.route(
            "/health/ready",
            web::get().to(move || {
                let health = Arc::clone(&health);
                async move {
                    match health.ready().await {
                        Ok(()) => health.page("ready"),
                        Err(sentence) => health.problem(sentence),
                    }
                }
            }),
        );
        if let Some(render) = &self.metrics {
            let render = Arc::clone(render);
            service.route("/metrics", web::get().to(move || std::future::ready(figures(&render))));
        }
        service.default_service(web::to(async || Problem::of(Code::RouteNotFound).error_response()));
    }
}

fn figures(render: &RenderMetrics) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(render())
}
