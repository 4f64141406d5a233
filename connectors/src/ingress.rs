//! Callbacks in: authenticate, receive, publish, and only then 200 (`reliability-contract` §2).
//!
//! There is no state here and nothing is kept: what cannot be made durable is refused with 503, and
//! the provider sends it again.

mod batch;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use loket_backbone::bus::{BusError, PUBLISH_DEADLINE, Wire};
use loket_backbone::clock::Clock;
use loket_backbone::disk::Disks;
use loket_backbone::failpoint;
use loket_protocol::ids::CallbackId;
use loket_protocol::topics::{CALLBACKS, INBOUND, PARKED};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;

use crate::channel::{Callback, Channel, Received, Rejected};
use crate::refusal::{CALLBACK_RETRY_AFTER_S, Refusal, security_headers};
use batch::Batch;

/// The largest callback body (`reliability-contract` §12).
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a body may take to come.
pub const BODY_TIME: Duration = Duration::from_secs(10);
/// How many callbacks are served at once (`reliability-contract` §8).
pub const CALLBACKS_MAX: usize = 256;
/// How many bytes of bodies are in hand at once.
pub const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most events and problems that one callback may come to (`reliability-contract` §12). The
/// providers send 1,000 at most.
pub const ITEMS_MAX: usize = 10_000;

/// The header that carries a signature.
const SIGNATURE: &str = "X-Hub-Signature-256";
/// What a provider reads when a callback is safe.
const EVENT_RECEIVED: &str = "EVENT_RECEIVED";

/// The limits of one ingress; [`Default`] is what runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) body_bytes: usize,
    pub(crate) body_time: Duration,
    pub(crate) callbacks: usize,
    pub(crate) bodies_bytes: usize,
    pub(crate) publish: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: BODY_BYTES_MAX,
            body_time: BODY_TIME,
            callbacks: CALLBACKS_MAX,
            bodies_bytes: BODIES_BYTES_MAX,
            publish: PUBLISH_DEADLINE,
        }
    }
}

/// Everything that a callback needs on its way to the bus.
pub(crate) struct Ingress {
    channels: HashMap<&'static str, Arc<dyn Channel>>,
    wire: Wire,
    clock: Clock,
    disks: Disks,
    limits: Limits,
    callbacks: Semaphore,
    bodies: Semaphore,
    /// When the bus last refused a callback.
    refused_at: Mutex<Option<Instant>>,
}

