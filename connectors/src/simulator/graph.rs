//! The Graph API's door: who calls, about what, and what the switchboard does to the answer. What
//! is asked is done in `objects`, `sends` and the channels' fakes.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_multipart::Multipart;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use hmac::{Hmac, KeyInit as _, Mac as _};
use loket_backbone::secret::{self, Secret};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Shared;
use super::faults::Faults;
use super::media::{FILE_BYTES_MAX, hex};
use super::objects;
use super::phone::Platform;
use super::read::{owned, text};
use super::refusal::Refusal;
use super::sends::Taken;
use super::world::{Request, World};

/// The longest body of a call that uploads nothing.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How many parts a form may have.
const PARTS_MAX: usize = 20;

/// Everything that no other route took, and the addresses of files.
pub(super) fn routes(service: &mut web::ServiceConfig) {
    service
        .route("/whatsapp_business/attachments/", web::get().to(objects::attachment))
        .route("/cdn/{id}", web::get().to(objects::cdn))
        .default_service(web::to(serve));
}

/// A form's part.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) mime: Option<String>,
    pub(super) bytes: Bytes,
}

/// A call, read but not yet judged.
pub(super) struct Call {
    pub(super) method: Method,
    /// The node: an id, or `me`.
    pub(super) object: String,
    /// The edge, such as `messages`; empty for the node itself.
    pub(super) edge: String,
    pub(super) query: BTreeMap<String, String>,
    token: Option<String>,
    pub(super) body: Value,
    pub(super) parts: Vec<Part>,
}

/// What the node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Number(String),
    Page(String),
    Waba(String),
    Media(String),
    /// A person's id here, and their Page.
    Person(String, String),
}

impl Target {
    fn platform(&self) -> Platform {
        match self {
            Self::Number(_) | Self::Waba(_) | Self::Media(_) => Platform::Whatsapp,
            Self::Page(_) | Self::Person(..) => Platform::Messenger,
        }
    }

    fn account(&self) -> &str {
        match self {
            Self::Number(id) | Self::Page(id) | Self::Waba(id) | Self::Media(id) | Self::Person(_, id) => id,
        }
    }
}

async fn serve(request: HttpRequest, payload: web::Payload, shared: web::Data<Shared>) -> HttpResponse {
    let mut record = Request {
        number: 0,
        at: shared.clock.now(),
        method: request.method().to_string(),
        path: request.path().to_owned(),
        platform: None,
        account: None,
        kind: "look_up",
        recipient: None,
        outbox_id: None,
        is_accepted: false,
        message_id: None,
        answered: None,
        code: None,
        fault: None,
        body: Value::Null,
    };
    let call = match read(&request, payload).await {
        Ok(call) => call,
        Err(refusal) => return refuse(&shared, record, Platform::Whatsapp, &refusal),
    };
    describe(&mut record, &call);
    let target = match shared.with(|world| resolve(world, &call)) {
        Ok(target) => target,
        Err((platform, refusal)) => return refuse(&shared, record, platform, &refusal),
    };
    let (platform, account) = (target.platform(), target.account().to_owned());
    record.platform = Some(platform);
    record.account = Some(account.clone());
    let is_send = record.kind == "send";
    let fault = shared.with(|world| world.switchboard.strike_request(platform, &account, is_send));
    if let Some(fault) = &fault
        && fault.slow_ms > 0
    {
        record.fault = Some("slow");
        pause(&shared, fault.slow_ms).await;
    }
    if let Some(answer) = fault.as_ref().and_then(|fault| before(&shared, fault, platform, &mut record)) {
        return answer;
    }
    let done = shared.with(|world| objects::perform(world, &target, &call));
    let taken = match done {
        Ok(taken) => taken,
        Err(refusal) => return refuse(&shared, record, platform, &refusal),
    };
    record.is_accepted = true;
    record.message_id.clone_from(&taken.message_id);
    if let Some(fault) = fault {
        return after(&shared, &fault, platform, record, taken).await;
    }
    record.answered = Some(200);
    finish(&shared, record);
    HttpResponse::Ok().json(taken.answer)
}

