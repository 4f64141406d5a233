//! The visitor's doors over HTTP: `/webchat/v1` and the widget's files.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, VARY};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, Payload, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use loket_protocol::ids::VisitorId;
use qrcode::QrCode;
use qrcode::render::svg;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::origins::is_own;
use super::socket::{self, FRAME_BYTES_MAX, Opening};
use super::sockets::NoPlace;
use super::visitors::{self, History, TICKET_TIME, Token};
use super::words::{self, Page, Speaker};
use super::{Site, Sites, faces, rates};
use crate::channels::Wires;
use crate::ingress::read_body;
use crate::refusal::{Refusal, security_headers};

/// The largest body of a visitor: a text of the longest sort fits.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a browser may remember what a preflight said, in seconds.
const PREFLIGHT_AGE_S: &str = "600";
/// When to come back when all sockets are taken, in seconds.
const SOCKET_RETRY_S: u32 = 10;
/// How long somebody with too many sockets waits, in seconds.
const TOO_MANY_RETRY_S: u32 = 60;

/// How often a visitor may say in a minute who they are.
const CLAIMS_PER_VISITOR: u64 = 10;
/// Links that one visitor may ask for in a minute.
const LINKS_PER_VISITOR: u64 = 10;
/// How large a link's picture is at least, each way.
const PICTURE_PIXELS: u32 = 200;

const ALLOW_ORIGIN: HeaderName = header::ACCESS_CONTROL_ALLOW_ORIGIN;

/// Mounts everything of web chat.
pub(super) fn configure(sites: &Arc<Sites>, service: &mut ServiceConfig) {
    let shared = Arc::clone(sites);
    let only =
        |methods: &'static str| web::to(move || async move { Refusal::Method(methods).error_response() });
    service.service(
        web::scope("/webchat/v1")
            .app_data(Data::from(Arc::clone(sites)))
            .wrap(from_fn(move |request, next| cors(Arc::clone(&shared), request, next)))
            .wrap(security_headers())
            .service(web::resource("/visits").route(web::post().to(visit)).default_service(only("POST")))
            .service(
                web::resource("/messages")
                    .route(web::post().to(say))
                    .route(web::get().to(read))
                    .default_service(only("GET, POST")),
            )
            .service(web::resource("/tickets").route(web::post().to(ticket)).default_service(only("POST")))
            .service(web::resource("/claims").route(web::post().to(claim)).default_service(only("POST")))
            .service(web::resource("/links").route(web::post().to(link)).default_service(only("POST")))
            .service(web::resource("/socket").route(web::get().to(open_socket)).default_service(only("GET")))
            .default_service(web::to(async || Refusal::UnknownPath.error_response())),
    );
    faces::configure(sites, service);
}

/// Lets pages of listed origins read the answers, without credentials (`security` B4). Which site a
/// page may talk to is checked by each handler.
async fn cors(
    sites: Arc<Sites>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let origin = request.headers().get(ORIGIN).cloned();
    let listed = origin.filter(|origin| origin.to_str().is_ok_and(|origin| sites.lists(origin)));
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if request.method() == Method::OPTIONS && asks {
        let answer = if listed.is_some() {
            HttpResponse::NoContent()
                .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"))
                .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"))
                .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE_S))
                .finish()
        } else {
            Refusal::Origin.error_response()
        };
        request.into_response(answer)
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = listed {
        response.headers_mut().insert(ALLOW_ORIGIN, origin);
    }
    Ok(response)
}

/// The site of that name, if the page that asks may talk to it: one of the site's own, or the widget's
/// panel, which comes from here and which only the site's pages can frame. Programs send no `Origin`; a
/// list of origins stops pages, not programs (`security` VI1).
fn admit<'a>(sites: &'a Sites, name: &str, request: &HttpRequest) -> Result<&'a Arc<Site>, Refusal> {
    let site = sites.site(name)?;
    let mut origins = request.headers().get_all(ORIGIN);
    match (origins.next(), origins.next()) {
        (None, _) => Ok(site),
        (Some(origin), None)
            if origin
                .to_str()
                .is_ok_and(|origin| site.origins.lists(origin) || is_own(origin, request.headers())) =>
        {
            Ok(site)
        }
        _ => Err(Refusal::Origin),
    }
}

