//! The one path of every request: parameters, load, who, how often, body, handler with its deadline;
//! then headers and measures. A panic in a handler ends as an ordinary 500.

use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, dev, web};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use loket_backbone::{failpoint, random};

use crate::Shared;
use crate::auth::{self, Access, Carried, Declared};
use crate::cookie;
use crate::doors::{Class, Door};
use crate::error::{Code, Problem};
use crate::request::{Query, RawBody};

/// How long a body may take to arrive (`reliability-contract` §12).
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// What is read and thrown away of a body that is refused, so that the client reads the answer
/// instead of a broken connection.
const DRAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long that may take.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// The longest path and query.
const URI_BYTES_MAX: usize = 8 * 1024;
/// Logins that are worked on or wait for the hash at the same time (`security` P2).
const LOGINS_MAX: usize = 64;

/// How many requests of each kind are inside.
#[derive(Default)]
pub(crate) struct Inside {
    ordinary: AtomicUsize,
    long_polls: AtomicUsize,
    logins: AtomicUsize,
}

/// A request that is inside; leaving is dropping it.
struct Permit<'a>(Option<&'a AtomicUsize>);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Inside {
    /// Lets a request in, or says that there are too many. Reads are refused at seven eighths, so
    /// that writes still find room (`reliability-contract` §8).
    fn enter(&self, class: Class, at_once: usize, long_polls: usize) -> Option<Permit<'_>> {
        let (count, most) = match class {
            Class::Read => (&self.ordinary, at_once - at_once / 8),
            Class::Write => (&self.ordinary, at_once),
            Class::LongPoll => (&self.long_polls, long_polls),
            Class::Login => (&self.logins, LOGINS_MAX),
            Class::Socket | Class::Probe => return Some(Permit(None)),
        };
        let entered = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |inside| {
            (inside < most).then_some(inside + 1)
        });
        entered.ok().map(|_| Permit(Some(count)))
    }

    /// How many ordinary requests are inside now.
    pub(crate) fn ordinary(&self) -> usize {
        self.ordinary.load(Ordering::Acquire)
    }
}

