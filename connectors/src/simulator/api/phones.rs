//! Customers and their phones, as the page shows them and as tests use them.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::Shared;
use super::super::phone::{Bubble, Chat, Customer};
use super::super::says::Say;
use super::super::settings::NewCustomer;
use super::super::world::{Complaint, World};
use super::{Answer, ITEMS_MAX, ok};

/// Its routes.
pub(super) fn routes(service: &mut web::ServiceConfig) {
    service
        .route("/state", web::get().to(state))
        .route("/customers", web::get().to(customers))
        .route("/customers", web::post().to(add_customer))
        .route("/customers/{customer}", web::patch().to(change_customer))
        .route("/customers/{customer}/number", web::post().to(change_number))
        .route("/phones/{customer}", web::get().to(phone))
        .route("/phones/{customer}/messages", web::post().to(say))
        .route("/phones/{customer}/echoes", web::post().to(echo))
        .route("/phones/{customer}/open", web::post().to(open))
        .route("/phones/{customer}/window", web::put().to(window));
}

/// How long a page may wait for a change.
const WAIT_MS_MAX: u64 = 30_000;
/// How many phones the page shows, the most recently used first.
const PHONES_MAX: usize = 60;
/// How many messages of a phone the page shows.
const BUBBLES_SHOWN: usize = 100;

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
