//! The page: customers' phones side by side, and the switchboard. Plain files, nothing from outside.

use actix_web::http::header;
use actix_web::{HttpResponse, web};

const HTML: &str = include_str!("page/index.html");
const CSS: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const WORDS: &str = include_str!("page/words.js");

/// Nothing inline, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes(service: &mut web::ServiceConfig) {
    service
        .route("/", web::get().to(|| async { file("text/html; charset=utf-8", HTML) }))
        .route("/page.css", web::get().to(|| async { file("text/css; charset=utf-8", CSS) }))
        .route("/page.js", web::get().to(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/favicon.ico", web::get().to(|| async { HttpResponse::NoContent().finish() }))
        .route("/words.js", web::get().to(|| async { file("text/javascript; charset=utf-8", WORDS) }));
}

fn file(kind: &'static str, content: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, kind))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(content)
}
