//! Callbacks that a test writes itself: raw, repeated, in parallel, out of order, wrongly signed;
//! and the handshake. All delivered while the caller waits, so that it learns each answer.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use loket_backbone::random;
use loket_backbone::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use super::courier::{deliver, signature, wire};
use super::phone::Platform;
use super::world::Complaint;

/// How many callbacks one request may send.
const POSTS_MAX: usize = 100_000;
/// How many of them are under way at once.
const AT_ONCE_MAX: usize = 256;

/// How a callback is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Signing {
    /// As the platform does it.
    #[default]
    Right,
    /// By another secret.
    Wrong,
    /// Half of the right one.
    Short,
    /// The right digits behind `sha1=`.
    Sha1,
    /// Not at all.
    Missing,
}

/// A body: text is sent byte for byte; JSON is written in wire form.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Body {
    Exact(String),
    Json(Value),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Posting {
    platform: Platform,
    /// One or more bodies.
    bodies: Vec<Body>,
    /// Each of them so many times.
    #[serde(default = "once")]
    times: usize,
    /// How many at once; 1 is one after the other.
    #[serde(default = "once")]
    at_once: usize,
    /// In another order than given.
    #[serde(default)]
    is_shuffled: bool,
    #[serde(default)]
    signed: Signing,
    /// Do not take the customers and messages in them into this world.
    #[serde(default)]
    is_foreign: bool,
    /// Repeat each as the platform does until it is answered 200, at most so long.
    #[serde(default)]
    retry_for_ms: u64,
}

fn once() -> usize {
    1
}

/// What one callback was answered.
#[derive(Clone, Debug, Serialize)]
struct Answered {
    /// Its place in `bodies`.
    body: usize,
    /// The last status; none when there was no answer.
    status: Option<u16>,
    attempts: u32,
    ms: u64,
}

fn sign(shared: &Shared, platform: Platform, how: Signing, body: &[u8]) -> Option<String> {
    let right = || signature(shared.secret(platform), body);
    match how {
        Signing::Right => Some(right()),
        Signing::Wrong => Some(signature(&Secret::new(random::hex::<16>()), body)),
        Signing::Short => Some(right().chars().take(39).collect()),
        Signing::Sha1 => Some(right().replacen("sha256=", "sha1=", 1)),
        Signing::Missing => None,
    }
}

pub(super) async fn post(
    posting: web::Json<Posting>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Complaint> {
    let posting = posting.into_inner();
    let count = posting.bodies.len().saturating_mul(posting.times);
    if count == 0 || count > POSTS_MAX || !(1..=AT_ONCE_MAX).contains(&posting.at_once) {
        let sentence = format!("1 to {POSTS_MAX} callbacks, 1 to {AT_ONCE_MAX} at once");
        return Err(Complaint::new(422, "bad_posting", sentence));
    }
    let bodies: Vec<Bytes> = posting.bodies.iter().map(written).collect();
    if !posting.is_foreign && posting.signed == Signing::Right {
        for body in &bodies {
            if let Ok(value) = serde_json::from_slice::<Value>(body) {
                shared.with(|world| world.learn(&value));
            }
        }
    }
    let mut order: Vec<usize> = (0..posting.times).flat_map(|_| 0..bodies.len()).collect();
    if posting.is_shuffled {
        shuffle(&shared, &mut order);
    }
    let url = shared.addresses().of(posting.platform).to_owned();
    let limit = Duration::from_millis(posting.retry_for_ms);
    let answers: Vec<Answered> = stream::iter(order)
        .map(|place| {
            let body = bodies.get(place).cloned().unwrap_or_default();
            let signed = sign(&shared, posting.platform, posting.signed, &body);
            let (shared, url) = (&shared, &url);
            async move { attempt(shared, url, signed, body, limit, place).await }
        })
        .buffer_unordered(posting.at_once)
        .collect()
        .await;
    Ok(HttpResponse::Ok().json(json!({ "answers": answers })))
}

fn written(body: &Body) -> Bytes {
    match body {
        Body::Exact(text) => Bytes::from(text.clone()),
        Body::Json(value) => wire(value),
    }
}

async fn attempt(
    shared: &Shared,
    url: &str,
    signed: Option<String>,
    body: Bytes,
    limit: Duration,
    place: usize,
) -> Answered {
    let begun = shared.clock.instant();
    let mut attempts = 0;
    let mut pause = Duration::from_millis(shared.with(|world| world.rules.retry_ms));
    loop {
        attempts += 1;
        let status = deliver(&shared.client, url, signed.as_deref(), body.clone()).await;
        let took = shared.clock.instant().saturating_duration_since(begun);
        if status == Some(200) || took + pause > limit {
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            return Answered { body: place, status, attempts, ms };
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Another order, by the switchboard's dice: the same seed, the same order.
fn shuffle(shared: &Shared, order: &mut [usize]) {
    shared.with(|world| {
        for place in (1..order.len()).rev() {
            let end = u64::try_from(place + 1).unwrap_or(1);
            let other = usize::try_from(world.switchboard.below(end)).unwrap_or(0);
            order.swap(place, other);
        }
    });
}

pub(super) async fn standing(shared: web::Data<Shared>) -> HttpResponse {
    let items: Vec<_> = shared.couriers().map(|courier| courier.standing()).collect();
    HttpResponse::Ok().json(json!({ "items": items }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Handshake {
    platform: Platform,
    verify_token: String,
    challenge: Option<String>,
}

/// The handshake by which a platform checks the address (`whatsapp` §2).
pub(super) async fn handshake(
    asked: web::Json<Handshake>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Complaint> {
    let challenge = asked.challenge.clone().unwrap_or_else(|| random::jitter_ms(2_000_000_000).to_string());
    let url = shared.addresses().of(asked.platform).to_owned();
    let query = [
        ("hub.mode", "subscribe"),
        ("hub.challenge", challenge.as_str()),
        ("hub.verify_token", asked.verify_token.as_str()),
    ];
    let failed = || Complaint::new(502, "no_answer", "the callback address did not answer");
    let answer = shared.client.get(&url).query(&query).send().await.map_err(|_| failed())?;
    let status = answer.status().as_u16();
    let body = answer.text().await.map_err(|_| failed())?;
    let is_verified = status == 200 && body == challenge;
    Ok(HttpResponse::Ok().json(json!({"status": status, "is_verified": is_verified})))
}