impl Ingress {
    /// An ingress for these channels; those that take no callbacks are unknown to it.
    pub(crate) fn new(
        channels: &[(&'static str, Arc<dyn Channel>)],
        wire: Wire,
        clock: Clock,
        disks: Disks,
        limits: Limits,
    ) -> Self {
        let channels = channels
            .iter()
            .filter(|(_, channel)| channel.takes_callbacks())
            .cloned()
            .collect::<HashMap<_, _>>();
        let (callbacks, bodies) = (Semaphore::new(limits.callbacks), Semaphore::new(limits.bodies_bytes));
        Self { channels, wire, clock, disks, limits, callbacks, bodies, refused_at: Mutex::default() }
    }

    /// When the bus last refused a callback.
    pub(crate) fn refused_at(&self) -> Option<Instant> {
        *self.refused_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channel(&self, kind: &str) -> Result<(&'static str, &dyn Channel), Refusal> {
        let (kind, channel) = self.channels.get_key_value(kind).ok_or(Refusal::UnknownPath)?;
        Ok((kind, channel.as_ref()))
    }

    /// One callback, from its headers to the bus. `Ok`: every part of it is durable.
    async fn take(
        &self,
        id: CallbackId,
        kind: &'static str,
        channel: &dyn Channel,
        headers: &HeaderMap,
        payload: Payload,
    ) -> Result<(), Refusal> {
        let overloaded = Refusal::Busy(CALLBACK_RETRY_AFTER_S);
        let _one = self.callbacks.try_acquire().map_err(|_| overloaded.clone())?;
        let signatures = signatures(headers);
        if signatures.is_empty() {
            // What nobody signed is refused before its body is read.
            return Err(Rejected::Signature.into());
        }
        let reading = read_body(headers, payload, self.limits.body_bytes, &self.bodies, overloaded);
        let (body, _bytes) =
            tokio::time::timeout(self.limits.body_time, reading).await.map_err(|_| Refusal::Slow)??;
        let callback = Callback { signatures, body, received_at: self.clock.now() };
        failpoint!("ingress.auth.before");
        channel.authenticate(&callback)?;
        failpoint!("ingress.auth.after");
        if self.disks.is_full() {
            return Err(Refusal::DiskFull(CALLBACK_RETRY_AFTER_S));
        }
        failpoint!("ingress.normalise.before");
        let received = receive(kind, channel, &callback)?;
        let batch = Batch::of(kind, id, &callback, received).map_err(|error| self.not_safe(&error))?;
        failpoint!("ingress.normalise.after");
        self.publish(&batch).await.map_err(|error| self.not_safe(&error))?;
        metrics::counter!("loket_events_accepted_total", "channel" => kind).increment(batch.events);
        metrics::counter!("loket_items_parked_total", "channel" => kind).increment(batch.problems);
        Ok(())
    }

    /// All three topics at once, so that a bus which groups its commits needs one.
    async fn publish(&self, batch: &Batch) -> Result<(), BusError> {
        failpoint!("ingress.publish.before", BusError::Deadline);
        let all = async {
            tokio::try_join!(
                publish_some(self.wire.publish(&INBOUND, &batch.inbound), batch.inbound.is_empty()),
                publish_some(self.wire.publish(&PARKED, &batch.parked), batch.parked.is_empty()),
                self.wire.publish(&CALLBACKS, &batch.raw),
                handed_over(),
            )
        };
        tokio::time::timeout(self.limits.publish, all).await.map_err(|_| BusError::Deadline)??;
        failpoint!("ingress.confirm.after", BusError::Deadline);
        Ok(())
    }

    fn not_safe(&self, error: &BusError) -> Refusal {
        *self.refused_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.instant());
        tracing::warn!(%error, "a callback could not be made safe and was refused; the provider sends it again");
        Refusal::NotSafe(CALLBACK_RETRY_AFTER_S)
    }
}

/// The moment between handing all over to the bus and its confirming: nothing is done in it.
async fn handed_over() -> Result<(), BusError> {
    failpoint!("ingress.publish.after", BusError::Deadline);
    failpoint!("ingress.confirm.before", BusError::Deadline);
    std::future::ready(Ok(())).await
}

async fn publish_some(
    publishing: impl Future<Output = Result<(), BusError>>,
    is_empty: bool,
) -> Result<(), BusError> {
    if is_empty { Ok(()) } else { publishing.await }
}

/// What the channel makes of it. A channel that panics has met something that nobody foresaw: the
/// body is signed, so it is parked whole for a person and never refused.
pub(crate) fn receive(
    kind: &'static str,
    channel: &dyn Channel,
    callback: &Callback,
) -> Result<Received, Rejected> {
    let outcome = catch_unwind(AssertUnwindSafe(|| channel.receive(callback)));
    outcome.unwrap_or_else(|_| {
        metrics::counter!("loket_receive_panics_total", "channel" => kind).increment(1);
        tracing::error!(channel.kind = kind, "receiving a callback panicked; it is parked whole");
        let why = "receiving it panicked; the whole body is kept";
        Ok(Received { events: Vec::new(), problems: batch::whole(kind, why, callback) })
    })
}

fn signatures(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(SIGNATURE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// The body, at most `most` bytes of it, and the permit for its bytes: `full` when too many bytes of
/// bodies are in hand. No content encoding is undone.
pub(crate) async fn read_body<'a>(
    headers: &HeaderMap,
    mut payload: Payload,
    most: usize,
    bodies: &'a Semaphore,
    full: Refusal,
) -> Result<(Bytes, Option<SemaphorePermit<'a>>), Refusal> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > most)) {
        return Err(Refusal::TooLarge(most));
    }
    let mut body = BytesMut::new();
    let mut permit: Option<SemaphorePermit<'a>> = None;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Refusal::BrokenOff)?;
        if body.len() + chunk.len() > most {
            return Err(Refusal::TooLarge(most));
        }
        let size = u32::try_from(chunk.len()).map_err(|_| Refusal::TooLarge(most))?;
        let more = bodies.try_acquire_many(size).map_err(|_| full.clone())?;
        match &mut permit {
            Some(permit) => permit.merge(more),
            None => permit = Some(more),
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body.freeze(), permit))
}

/// Mounts `/callbacks/{channel}`.
pub(crate) fn configure(ingress: &Data<Ingress>, service: &mut ServiceConfig) {
    service.service(
        web::scope("/callbacks")
            .app_data(ingress.clone())
            .wrap(security_headers())
            .service(
                web::resource("/{channel}")
                    .route(web::get().to(handshake))
                    .route(web::post().to(callback))
                    .default_service(web::to(async || Refusal::Method("GET, POST").error_response())),
            )
            .default_service(web::to(async || Refusal::UnknownPath.error_response())),
    );
}

async fn handshake(
    ingress: Data<Ingress>,
    kind: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let (kind, channel) = ingress.channel(&kind)?;
    let query = web::Query::<HashMap<String, String>>::from_query(request.query_string())
        .map_err(|_| Rejected::Handshake("the query cannot be read".to_owned()))?;
    let parameter = |name: &str| query.get(name).map_or("", String::as_str);
    let answer =
        channel.handshake(parameter("hub.mode"), parameter("hub.verify_token"), parameter("hub.challenge"));
    metrics::counter!("loket_handshakes_total", "channel" => kind,
        "answer" => if answer.is_ok() { "ok" } else { "refused" })
    .increment(1);
    // Plain text, so that an echoed challenge is never a page (`security` H5).
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; charset=utf-8")).body(answer?))
}

async fn callback(
    ingress: Data<Ingress>,
    kind: web::Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    let (kind, channel) = ingress.channel(&kind)?;
    let began = ingress.clock.instant();
    let id: CallbackId = ingress.clock.id();
    let span = tracing::info_span!("callback", channel.kind = kind, trace = %id);
    let verdict = ingress.take(id, kind, channel, request.headers(), payload).instrument(span).await;
    let answer = verdict.as_ref().map_or_else(Refusal::code, |()| "ok");
    metrics::counter!("loket_callbacks_total", "channel" => kind, "answer" => answer).increment(1);
    metrics::histogram!("loket_callback_seconds", "channel" => kind).record(began.elapsed().as_secs_f64());
    verdict?;
    failpoint!("ingress.answer.before");
    failpoint!(later "ingress.answer.after");
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; charset=utf-8")).body(EVENT_RECEIVED))
}

#[cfg(test)]
mod tests;
