//! The simulator's own API under `/sim/v1`, by which tests, benchmarks and the page use it.
//! Documented in `README.md` beside this file.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpResponse, ResponseError, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::faults::Faults;
use super::phone::{Bubble, Chat, Customer};
use super::says::Say;
use super::settings::{NewCustomer, Rules};
use super::world::{Complaint, Request, World};
use super::{Addresses, Shared, callbacks, objects, sample};

/// The longest body of our own API: a picture in base64 fits.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most items that one answer lists.
const ITEMS_MAX: usize = 10_000;
/// How many items an answer lists when it is not asked for more.
const ITEMS: usize = 1_000;
/// How long a page may wait for a change.
const WAIT_MS_MAX: u64 = 30_000;
/// How many phones the page shows, the most recently used first.
const PHONES_MAX: usize = 60;
/// How many messages of a phone the page shows.
const BUBBLES_SHOWN: usize = 100;

/// Routes under `/sim/v1`.
pub(super) fn routes(service: &mut web::ServiceConfig) {
    service.service(
        web::scope("/sim/v1")
            .wrap(from_fn(own_page_only))
            .app_data(
                web::JsonConfig::default()
                    .limit(BODY_BYTES_MAX)
                    .error_handler(|error, _| Complaint::new(400, "bad_body", error.to_string()).into()),
            )
            .app_data(
                web::QueryConfig::default()
                    .error_handler(|error, _| Complaint::new(400, "bad_query", error.to_string()).into()),
            )
            .route("/health", web::get().to(|| async { web::Json(json!({"status": "ok"})) }))
            .route("/settings", web::get().to(settings))
            .route("/state", web::get().to(state))
            .route("/customers", web::get().to(customers))
            .route("/customers", web::post().to(add_customer))
            .route("/customers/{customer}", web::patch().to(change_customer))
            .route("/customers/{customer}/number", web::post().to(change_number))
            .route("/phones/{customer}", web::get().to(phone))
            .route("/phones/{customer}/messages", web::post().to(say))
            .route("/phones/{customer}/echoes", web::post().to(echo))
            .route("/phones/{customer}/open", web::post().to(open))
            .route("/phones/{customer}/window", web::put().to(window))
            .route("/requests", web::get().to(requests))
            .route("/copies", web::get().to(copies))
            .route("/callbacks", web::get().to(callbacks::standing))
            .route("/callbacks", web::post().to(callbacks::post))
            .route("/callbacks/addresses", web::get().to(addresses))
            .route("/callbacks/addresses", web::put().to(set_addresses))
            .route("/handshakes", web::post().to(callbacks::handshake))
            .route("/faults", web::get().to(faults))
            .route("/faults", web::put().to(set_faults))
            .route("/rules", web::get().to(rules))
            .route("/rules", web::put().to(set_rules))
            .route("/log", web::get().to(log))
            .route("/media/{id}", web::get().to(objects::own_file))
            .route("/portraits/{name}", web::get().to(portrait))
            .route("/reset", web::post().to(reset))
            .default_service(web::to(|| async { unknown() })),
    );
}

fn unknown() -> HttpResponse {
    Complaint::new(404, "unknown_route", "there is no such route").error_response()
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl ResponseError for Complaint {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.http).unwrap_or(StatusCode::BAD_REQUEST)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let problem = json!({
            "type": "about:blank",
            "status": self.http,
            "code": self.code,
            "title": self.sentence,
        });
        HttpResponse::build(self.status_code())
            .content_type("application/problem+json")
            .body(problem.to_string())
    }
}

