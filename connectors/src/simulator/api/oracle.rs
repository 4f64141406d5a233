//! What the platform saw: every request, the copies of each message of ours, and its log.

use std::collections::BTreeMap;

use actix_web::web;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Shared;
use super::super::world::Request;
use super::{Answer, ITEMS_MAX, ok};

/// Its routes.
pub(super) fn routes(service: &mut web::ServiceConfig) {
    service
        .route("/requests", web::get().to(requests))
        .route("/copies", web::get().to(copies))
        .route("/log", web::get().to(log));
}

/// How many items an answer lists when it is not asked for more.
const ITEMS: usize = 1_000;

#[derive(Deserialize)]
struct Page {
    after: Option<u64>,
    limit: Option<usize>,
    kind: Option<String>,
    outbox_id: Option<String>,
    account: Option<String>,
    is_accepted: Option<bool>,
}

impl Page {
    fn wants(&self, request: &Request) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == request.kind)
            && self.is_accepted.is_none_or(|accepted| accepted == request.is_accepted)
            && (self.outbox_id.is_none() || self.outbox_id == request.outbox_id)
            && (self.account.is_none() || self.account == request.account)
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(ITEMS).clamp(1, ITEMS_MAX)
    }
}

/// Items and where to go on; `forgotten` above 0 says that the list is not whole.
fn listed(items: &[Value], last: Option<u64>, page: &Page, forgotten: u64) -> Value {
    let after = last.or(page.after).unwrap_or(0);
    json!({"items": items, "next_after": after, "forgotten": forgotten})
}

async fn requests(page: web::Query<Page>, shared: web::Data<Shared>) -> Answer {
    let answer = shared.with(|world| {
        let found = world.requests.after(page.after.unwrap_or(0)).filter(|request| page.wants(request));
        let found: Vec<_> = found.take(page.limit()).collect();
        let last = found.last().map(|request| request.number);
        let items: Vec<_> = found.into_iter().map(|request| json!(request)).collect();
        listed(&items, last, &page, world.requests.forgotten())
    });
    ok(answer)
}

/// How many copies of each message of ours the platform took, by outbox id.
async fn copies(shared: web::Data<Shared>) -> Answer {
    let answer = shared.with(|world| {
        let mut copies: BTreeMap<&str, u64> = BTreeMap::new();
        let taken = world.requests.after(0).filter(|request| request.is_accepted && request.kind == "send");
        for outbox_id in taken.filter_map(|request| request.outbox_id.as_deref()) {
            *copies.entry(outbox_id).or_default() += 1;
        }
        json!({"copies": copies, "forgotten": world.requests.forgotten()})
    });
    ok(answer)
}

async fn log(page: web::Query<Page>, shared: web::Data<Shared>) -> Answer {
    let answer = shared.with(|world| {
        let wants = |kind: &str| page.kind.as_deref().is_none_or(|wish| wish == kind);
        let found = world.log.after(page.after.unwrap_or(0)).filter(|line| wants(line.kind));
        let found: Vec<_> = found.take(page.limit()).collect();
        let last = found.last().map(|line| line.number);
        let items: Vec<_> = found.into_iter().map(|line| json!(line)).collect();
        listed(&items, last, &page, world.log.forgotten())
    });
    ok(answer)
}
