//! `/openapi.json` and `/docs`: the document, and a page that shows it without the network.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::Api;
use crate::auth::Anyone;
use crate::doors::{Carries, Doc, Doors};
use crate::error::{Code, Problem};

/// The page's own policy: nothing inline, nothing from elsewhere, no markup out of strings.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                           require-trusted-types-for 'script'";

/// Name, media type and text of each file of the page.
const FILES: [(&str, &str, &str); 3] = [
    ("", "text/html; charset=utf-8", include_str!("reference/page.html")),
    ("page.css", "text/css; charset=utf-8", include_str!("reference/page.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("reference/page.js")),
];

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
    let found = FILES.iter().find(|(file, _, _)| *file == name);
    let (_, kind, text) = found.ok_or_else(|| Problem::of(Code::NotFound))?;
    Ok(HttpResponse::Ok()
        .content_type(*kind)
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .body(*text))
}