/// Another site's page in the same browser may not work the switchboard.
async fn own_page_only(
    request: ServiceRequest,
    next: Next<impl actix_web::body::MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let value = |name: header::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let host = value(header::HOST).unwrap_or_default();
    let is_own = value(header::ORIGIN)
        .is_none_or(|origin| origin.split_once("://").is_some_and(|(_, authority)| authority == host));
    if !is_own {
        return Err(
            Complaint::new(403, "foreign_origin", "only this simulator's own page may do that").into()
        );
    }
    let mut response = next.call(request).await?.map_into_boxed_body();
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

type Answer = Result<HttpResponse, Complaint>;

#[expect(clippy::unnecessary_wraps, reason = "the last word of handlers that may complain")]
fn ok(value: impl Serialize) -> Answer {
    Ok(HttpResponse::Ok().json(value))
}

// ---- what there is

async fn settings(shared: web::Data<Shared>) -> Answer {
    let settings = &shared.settings;
    let numbers: Vec<_> = settings
        .numbers
        .iter()
        .map(|number| {
            json!({
                "phone_number_id": number.phone_number_id,
                "display": number.display,
                "waba_id": number.waba_id,
                "token": number.token.expose(),
            })
        })
        .collect();
    let pages: Vec<_> = settings
        .pages
        .iter()
        .map(|page| json!({"page_id": page.page_id, "app_id": page.app_id, "token": page.token.expose()}))
        .collect();
    ok(json!({
        "graph_url": shared.with(|world| world.base.clone()),
        "callbacks": shared.addresses(),
        "app_secret_whatsapp": settings.app_secret_whatsapp.expose(),
        "app_secret_messenger": settings.app_secret_messenger.expose(),
        "numbers": numbers,
        "pages": pages,
    }))
}

#[derive(Serialize)]
struct Conversation {
    account: String,
    /// How long the business may still write freely; absent when it may not.
    window_left_ms: Option<i64>,
    is_typing: bool,
    messages: Vec<Bubble>,
}

fn conversation(world: &World, account: &str, chat: &Chat, most: usize) -> Conversation {
    let now = world.clock.now();
    let window = i64::try_from(world.rules.window_ms).unwrap_or(i64::MAX);
    let left = chat.last_opened.map(|opened| window - now.millis_since(opened));
    let skip = chat.bubbles.len().saturating_sub(most);
    Conversation {
        account: account.to_owned(),
        window_left_ms: left.filter(|left| *left > 0),
        is_typing: chat.typing_until.is_some_and(|until| until > now),
        messages: chat.bubbles.iter().skip(skip).cloned().collect(),
    }
}

fn conversations(world: &World, customer: &Customer, most: usize) -> Vec<Conversation> {
    world.chats_of(&customer.id).map(|(account, chat)| conversation(world, account, chat, most)).collect()
}

#[derive(Deserialize)]
struct Since {
    since: Option<u64>,
    wait_ms: Option<u64>,
}

/// What the page shows; with `since` it waits for a newer version.
async fn state(since: web::Query<Since>, shared: web::Data<Shared>) -> Answer {
    if let Some(known) = since.since {
        let mut changes = shared.changes();
        let wait = Duration::from_millis(since.wait_ms.unwrap_or(0).min(WAIT_MS_MAX));
        let newer = changes.wait_for(|version| *version != known);
        // A wait that ends without news is answered like any other: the page asks again.
        let _ = tokio::time::timeout(wait, newer).await;
    }
    let standing: Vec<_> = shared.couriers().map(|courier| courier.standing()).collect();
    let mut answer = shared.with(|world| {
        let last = |customer: &Customer| {
            let own = world.chats_of(&customer.id);
            own.filter_map(|(_, chat)| chat.bubbles.back().map(|bubble| bubble.at)).max()
        };
        let mut shown: Vec<_> = world.customers.values().collect();
        if shown.len() > PHONES_MAX {
            shown.sort_by_cached_key(|customer| std::cmp::Reverse(last(customer)));
            shown.truncate(PHONES_MAX);
        }
        shown.sort_by_key(|customer| customer.position);
        let phones: Vec<_> = shown
            .into_iter()
            .map(|customer| {
                json!({"customer": customer, "conversations": conversations(world, customer, BUBBLES_SHOWN)})
            })
            .collect();
        json!({
            "version": world.version,
            "customers": world.customers.len(),
            "phones": phones,
            "faults": world.switchboard.faults(),
            "rules": world.rules,
            "requests": world.requests.next_number() - 1,
            "log": world.log.after((world.log.next_number() - 1).saturating_sub(30)).collect::<Vec<_>>(),
            "subscriptions": world.subscriptions.keys().collect::<Vec<_>>(),
        })
    });
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("callbacks".to_owned(), json!(standing));
    }
    ok(answer)
}

// ---- customers

async fn customers(shared: web::Data<Shared>) -> Answer {
    let items = shared.with(|world| world.customers.values().take(ITEMS_MAX).cloned().collect::<Vec<_>>());
    ok(json!({ "items": items }))
}

async fn add_customer(new: web::Json<NewCustomer>, shared: web::Data<Shared>) -> Answer {
    let customer = shared.with(|world| world.add_customer(new.into_inner()))?;
    Ok(HttpResponse::Created().json(customer))
}

/// The switches of a phone; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switches {
    name: Option<String>,
    username: Option<String>,
    hides_phone: Option<bool>,
    is_online: Option<bool>,
    reads_at_once: Option<bool>,
    shows_receipts: Option<bool>,
    is_blocking: Option<bool>,
}

