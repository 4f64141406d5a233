//! What can be done with each node of the graph: numbers, business accounts, files, Pages, persons.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use loket_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::channels::messenger::fake as messenger;
use crate::channels::whatsapp::fake as whatsapp;

use super::Shared;
use super::graph::{Call, Target};
use super::media::{Stored, hex};
use super::phone::{Author, Platform};
use super::read::text;
use super::refusal::Refusal;
use super::sends::Taken;
use super::world::World;

/// How many templates a business account may have; told, never reached.
const TEMPLATES_MAX: usize = 250;
/// How many conversations or messages one page of an answer holds.
const PAGE_MAX: usize = 100;

#[expect(clippy::unnecessary_wraps, reason = "the last word of calls that may be refused")]
fn taken(answer: Value) -> Result<Taken, Refusal> {
    Ok(Taken { answer, message_id: None })
}

fn success() -> Result<Taken, Refusal> {
    taken(json!({"success": true}))
}

/// Does what the call asks.
pub(super) fn perform(world: &mut World, target: &Target, call: &Call) -> Result<Taken, Refusal> {
    let unknown = Refusal::unknown_object(call.method.as_str(), &call.object);
    match (target, call.method.as_str(), call.edge.as_str()) {
        (Target::Number(id), "POST", "messages") => world.whatsapp_messages(id, &call.body),
        (Target::Number(_), "POST", "media") => upload(world, call),
        (Target::Number(id), "GET", "") => number(world, id),
        (Target::Waba(id), "GET", "message_templates") => templates(id, &call.query),
        (Target::Waba(id), "GET", "phone_numbers") => numbers(world, id),
        (Target::Waba(_), "GET", "subscribed_apps") => {
            taken(json!({"data": [{"whatsapp_business_api_data": {"name": "Loket"}}]}))
        }
        (Target::Waba(_), "POST", "subscribed_apps") => success(),
        (Target::Media(id), "GET", "") => media(world, id),
        (Target::Media(id), "DELETE", "") => {
            if world.media.remove(id) {
                success()
            } else {
                Err(unknown)
            }
        }
        (Target::Page(id), "POST", "messages") => world.messenger_messages(id, &call.body),
        (Target::Page(_), "POST", "message_attachments") => attach(world, call),
        (Target::Page(id), "GET", "") => taken(json!({"id": id, "name": "Loket simulator"})),
        (Target::Page(id), "GET", "subscribed_apps") => subscriptions(world, id),
        (Target::Page(id), "POST", "subscribed_apps") => subscribe(world, id, call),
        (Target::Page(id), "DELETE", "subscribed_apps") => {
            world.subscriptions.remove(id);
            world.note("subscription", id, "the app unsubscribed");
            success()
        }
        (Target::Page(id), "GET", "conversations") => conversations(world, id, &call.query),
        (
            Target::Page(id),
            "POST",
            "pass_thread_control"
            | "take_thread_control"
            | "release_thread_control"
            | "request_thread_control"
            | "extend_thread_control",
        ) => thread_control(world, id, call),
        (Target::Page(id), "GET", "thread_owner") => thread_owner(world, id, &call.query),
        (Target::Person(id, _), "GET", "") => profile(world, id, &call.query),
        _ => Err(unknown),
    }
}

// ---- WhatsApp

fn number(world: &World, id: &str) -> Result<Taken, Refusal> {
    let own = world.number(id).ok_or_else(|| Refusal::unknown_object("GET", id))?;
    taken(json!({
        "id": own.phone_number_id,
        "display_phone_number": own.display,
        "verified_name": "Loket simulator",
        "quality_rating": "GREEN",
        "code_verification_status": "VERIFIED",
        "platform_type": "CLOUD_API",
        "throughput": {"level": "STANDARD"},
    }))
}

fn numbers(world: &World, waba: &str) -> Result<Taken, Refusal> {
    let own = world.settings.numbers.iter().filter(|number| number.waba_id == waba);
    let data: Vec<_> = own
        .map(|number| {
            json!({
                "id": number.phone_number_id,
                "display_phone_number": number.display,
                "verified_name": "Loket simulator",
                "quality_rating": "GREEN",
            })
        })
        .collect();
    taken(json!({ "data": data }))
}