/// Takes a request through its door.
pub(crate) async fn pass<H, Args>(
    door: Arc<Door>,
    handler: H,
    req: HttpRequest,
    payload: web::Payload,
) -> HttpResponse
where
    H: Handler<Args, Output = Result<HttpResponse, Problem>>,
    Args: FromRequest + Declared + 'static,
{
    let Some(shared) = req.app_data::<web::Data<Shared>>().cloned() else {
        return refuse_as(&Problem::internal("the agent API is not configured"), &trace_of(req.headers()));
    };
    let started = shared.clock.instant();
    let trace = trace_of(req.headers());
    let mut payload = payload.into_inner();
    let work = AssertUnwindSafe(inside(&shared, &door, handler, &req, &mut payload));
    let outcome = work.catch_unwind().await.unwrap_or_else(|_| {
        metrics::counter!("loket_api_panics_total", "route" => door.path).increment(1);
        Err(Problem::internal("the handler panicked"))
    });
    let mut response = match outcome {
        Ok(response) => response,
        Err(problem) => {
            if let Some(inside) = problem.inside() {
                tracing::error!(
                    trace.id = %trace,
                    http.method = %door.method,
                    http.route = door.path,
                    error = inside,
                    "a request could not be answered"
                );
            }
            // An upgrade's payload is the connection itself and has no end.
            if door.class != Class::Socket {
                drain(&mut payload).await;
            }
            problem.answer(&trace)
        }
    };
    dress(response.headers_mut());
    failpoint!("api.answer.before" if door.class == Class::Write);
    failpoint!(later "api.answer.after" if door.class == Class::Write);
    let status = response.status().as_u16().to_string();
    let method = door.method.to_string();
    let duration = shared.clock.instant().duration_since(started);
    metrics::counter!("loket_api_requests_total", "route" => door.path, "method" => method.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("loket_api_request_duration_seconds", "route" => door.path, "method" => method)
        .record(duration.as_secs_f64());
    response
}

async fn inside<H, Args>(
    shared: &Shared,
    door: &Door,
    handler: H,
    req: &HttpRequest,
    payload: &mut dev::Payload,
) -> Result<HttpResponse, Problem>
where
    H: Handler<Args, Output = Result<HttpResponse, Problem>>,
    Args: FromRequest + Declared + 'static,
{
    check_address(req)?;
    let query = Query::parse(req.query_string())?;
    auth::refuse_token_in_url(query.pairs())?;
    let settings = &shared.settings;
    let permit = shared.inside.enter(door.class, settings.requests_at_once, settings.long_polls);
    let _permit = permit.ok_or_else(|| {
        metrics::counter!("loket_api_shed_total", "class" => door.class.as_str()).increment(1);
        Problem::of(Code::Overloaded).retry_soon()
    })?;
    if door.access != Access::Public {
        let looked_up = tokio::time::timeout(door.deadline, auth::authenticate(&shared.hub, req));
        let found = looked_up.await.map_err(|_| Problem::of(Code::Deadline).retry_soon())??;
        let id = found.principal.id();
        // A socket's handshake is a GET, and looks at its origin itself.
        if found.carried == Carried::Cookie && door.method != Method::GET {
            cookie::refuse_forgery(req, &found.token, &settings.allowed_origins)?;
        }
        door.access.check(&found.principal)?;
        if matches!(door.access, Access::Fresh(_)) && !shared.hub.is_fresh(&found.principal).await? {
            return Err(Problem::of(Code::FreshAuthRequired));
        }
        req.extensions_mut().insert(found);
        pace(shared, &id).await?;
    }
    // What takes away needs next to no room, ends rights and gives space back.
    if door.class == Class::Write && door.method != Method::DELETE && shared.lent.disks.is_full() {
        return Err(Problem::of(Code::DiskFull));
    }
    query.only(door.parameters().collect::<Vec<_>>().into_iter())?;
    if door.class != Class::Socket {
        let bytes = body(req.headers(), payload, door.body_bytes_max).await?;
        req.extensions_mut().insert(RawBody(bytes));
    }
    let args = Args::from_request(req, payload).await.map_err(|error| problem_in(&error.into()))?;
    match tokio::time::timeout(door.deadline, handler.call(args)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Problem::of(Code::Deadline).retry_soon()),
    }
}

/// Our own problem inside actix's error; extractors of ours make no other.
fn problem_in(error: &actix_web::Error) -> Problem {
    error.as_error::<Problem>().cloned().unwrap_or_else(|| Problem::internal(error.to_string()))
}

fn check_address(req: &HttpRequest) -> Result<(), Problem> {
    let length = req.uri().path_and_query().map_or(0, |whole| whole.as_str().len());
    if length > URI_BYTES_MAX { Err(Problem::of(Code::UriTooLong)) } else { Ok(()) }
}

/// Counts a principal's request before the work (`security` §12). A kv that is away limits nobody:
/// it may be lost at any moment, and the work must go on.
async fn pace(shared: &Shared, principal: &str) -> Result<(), Problem> {
    let settings = &shared.settings;
    if settings.requests_per_minute == 0 {
        return Ok(());
    }
    let window = Duration::from_millis(settings.burst_window_ms());
    match shared.kv.count(&format!("rate.api.{principal}"), window).await {
        Ok(count) if count > u64::from(settings.burst) => {
            metrics::counter!("loket_api_limited_total", "limit" => "token").increment(1);
            Err(Problem::of(Code::TooMany).retry_after(window.as_secs().max(1)))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::debug!(%error, "the rate of requests is not counted");
            Ok(())
        }
    }
}

/// Reads a body up to a limit and within its time.
async fn body(headers: &HeaderMap, payload: &mut dev::Payload, most: usize) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Code::BodyTooLarge, format!("The body may have {most} bytes; this one has more."));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > most) {
        return Err(too_large());
    }
    let read = async {
        let mut whole = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Problem::new(Code::BodyMalformed, "The body broke off."))?;
            if whole.len() + chunk.len() > most {
                return Err(too_large());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(BODY_DEADLINE, read).await.map_err(|_| Problem::of(Code::BodyTimeout))?
}