async fn change_customer(
    name: web::Path<String>,
    switches: web::Json<Switches>,
    shared: web::Data<Shared>,
) -> Answer {
    let switches = switches.into_inner();
    let customer = shared.with(|world| {
        let mut customer = world.customer(&name)?.clone();
        let came_online = switches.is_online == Some(true) && !customer.is_online;
        customer.name = switches.name.unwrap_or(customer.name);
        customer.username = switches.username.or(customer.username);
        customer.hides_phone = switches.hides_phone.unwrap_or(customer.hides_phone);
        customer.is_online = switches.is_online.unwrap_or(customer.is_online);
        customer.reads_at_once = switches.reads_at_once.or(customer.reads_at_once);
        customer.shows_receipts = switches.shows_receipts.unwrap_or(customer.shows_receipts);
        customer.is_blocking = switches.is_blocking.unwrap_or(customer.is_blocking);
        let customer = world.change_customer(customer)?;
        if came_online {
            world.came_online(&customer.id);
        }
        Ok::<_, Complaint>(customer)
    })?;
    ok(customer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNumber {
    phone: String,
}

async fn change_number(
    name: web::Path<String>,
    new: web::Json<NewNumber>,
    shared: web::Data<Shared>,
) -> Answer {
    ok(shared.with(|world| world.change_number(&name, new.phone.trim_start_matches('+')))?)
}

// ---- phones

async fn phone(name: web::Path<String>, shared: web::Data<Shared>) -> Answer {
    let answer = shared.with(|world| {
        let customer = world.customer(&name)?.clone();
        let conversations = conversations(world, &customer, usize::MAX);
        Ok::<_, Complaint>(json!({"customer": customer, "conversations": conversations}))
    })?;
    ok(answer)
}

async fn say(name: web::Path<String>, say: web::Json<Say>, shared: web::Data<Shared>) -> Answer {
    let ids = shared.with(|world| world.say(&name, &say))?;
    Ok(HttpResponse::Created().json(json!({ "message_ids": ids })))
}

async fn echo(name: web::Path<String>, say: web::Json<Say>, shared: web::Data<Shared>) -> Answer {
    let id = shared.with(|world| world.echo(&name, &say))?;
    Ok(HttpResponse::Created().json(json!({ "message_ids": [id] })))
}

/// Which conversation of a phone; left out: all of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    account: Option<String>,
}

fn accounts_of(world: &World, customer: &Customer, which: Option<&String>) -> Vec<String> {
    let own = world.chats_of(&customer.id).map(|(account, _)| account.to_owned());
    own.filter(|account| which.is_none_or(|which| which == account)).collect()
}

async fn open(name: web::Path<String>, which: Option<web::Json<Which>>, shared: web::Data<Shared>) -> Answer {
    let which = which.and_then(|which| which.into_inner().account);
    shared.with(|world| {
        let customer = world.customer(&name)?.clone();
        for account in accounts_of(world, &customer, which.as_ref()) {
            world.open_chat(&account, &customer);
        }
        Ok::<_, Complaint>(())
    })?;
    Ok(HttpResponse::NoContent().finish())
}

/// How long ago the customer last wrote.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowAge {
    account: Option<String>,
    age_ms: i64,
}

async fn window(name: web::Path<String>, age: web::Json<WindowAge>, shared: web::Data<Shared>) -> Answer {
    shared.with(|world| {
        let customer = world.customer(&name)?.clone();
        let opened = world.clock.now().plus_millis(-age.age_ms.max(0));
        let mut accounts = accounts_of(world, &customer, age.account.as_ref());
        if accounts.is_empty() {
            let first = world.settings.numbers.first().map(|number| number.phone_number_id.clone());
            accounts.extend(age.account.clone().or_else(|| customer.page.clone()).or(first));
        }
        for account in accounts {
            world.chat(&account, &customer.id).last_opened = Some(opened);
        }
        world.version += 1;
        Ok::<_, Complaint>(())
    })?;
    Ok(HttpResponse::NoContent().finish())
}

// ---- the oracle

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

// ---- switches

async fn addresses(shared: web::Data<Shared>) -> Answer {
    ok(shared.addresses())
}

async fn set_addresses(new: web::Json<Addresses>, shared: web::Data<Shared>) -> Answer {
    shared.set_addresses(new.into_inner());
    ok(shared.addresses())
}

async fn faults(shared: web::Data<Shared>) -> Answer {
    ok(shared.with(|world| world.switchboard.faults().clone()))
}

async fn set_faults(new: web::Json<Faults>, shared: web::Data<Shared>) -> Answer {
    let new = new.into_inner();
    if let Some(problem) = new.problem() {
        return Err(Complaint::new(422, "bad_faults", problem));
    }
    shared.with(|world| {
        world.switchboard = super::faults::Switchboard::new(new.clone());
        world.version += 1;
    });
    ok(new)
}

async fn rules(shared: web::Data<Shared>) -> Answer {
    ok(shared.with(|world| world.rules.clone()))
}

async fn set_rules(new: web::Json<Rules>, shared: web::Data<Shared>) -> Answer {
    let new = new.into_inner();
    if let Some(problem) = new.problem() {
        return Err(Complaint::new(422, "bad_rules", problem));
    }
    shared.with(|world| {
        world.rules = new.clone();
        world.version += 1;
    });
    ok(new)
}

async fn reset(shared: web::Data<Shared>) -> Answer {
    shared.reset();
    Ok(HttpResponse::NoContent().finish())
}

/// A picture for a person without one: always the same for the same name.
async fn portrait(name: web::Path<String>) -> Answer {
    let number = name.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let picture =
        sample::of("image", number).ok_or_else(|| Complaint::new(404, "no_picture", "no picture"))?;
    Ok(HttpResponse::Ok().content_type(picture.mime).body(picture.bytes))
}