// ---- reading

async fn read(request: &HttpRequest, payload: web::Payload) -> Result<Call, Refusal> {
    let path = request.path().to_owned();
    let unknown = || Refusal::unknown_path(&path).http(404);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (version, object, edge) = match segments.as_slice() {
        [version, object] => (*version, *object, ""),
        [version, object, edge] => (*version, *object, *edge),
        _ => return Err(unknown()),
    };
    let digits = version.strip_prefix('v').and_then(|version| version.split_once('.'));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !digits.is_some_and(|(major, minor)| is_number(major) && is_number(minor)) || object.is_empty() {
        return Err(unknown());
    }
    let query = web::Query::<BTreeMap<String, String>>::from_query(request.query_string())
        .map(web::Query::into_inner)
        .unwrap_or_default();
    let (body, parts) = content(request, payload).await?;
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(|token| token.trim().to_owned());
    let token =
        bearer.or_else(|| query.get("access_token").cloned()).or_else(|| owned(&body, "/access_token"));
    Ok(Call {
        method: request.method().clone(),
        object: object.to_owned(),
        edge: edge.to_owned(),
        query,
        token,
        body,
        parts,
    })
}

async fn content(request: &HttpRequest, payload: web::Payload) -> Result<(Value, Vec<Part>), Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if kind.starts_with("multipart/form-data") {
        return Ok((Value::Null, form(Multipart::new(request.headers(), payload)).await?));
    }
    let mut bytes = BytesMut::new();
    let mut payload = payload;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Refusal::new(1, "The request could not be read"))?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Refusal::new(1, "The request is too large").http(413));
        }
        bytes.extend_from_slice(&chunk);
    }
    if bytes.is_empty() {
        return Ok((Value::Null, Vec::new()));
    }
    if kind.starts_with("application/x-www-form-urlencoded") {
        let fields = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| web::Query::<BTreeMap<String, String>>::from_query(text).ok())
            .map(web::Query::into_inner)
            .unwrap_or_default();
        // A field may hold JSON of its own, as the platform allows.
        let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        let fields = fields.into_iter().map(|(key, text)| (key, value(text)));
        return Ok((Value::Object(fields.collect()), Vec::new()));
    }
    serde_json::from_slice::<Value>(&bytes)
        .ok()
        .filter(Value::is_object)
        .map(|body| (body, Vec::new()))
        .ok_or_else(|| Refusal::new(100, "Invalid parameter: the body is not a JSON object"))
}