async fn drain(payload: &mut dev::Payload) {
    let read = async {
        let mut read = 0;
        while let Some(Ok(chunk)) = payload.next().await {
            read += chunk.len();
            if read > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    // What is not read within the time stays unread; the connection then ends.
    let _ = tokio::time::timeout(DRAIN_DEADLINE, read).await;
}

/// Refuses a request that found no door.
pub(crate) fn refuse(req: &HttpRequest, route: &'static str, problem: Problem) -> HttpResponse {
    metrics::counter!(
        "loket_api_requests_total",
        "route" => route,
        "method" => "other",
        "status" => problem.code().status().to_string()
    )
    .increment(1);
    let query = Query::parse(req.query_string());
    let token = query.ok().and_then(|query| auth::refuse_token_in_url(query.pairs()).err());
    refuse_as(&token.unwrap_or(problem), &trace_of(req.headers()))
}

fn refuse_as(problem: &Problem, trace: &str) -> HttpResponse {
    let mut response = problem.answer(trace);
    dress(response.headers_mut());
    response
}

/// Headers of every answer (`security` B2, B7). The page of the documentation brings its own policy.
fn dress(headers: &mut HeaderMap) {
    const HEADERS: [(HeaderName, &str); 8] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (header::PERMISSIONS_POLICY, ""),
    ];
    for (name, value) in HEADERS {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// The id that follows a request: of the caller's `traceparent`, when it has one (W3C Trace
/// Context), otherwise a new one.
fn trace_of(headers: &HeaderMap) -> String {
    let given = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let id = given.and_then(|text| text.split('-').nth(1)).filter(|id| {
        let hex = id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        id.len() == 32 && hex && id.bytes().any(|byte| byte != b'0')
    });
    id.map_or_else(random::hex::<16>, str::to_owned)
}

/// Whose request it is, by its address.
pub(crate) fn address(shared: &Shared, req: &HttpRequest) -> IpAddr {
    let peer = req.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let forwarded: Vec<&str> =
        req.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok()).collect();
    shared.proxies.client(peer, &forwarded)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn reads_are_shed_before_writes_and_probes_never() {
        let inside = Inside::default();
        let enter = |class| inside.enter(class, 8, 1);
        let permits: Vec<_> = (0..7).map(|_| enter(Class::Read).unwrap()).collect();
        assert!(enter(Class::Read).is_none());
        let write = enter(Class::Write).unwrap();
        assert!(enter(Class::Write).is_none());
        assert!(enter(Class::Probe).is_some());
        let poll = enter(Class::LongPoll).unwrap();
        assert!(enter(Class::LongPoll).is_none());
        drop((permits, write, poll));
        assert_eq!(inside.ordinary(), 0);
        assert!(enter(Class::Read).is_some());
    }

    #[test]
    fn a_trace_is_taken_over_only_in_its_form() {
        let good = "4bf92f3577b34da6a3ce929d0e0e4736";
        let with = |value: &str| {
            trace_of(TestRequest::get().insert_header(("traceparent", value)).to_http_request().headers())
        };
        assert_eq!(with(&format!("00-{good}-00f067aa0ba902b7-01")), good);
        for bad in ["", "00", "00-xyz-1-01", "00-00000000000000000000000000000000-1-01", "00-<script>-1-01"] {
            let made = with(bad);
            assert_eq!(made.len(), 32, "{bad}");
            assert_ne!(made, "00000000000000000000000000000000");
        }
    }

    #[test]
    fn every_answer_is_dressed_and_an_own_policy_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("own"));
        dress(&mut headers);
        assert_eq!(headers.get("content-security-policy").unwrap(), "own");
        assert_eq!(headers.get("x-content-type-options").unwrap(), "nosniff");
        assert_eq!(headers.get("cache-control").unwrap(), "no-store");
    }
}
