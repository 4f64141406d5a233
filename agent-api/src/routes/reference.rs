//! `/openapi.json` and `/docs`: the document, and a page that shows it without the network.

use std::sync::{Arc, LazyLock};

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use utoipa_swagger_ui::Config;

use super::Api;
use crate::auth::Anyone;
use crate::doors::{Carries, Doc, Doors};
use crate::error::{Code, Problem};

/// The page's own policy: its files come from here; its styles are set from script.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";

static PAGE: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    Arc::new(Config::from("../openapi.json").validator_url("none").persist_authorization(false))
});

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Reference");
    doors.get(
        "/openapi.json",
        document,
        Doc::new("openapi", "This document.", "").answers(
            200,
            "OpenAPI 3.1.",
            Carries::Json("OpenApi", json!({"openapi": "3.1.0"})),
        ),
    );
    doors.get(
        "/docs",
        to_page,
        Doc::new("docs", "This document as a page.", "Works without the network.").answers(
            308,
            "The page is at /docs/.",
            Carries::Nothing,
        ),
    );
    doors.get(
        "/docs/{file:.*}",
        page,
        Doc::new("docsFile", "A file of that page.", "").codes(&[Code::NotFound]).answers(
            200,
            "The file.",
            Carries::Other("text/html", "The file."),
        ),
    );
}

async fn document(_: Anyone, api: Api) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().content_type("application/json").body(api.document.clone()))
}

async fn to_page(_: Anyone) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "docs/")).finish())
}

async fn page(_: Anyone, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let name = req.match_info().get("file").unwrap_or("");
    let file = utoipa_swagger_ui::serve(name, Arc::clone(&PAGE))
        .map_err(|error| Problem::internal(error.to_string()))?
        .ok_or_else(|| Problem::of(Code::NotFound))?;
    Ok(HttpResponse::Ok()
        .content_type(file.content_type.as_str())
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .body(file.bytes.into_owned()))
}
