//! The simulator's own API under `/sim/v1`, by which tests, benchmarks and the page use it.
//! Documented in `README.md` beside this folder.

mod oracle;
mod phones;
mod switches;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpResponse, ResponseError, web};
use serde::Serialize;
use serde_json::json;

use super::world::Complaint;
use super::{Shared, callbacks, objects, sample};

/// The longest body of our own API: a picture in base64 fits.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most items that one answer lists.
const ITEMS_MAX: usize = 10_000;

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
            .route("/callbacks", web::get().to(callbacks::standing))
            .route("/callbacks", web::post().to(callbacks::post))
            .route("/handshakes", web::post().to(callbacks::handshake))
            .route("/media/{id}", web::get().to(objects::own_file))
            .route("/portraits/{name}", web::get().to(portrait))
            .configure(phones::routes)
            .configure(oracle::routes)
            .configure(switches::routes)
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

/// A picture for a person without one: always the same for the same name.
async fn portrait(name: web::Path<String>) -> Answer {
    let number = name.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let picture =
        sample::of("image", number).ok_or_else(|| Complaint::new(404, "no_picture", "no picture"))?;
    Ok(HttpResponse::Ok().content_type(picture.mime).body(picture.bytes))
}