fn templates(waba: &str, query: &BTreeMap<String, String>) -> Result<Taken, Refusal> {
    let is_wanted = |template: &&Value| {
        ["name", "language", "status", "category"].iter().all(|key| {
            let wish = query.get(*key);
            wish.is_none_or(|wish| text(template, &format!("/{key}")) == Some(wish))
        })
    };
    let limit =
        query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let skip = query.get("after").and_then(|after| after.parse::<usize>().ok()).unwrap_or(0);
    let wanted: Vec<_> = whatsapp::templates::all().iter().filter(is_wanted).collect();
    let data: Vec<_> = wanted.iter().skip(skip).take(limit).collect();
    let end = skip + data.len();
    let mut paging = json!({"cursors": {"before": skip.to_string(), "after": end.to_string()}});
    if let (true, Some(fields)) = (end < wanted.len(), paging.as_object_mut()) {
        fields
            .insert("next".to_owned(), json!(format!("/{waba}/message_templates?after={end}&limit={limit}")));
    }
    let mut answer = json!({"data": data, "paging": paging});
    if let (true, Some(fields)) = (query.contains_key("summary"), answer.as_object_mut()) {
        let count = whatsapp::templates::all().len();
        fields.insert(
            "summary".to_owned(),
            json!({
                "total_count": wanted.len(),
                "message_template_count": count,
                "message_template_limit": TEMPLATES_MAX,
                "are_translations_complete": true,
            }),
        );
    }
    taken(answer)
}

fn upload(world: &mut World, call: &Call) -> Result<Taken, Refusal> {
    let field = |name: &str| call.parts.iter().find(|part| part.name == name);
    let is_whatsapp = field("messaging_product").is_some_and(|part| part.bytes.as_ref() == b"whatsapp")
        || call.query.get("messaging_product").is_some_and(|product| product == "whatsapp");
    if !is_whatsapp {
        return Err(Refusal::new(100, "The parameter messaging_product is required."));
    }
    let file = field("file").ok_or_else(|| Refusal::new(100, "The parameter file is required."))?;
    let named = field("type").and_then(|part| std::str::from_utf8(&part.bytes).ok()).map(str::to_owned);
    let mime = file.mime.clone().filter(|mime| mime != "application/octet-stream").or(named);
    let mime = mime.ok_or_else(|| Refusal::new(100, "The parameter type is required."))?;
    let id = world.media.upload(&mime, file.file_name.clone(), file.bytes.clone())?;
    taken(json!({ "id": id }))
}

fn media(world: &World, id: &str) -> Result<Taken, Refusal> {
    let stored = world.media.get(id).ok_or_else(|| Refusal::unknown_object("GET", id))?;
    taken(json!({
        "messaging_product": "whatsapp",
        "url": world.media_url(id, "getMedia"),
        "mime_type": stored.mime,
        "sha256": hex(&stored.sha256),
        "file_size": stored.bytes.len(),
        "id": id,
    }))
}

/// The query of a signed address.
#[derive(Deserialize)]
pub(super) struct Signed {
    mid: String,
    ext: i64,
    hash: String,
}

fn file(stored: &Stored) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, stored.mime.clone()))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"))
        .body(stored.bytes.clone())
}

/// A WhatsApp file by its address: with the bearer token, within its minutes; 404 afterwards.
pub(super) async fn attachment(
    request: HttpRequest,
    signed: web::Query<Signed>,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if !shared.settings.numbers.iter().any(|number| number.token.is(token)) {
        let refusal = Refusal::token("Invalid OAuth access token - Cannot parse access token");
        return HttpResponse::Unauthorized().json(refusal.body(Platform::Whatsapp));
    }
    let now = shared.clock.now();
    let found = shared.with(|world| {
        let is_valid = world.media.is_valid(&signed.mid, signed.ext, &signed.hash, now);
        world.media.get(&signed.mid).filter(|_| is_valid).cloned()
    });
    found.map_or_else(|| HttpResponse::NotFound().finish(), |stored| file(&stored))
}

