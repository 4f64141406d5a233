//! The test page: a plain chat for trying a site out, until the widget is finished.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{HttpResponse, ResponseError as _};

use super::Sites;
use crate::refusal::{Refusal, security_headers};

const HTML: &str = include_str!("page/test.html");
const SCRIPT: &str = include_str!("page/test.js");
const STYLE: &str = include_str!("page/test.css");
/// Nothing but our own files and our own doors (`security` B2).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";

/// Mounts `/webchat/test` and its two files.
pub(super) fn configure(sites: &Arc<Sites>, service: &mut ServiceConfig) {
    service.service(
        web::scope("/webchat/test")
            .app_data(Data::from(Arc::clone(sites)))
            .wrap(security_headers())
            .route("", web::get().to(html))
            .route("/test.js", web::get().to(async || file("text/javascript; charset=utf-8", SCRIPT)))
            .route("/test.css", web::get().to(async || file("text/css; charset=utf-8", STYLE)))
            .default_service(web::to(async || Refusal::UnknownPath.error_response())),
    );
}

async fn html(sites: Data<Sites>, query: Query<HashMap<String, String>>) -> Result<HttpResponse, Refusal> {
    sites.site(query.get("site").map_or("", String::as_str))?;
    Ok(file("text/html; charset=utf-8", HTML))
}

fn file(kind: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, kind))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(text)
}