async fn body<T: DeserializeOwned>(
    wires: &Wires,
    request: &HttpRequest,
    payload: Payload,
) -> Result<T, Refusal> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::Malformed("the content type is not application/json"));
    }
    let busy = Refusal::Busy(SOCKET_RETRY_S);
    let reading = read_body(request.headers(), payload, BODY_BYTES_MAX, &wires.bodies, busy);
    let (body, _permit) = tokio::time::timeout(BODY_TIME, reading).await.map_err(|_| Refusal::Slow)??;
    serde_json::from_slice(&body)
        .map_err(|_| Refusal::Malformed("the body is not the JSON object that this path takes"))
}

/// Who asks: the visitor of the token in the header, at the site that the token was made for.
async fn visitor(
    wires: &Wires,
    sites: &Sites,
    request: &HttpRequest,
) -> Result<(Arc<Site>, VisitorId), Refusal> {
    let token = Token::of(request)?.ok_or(Refusal::VisitorToken)?;
    let site = admit(sites, token.site(), request).map_err(|refusal| match refusal {
        // A token of a site that is no longer configured opens nothing.
        Refusal::UnknownSite => Refusal::VisitorToken,
        other => other,
    })?;
    let visitor = visitors::resolve(&wires.wire, &token).await?.ok_or(Refusal::VisitorToken)?;
    Ok((Arc::clone(site), visitor))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VisitBody {
    site: String,
}

/// `POST /visits`: resumes the visitor of the token, or makes a new one.
async fn visit(
    wires: Data<Wires>,
    sites: Data<Sites>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    let VisitBody { site } = body(&wires, &request, payload).await?;
    let site = admit(&sites, &site, &request)?;
    let mut known = Token::of(&request)?.filter(|token| token.site() == &*site.name);
    if let Some(token) = &known
        && visitors::resolve(&wires.wire, token).await?.is_none()
    {
        known = None;
    }
    if known.is_none() {
        wires.has_room()?;
        count_newcomer(&wires, &sites, site, &request).await?;
    }
    let fresh = Token::mint(&site.name);
    let (visitor, is_new) = visitors::arrive(&wires.wire, known.as_ref(), &fresh).await?;
    if is_new {
        metrics::counter!("loket_webchat_visitors_total", "site" => site.name.to_string()).increment(1);
    }
    let History { messages, more, answering, .. } =
        visitors::history(&wires.wire, &site.name, visitor, 0, None).await?;
    // Without kv there are no tickets; writing and reading over REST goes on.
    let ticket = visitors::issue_ticket(&wires.kv, &site.name, visitor).await.ok();
    Ok(HttpResponse::Ok().json(json!({
        "visitor_id": visitor,
        "visitor_token": is_new.then(|| fresh.expose()),
        "messages": messages,
        "more": more,
        "answering": answering,
        "socket": format!("/webchat/v1/socket?site={}", site.name),
        "ticket": ticket,
    })))
}

/// New visitors are counted before they are made.
async fn count_newcomer(
    wires: &Wires,
    sites: &Sites,
    site: &Site,
    request: &HttpRequest,
) -> Result<(), Refusal> {
    let address = rates::address(request, &wires.trusted_proxies).to_string();
    rates::count(&wires.kv, "visitors_per_address", &address, sites.rates.visitors_per_address).await?;
    rates::count(&wires.kv, "visitors_per_site", &site.name, sites.rates.visitors_per_site).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidBody {
    client_message_id: String,
    text: String,
    page: Option<Page>,
}

/// `POST /messages`: 202 once the message is safe on the bus.
async fn say(
    wires: Data<Wires>,
    sites: Data<Sites>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    let said: SaidBody = body(&wires, &request, payload).await?;
    let (site, visitor) = visitor(&wires, &sites, &request).await?;
    let speaker = Speaker { account: site.account.clone(), visitor };
    wires.has_room()?;
    let event =
        speaker.message(&said.client_message_id, &said.text, said.page.as_ref(), wires.clock.now())?;
    let address = rates::address(&request, &wires.trusted_proxies);
    rates::count_message(&wires.kv, &sites.rates, visitor, address).await?;
    words::publish(&wires.wire, &wires.clock, &event).await?;
    Ok(HttpResponse::Accepted().json(json!({ "client_message_id": said.client_message_id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after_seq: i64,
}

/// `GET /messages?after_seq=`: what stands in the thread after a number.
async fn read(wires: Data<Wires>, sites: Data<Sites>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let after = Query::<After>::from_query(request.query_string())
        .map_err(|_| Refusal::Malformed("after_seq is not a whole number, or there is another parameter"))?;
    let (site, visitor) = visitor(&wires, &sites, &request).await?;
    let page = visitors::history(&wires.wire, &site.name, visitor, after.after_seq.max(0), None).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// `POST /tickets`: a ticket for another socket.
async fn ticket(
    wires: Data<Wires>,
    sites: Data<Sites>,
    request: HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let (site, visitor) = visitor(&wires, &sites, &request).await?;
    let ticket = visitors::issue_ticket(&wires.kv, &site.name, visitor).await?;
    Ok(HttpResponse::Created().json(json!({ "ticket": ticket, "expires_in_s": TICKET_TIME.as_secs() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimBody {
    name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
}

/// `POST /claims`: what the visitor says of themselves, which proves nothing (`security` VI4).
async fn claim(
    wires: Data<Wires>,
    sites: Data<Sites>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    let ClaimBody { name, email, phone } = body(&wires, &request, payload).await?;
    let (site, visitor) = visitor(&wires, &sites, &request).await?;
    rates::count(&wires.kv, "claims_per_visitor", &visitor.to_string(), CLAIMS_PER_VISITOR).await?;
    match visitors::claim(&wires.wire, &site.name, visitor, [name, email, phone]).await?.as_deref() {
        None => Ok(HttpResponse::NoContent().finish()),
        Some("email") => Err(Refusal::Invalid("claim.email", "this is no mail address")),
        Some("phone") => Err(Refusal::Invalid("claim.phone", "this is no telephone number with its country")),
        Some(_) => Err(Refusal::Invalid("claim.name", "a name has 1 to 80 characters")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkBody {
    channel: String,
    language: Option<String>,
}

/// `POST /links`: an address, and its picture, by which the visitor goes on elsewhere as the same person.
async fn link(
    wires: Data<Wires>,
    sites: Data<Sites>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    let LinkBody { channel, language } = body(&wires, &request, payload).await?;
    let (site, visitor) = visitor(&wires, &sites, &request).await?;
    rates::count(&wires.kv, "links_per_visitor", &visitor.to_string(), LINKS_PER_VISITOR).await?;
    let link = visitors::link(&wires.wire, &site.name, visitor, channel, language).await?;
    let (address, expires_at) = link.ok_or(Refusal::Invalid(
        "link.none",
        "nothing leads to this channel, or nothing was said here yet that could be continued there",
    ))?;
    let picture = QrCode::new(&address)
        .map_err(|_| Refusal::Invalid("link.none", "the address is too long for a picture"))?
        .render::<svg::Color<'_>>()
        .min_dimensions(PICTURE_PIXELS, PICTURE_PIXELS)
        .build();
    Ok(HttpResponse::Created()
        .json(json!({ "address": address, "qr_svg": picture, "expires_at": expires_at })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SocketQuery {
    site: String,
}

/// `GET /socket?site=`: the origin is checked before the upgrade (`security` WS1). Without an
/// `Origin`, which no browser leaves out, a visitor token must come with the upgrade.
async fn open_socket(
    wires: Data<Wires>,
    sites: Data<Sites>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    let query = Query::<SocketQuery>::from_query(request.query_string())
        .map_err(|_| Refusal::Malformed("the query names a site and nothing else"))?;
    let site = Arc::clone(admit(&sites, &query.site, &request)?);
    let address = rates::address(&request, &wires.trusted_proxies);
    rates::count(&wires.kv, "sockets_per_address", &address.to_string(), sites.rates.sockets_per_address)
        .await?;
    let visitor = match Token::of(&request)? {
        Some(token) if token.site() == &*site.name => {
            Some(visitors::resolve(&wires.wire, &token).await?.ok_or(Refusal::VisitorToken)?)
        }
        Some(_) => return Err(Refusal::VisitorToken),
        None if request.headers().contains_key(ORIGIN) => None,
        None => return Err(Refusal::Origin),
    };
    let place = wires.sockets.enter(address).map_err(|no_place| match no_place {
        NoPlace::Full => Refusal::Busy(SOCKET_RETRY_S),
        NoPlace::TooMany => Refusal::TooMany(TOO_MANY_RETRY_S),
    })?;
    let (response, session, stream) = actix_ws::handle(&request, payload)
        .map_err(|_| Refusal::Malformed("this is no WebSocket handshake"))?;
    let opening = Opening { wires: wires.clone(), sites: sites.into_inner(), site, place, address, visitor };
    wires.sockets.run(socket::run(opening, session, stream.max_frame_size(FRAME_BYTES_MAX)));
    Ok(response)
}