/// The query of an address on the content network.
#[derive(Deserialize)]
pub(super) struct Expiring {
    oe: i64,
    oh: String,
}

/// A Messenger file by its address: without a token, within its minutes; 403 afterwards.
pub(super) async fn cdn(
    id: web::Path<String>,
    signed: web::Query<Expiring>,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let now = shared.clock.now();
    let found = shared.with(|world| {
        let is_valid = world.media.is_valid(&id, signed.oe, &signed.oh, now);
        world.media.get(&id).filter(|_| is_valid).cloned()
    });
    found.map_or_else(
        || HttpResponse::Forbidden().content_type("text/plain").body("URL signature expired"),
        |stored| file(&stored),
    )
}

/// A file for our own page, which needs no address that ends.
pub(super) async fn own_file(id: web::Path<String>, shared: web::Data<Shared>) -> HttpResponse {
    let found = shared.with(|world| world.media.get(&id).cloned());
    found.map_or_else(|| HttpResponse::NotFound().finish(), |stored| file(&stored))
}

// ---- Messenger

fn attach(world: &mut World, call: &Call) -> Result<Taken, Refusal> {
    struct NoFacts;
    impl messenger::check::Facts for NoFacts {
        fn attachment(&self, _id: &str) -> Option<super::phone::File> {
            None
        }
        fn has_message(&self, _psid: &str, _mid: &str) -> bool {
            false
        }
    }
    if let Some(part) = call.parts.iter().find(|part| part.name == "filedata") {
        let mime = part.mime.clone().unwrap_or_else(|| "application/octet-stream".to_owned());
        let kind = match mime.split('/').next() {
            Some(kind @ ("image" | "video" | "audio")) => kind.to_owned(),
            _ => "document".to_owned(),
        };
        let id = world.media.keep(mime, kind, part.file_name.clone(), part.bytes.clone());
        let file = world.media.file(&id).ok_or_else(|| Refusal::new(100, "Upload attachment failure"))?;
        return taken(json!({"attachment_id": world.save_attachment(file)}));
    }
    let attachment = call
        .body
        .pointer("/message/attachment")
        .ok_or_else(|| Refusal::new(100, "The parameter message[attachment] is required"))?;
    let kind = match text(attachment, "/type") {
        Some("file") => "document",
        Some(kind @ ("image" | "video" | "audio")) => kind,
        _ => {
            return Err(Refusal::new(
                100,
                "Param message[attachment][type] must be one of {AUDIO, FILE, IMAGE, VIDEO}",
            ));
        }
    };
    let file = messenger::check::file(kind, attachment, &NoFacts)?;
    taken(json!({"attachment_id": world.save_attachment(file)}))
}

fn subscriptions(world: &World, page: &str) -> Result<Taken, Refusal> {
    let app = world.page(page).map(|own| own.app_id.clone()).unwrap_or_default();
    let data: Vec<_> = world
        .subscriptions
        .get(page)
        .map(
            |fields| json!({"id": app, "name": "Loket", "category": "Business", "subscribed_fields": fields}),
        )
        .into_iter()
        .collect();
    taken(json!({ "data": data }))
}

fn subscribe(world: &mut World, page: &str, call: &Call) -> Result<Taken, Refusal> {
    let given = call.query.get("subscribed_fields").cloned();
    let fields: Vec<String> = match (given, call.body.get("subscribed_fields")) {
        (Some(fields), _) => fields.split(',').map(|field| field.trim().to_owned()).collect(),
        (None, Some(Value::String(fields))) => {
            fields.split(',').map(|field| field.trim().to_owned()).collect()
        }
        (None, Some(Value::Array(fields))) => {
            fields.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    if fields.iter().all(String::is_empty) {
        return Err(Refusal::new(100, "The parameter subscribed_fields is required"));
    }
    world.subscriptions.insert(page.to_owned(), fields);
    world.note("subscription", page, "the app subscribed");
    world.version += 1;
    success()
}

/// The person whom `recipient` names, and their conversation's owner.
fn conversation<'a>(world: &'a World, psid: Option<&str>) -> Result<&'a str, Refusal> {
    let person = psid.and_then(|psid| world.customer_by(Platform::Messenger, psid));
    person
        .map(|person| person.id.as_str())
        .ok_or_else(|| Refusal::new(100, "No matching user found").subcode(2_018_001))
}