async fn form(mut multipart: Multipart) -> Result<Vec<Part>, Refusal> {
    let broken = || Refusal::new(100, "Invalid parameter: the form could not be read");
    let mut parts = Vec::new();
    let mut total = 0;
    while let Some(field) = multipart.next().await {
        let mut field = field.map_err(|_| broken())?;
        let name = field.name().unwrap_or_default().to_owned();
        let disposition = field.content_disposition();
        let file_name = disposition.and_then(|own| own.get_filename()).map(str::to_owned);
        let mime = field.content_type().map(|mime| mime.essence_str().to_owned());
        let mut bytes = BytesMut::new();
        while let Some(chunk) = field.next().await {
            let chunk = chunk.map_err(|_| broken())?;
            total += chunk.len();
            if total > FILE_BYTES_MAX {
                return Err(Refusal::new(131_053, "Media upload error").details("the file is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        parts.push(Part { name, file_name, mime, bytes: bytes.freeze() });
        if parts.len() > PARTS_MAX {
            return Err(broken());
        }
    }
    Ok(parts)
}

/// What the record tells of the call.
fn describe(record: &mut Request, call: &Call) {
    let is_signal = call.body.get("status").is_some() || call.body.get("sender_action").is_some();
    record.kind = match (call.method.as_str(), call.edge.as_str()) {
        ("POST", "messages") if is_signal => "signal",
        ("POST", "messages") => "send",
        ("POST", "media" | "message_attachments") | ("DELETE", "") => "media",
        ("GET", _) => "look_up",
        _ => "manage",
    };
    let paths = ["/to", "/recipient/id", "/recipient"];
    record.recipient = paths.iter().find_map(|path| owned(&call.body, path));
    record.outbox_id =
        owned(&call.body, "/biz_opaque_callback_data").or_else(|| owned(&call.body, "/message/metadata"));
    record.body = call.body.clone();
    if let Some(fields) = record.body.as_object_mut() {
        fields.remove("access_token");
    }
}

// ---- who and what

fn resolve(world: &World, call: &Call) -> Result<Target, (Platform, Refusal)> {
    let guess = if world.page(&call.object).is_some() || call.object == "me" {
        Platform::Messenger
    } else {
        Platform::Whatsapp
    };
    let token = call.token.as_deref().filter(|token| !token.is_empty());
    let token = token
        .ok_or_else(|| (guess, Refusal::token("An access token is required to request this resource.")))?;
    let number = world.settings.numbers.iter().find(|number| number.token.is(token));
    let page = world.settings.pages.iter().find(|page| page.token.is(token));
    if number.is_none() && page.is_none() {
        return Err((guess, Refusal::token("Invalid OAuth access token - Cannot parse access token")));
    }
    let object = call.object.as_str();
    let unknown = || (guess, Refusal::unknown_object(call.method.as_str(), object));
    let own_number = world.number(object).filter(|own| own.token.is(token));
    let own_page = world.page(object).filter(|own| own.token.is(token));
    let wabas = || world.settings.numbers.iter().any(|own| own.waba_id == object && own.token.is(token));
    let target = if let Some(own) = own_number {
        Target::Number(own.phone_number_id.clone())
    } else if let Some(own) = own_page.or(page.filter(|_| object == "me")) {
        Target::Page(own.page_id.clone())
    } else if wabas() {
        Target::Waba(object.to_owned())
    } else if number.is_some() && world.media.get(object).is_some() {
        Target::Media(object.to_owned())
    } else {
        let person = world.customer_by(Platform::Messenger, object);
        let person = person.filter(|person| {
            person.page.as_deref().and_then(|id| world.page(id)).is_some_and(|own| own.token.is(token))
        });
        let person = person.ok_or_else(unknown)?;
        Target::Person(person.id.clone(), person.page.clone().unwrap_or_default())
    };
    let platform = target.platform();
    let app_secret = match platform {
        Platform::Whatsapp => &world.settings.app_secret_whatsapp,
        Platform::Messenger => &world.settings.app_secret_messenger,
    };
    let proof = call.query.get("appsecret_proof").map(String::as_str);
    let proof = proof.or_else(|| text(&call.body, "/appsecret_proof"));
    let refusal = match proof {
        Some(proof) if !proves(app_secret, token, proof) => {
            "Invalid appsecret_proof provided in the API argument"
        }
        None if world.rules.requires_appsecret_proof => {
            "API calls from the server require an appsecret_proof argument"
        }
        _ => return Ok(target),
    };
    Err((platform, Refusal::new(100, refusal)))
}

/// `appsecret_proof`: hexadecimal HMAC-SHA256 of the token by the app secret (`messenger` §2).
fn proves(app_secret: &Secret, token: &str, proof: &str) -> bool {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(app_secret.expose().as_bytes()) else { return false };
    let own = hex(&mac.chain_update(token).finalize().into_bytes());
    secret::same(own.as_bytes(), proof.as_bytes())
}

// ---- answers

fn finish(shared: &Shared, record: Request) {
    let result = if record.is_accepted { "accepted" } else { "refused" };
    metrics::counter!("loket_simulator_requests_total", "kind" => record.kind, "result" => result)
        .increment(1);
    shared.with(|world| {
        if let (Some(fault), Some(account)) = (record.fault, &record.account) {
            world.note("fault", account, fault);
        }
        world.remember(record);
        world.version += 1;
    });
}

fn refuse(shared: &Shared, mut record: Request, platform: Platform, refusal: &Refusal) -> HttpResponse {
    record.answered = Some(refusal.http);
    record.code = Some(refusal.code);
    finish(shared, record);
    let status = StatusCode::from_u16(refusal.http).unwrap_or(StatusCode::BAD_REQUEST);
    HttpResponse::build(status).json(refusal.body(platform))
}

/// Hangs up: the body fails before anything was written, so not one byte leaves.
fn hang_up() -> HttpResponse {
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "a fault of the switchboard");
    HttpResponse::Ok().streaming(stream::iter([Err::<Bytes, _>(broken)]))
}

async fn pause(shared: &Shared, ms: u64) {
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = tokio::time::sleep(Duration::from_millis(ms)) => {}
    }
}

/// A fault that keeps Graph from doing anything.
fn before(shared: &Shared, fault: &Faults, platform: Platform, record: &mut Request) -> Option<HttpResponse> {
    let mut stop = |name: &'static str, answered: Option<u16>, code: Option<i64>| {
        record.fault = Some(name);
        record.answered = answered;
        record.code = code;
        finish(shared, record.clone());
    };
    if fault.drop_connection_before {
        stop("drop_connection_before", None, None);
        return Some(hang_up());
    }
    if fault.token_expired {
        stop("token_expired", Some(401), Some(190));
        let refusal = Refusal::token("Error validating access token: Session has expired.").subcode(463);
        return Some(HttpResponse::Unauthorized().json(refusal.body(platform)));
    }
    let status = fault.status.filter(|_| !fault.status_after_acceptance)?;
    stop("status", Some(status), fault.code);
    Some(faulty(fault, status, platform))
}

/// The answer of the fault `status`.
fn faulty(fault: &Faults, status: u16, platform: Platform) -> HttpResponse {
    let mut answer = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY));
    if let Some(seconds) = fault.retry_after_s {
        answer.insert_header((header::RETRY_AFTER, seconds.to_string()));
    }
    match fault.code {
        Some(code) => {
            let mut refusal = Refusal::new(code, "A fault of the switchboard");
            refusal.subcode = fault.subcode;
            answer.json(refusal.body(platform))
        }
        None => {
            answer.content_type("text/html").body("<html><body>Sorry, something went wrong.</body></html>")
        }
    }
}

/// What the switchboard does to the answer of a request that was taken.
async fn after(
    shared: &Shared,
    fault: &Faults,
    platform: Platform,
    mut record: Request,
    taken: Taken,
) -> HttpResponse {
    if fault.timeout_after_acceptance {
        record.fault = Some("timeout_after_acceptance");
        finish(shared, record);
        pause(shared, fault.timeout_ms).await;
        return hang_up();
    }
    if fault.drop_connection_after {
        record.fault = Some("drop_connection_after");
        finish(shared, record);
        return hang_up();
    }
    if fault.status_after_acceptance {
        let status = fault.status.unwrap_or(502);
        record.fault = Some("status_after_acceptance");
        record.answered = Some(status);
        record.code = fault.code;
        finish(shared, record);
        return faulty(fault, status, platform);
    }
    record.answered = Some(200);
    if fault.garble_answer {
        record.fault = Some("garble_answer");
        finish(shared, record);
        return HttpResponse::Ok().content_type("application/json").body("{\"messages\": [");
    }
    if fault.answer_without_id {
        record.fault = Some("answer_without_id");
        finish(shared, record);
        return HttpResponse::Ok().json(json!({}));
    }
    finish(shared, record);
    HttpResponse::Ok().json(taken.answer)
}