fn thread_control(world: &mut World, page: &str, call: &Call) -> Result<Taken, Refusal> {
    let person = conversation(world, text(&call.body, "/recipient/id"))?.to_owned();
    let own_app = world.page(page).map(|own| own.app_id.clone()).unwrap_or_default();
    let target =
        call.body.get("target_app_id").map(|app| app.as_str().map_or_else(|| app.to_string(), str::to_owned));
    let chat = world.chat(page, &person);
    match (call.edge.as_str(), target) {
        ("pass_thread_control", Some(app)) => chat.owner_app = Some(app),
        ("pass_thread_control", None) => {
            return Err(Refusal::new(100, "The parameter target_app_id is required"));
        }
        ("take_thread_control", _) => chat.owner_app = Some(own_app),
        ("release_thread_control", _) => chat.owner_app = None,
        _ => {}
    }
    world.version += 1;
    success()
}

fn thread_owner(world: &World, page: &str, query: &BTreeMap<String, String>) -> Result<Taken, Refusal> {
    let person = conversation(world, query.get("recipient").map(String::as_str))?;
    let chat = world.chats.get(&(page.to_owned(), person.to_owned()));
    let owner = chat.and_then(|chat| chat.owner_app.as_ref());
    let data: Vec<_> = owner.map(|app| json!({"thread_owner": {"app_id": app}})).into_iter().collect();
    taken(json!({ "data": data }))
}

/// What was said, for whoever missed it (`reliability-contract` §2): newest first.
fn conversations(world: &World, page: &str, query: &BTreeMap<String, String>) -> Result<Taken, Refusal> {
    let wish = query.get("user_id").map(String::as_str);
    let since = query.get("since").and_then(|since| since.parse().ok()).and_then(Timestamp::from_provider);
    let own = world.chats.iter().filter(|((account, _), _)| account == page);
    let mut data = Vec::new();
    for ((_, who), chat) in own {
        let Some(customer) = world.customers.get(who) else { continue };
        let psid = customer.psid.as_deref().unwrap_or_default();
        if wish.is_some_and(|wish| wish != psid) {
            continue;
        }
        let is_recent = |at: Timestamp| since.is_none_or(|since| at >= since);
        let bubbles = chat.bubbles.iter().rev().filter(|bubble| is_recent(bubble.at)).take(PAGE_MAX);
        let messages: Vec<_> = bubbles
            .map(|bubble| {
                let person = json!({"id": psid, "name": customer.name});
                let own = json!({"id": page, "name": "Loket simulator"});
                let is_theirs = bubble.author == Author::Customer;
                let (from, to) = if is_theirs { (person, own) } else { (own, person) };
                json!({
                    "id": bubble.id,
                    "created_time": bubble.at.to_string(),
                    "from": from,
                    "to": {"data": [to]},
                    "message": bubble.text.as_deref().unwrap_or_default(),
                })
            })
            .collect();
        let updated = chat.bubbles.back().map(|bubble| bubble.at.to_string());
        data.push(
            json!({"id": format!("t_{psid}"), "updated_time": updated, "messages": {"data": messages}}),
        );
        if data.len() == PAGE_MAX {
            break;
        }
    }
    taken(json!({ "data": data }))
}

fn profile(world: &World, id: &str, query: &BTreeMap<String, String>) -> Result<Taken, Refusal> {
    let customer = world.customers.get(id).ok_or_else(|| Refusal::unknown_object("GET", id))?;
    if customer.hides_profile {
        return Err(Refusal::new(100, "The user profile is not available").subcode(2_018_218));
    }
    let psid = customer.psid.as_deref().unwrap_or_default();
    let picture = format!("{}/sim/v1/portraits/{psid}.png", world.base);
    let fields = query.get("fields").map(String::as_str);
    taken(messenger::profile(psid, &customer.name, &picture, fields))
}
