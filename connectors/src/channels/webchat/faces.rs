//! The widget's files: the script that a site's pages load, the panel that it opens in a frame of our
//! own origin, and a page for trying a site out. They are built by `deploy/web` from `widget/`; a build
//! without them says so on the browser's console.

use std::io::Write as _;
use std::sync::Arc;

use actix_web::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, VARY,
};
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::look::Look;
use super::origins::is_own;
use super::{Site, Sites};
use crate::refusal::{Refusal, security_headers};

#[derive(RustEmbed)]
#[folder = "src/channels/webchat/widget/built/app"]
#[allow_missing = true]
struct Built;

/// What stands in the place of a script that was not built.
const NOT_BUILT: &str =
    "console.error(\"Loket was built without its web chat widget: run deploy/web and build it again.\");\n";
/// Where the built script takes its site's look.
const LOOK_PLACE: &str = "\"LOKET_LOOK\"";
/// Pages load the script from everywhere; a change of the settings is seen five minutes later.
const SCRIPT_AGE: &str = "public, max-age=300, stale-while-revalidate=86400";
/// The panel's own files have their hash in their address.
const FILE_AGE: &str = "public, max-age=31536000, immutable";
const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";
const STYLE_TYPE: &str = "text/css; charset=utf-8";
const HTML_TYPE: &str = "text/html; charset=utf-8";
/// Nothing but our own files and our own doors (`security` B2); who may frame it is added.
const PANEL_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                            img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; \
                            require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors ";
const TRIAL_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; frame-src 'self'; \
                            img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                            require-trusted-types-for 'script'; trusted-types 'none'";
/// The address of a page is not longer.
const ORIGIN_BYTES_MAX: usize = 300;

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const EMBEDDER_POLICY: HeaderName = HeaderName::from_static("cross-origin-embedder-policy");

/// A file as it goes out.
struct Packed {
    plain: Bytes,
    gzip: Bytes,
    hash: String,
}

impl Packed {
    fn new(plain: Vec<u8>) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail.
        let _ = encoder.write_all(&plain);
        let gzip = encoder.finish().unwrap_or_default().into();
        let hash = Sha256::digest(&plain)
            .iter()
            .take(8)
            .fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"));
        Self { plain: plain.into(), gzip, hash }
    }

    fn answer(&self, request: &HttpRequest, kind: &'static str, age: &'static str) -> HttpResponse {
        let etag = format!("\"{}\"", self.hash);
        let asked =
            |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut response =
            if asked(IF_NONE_MATCH) == etag { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response
            .insert_header((ETAG, etag.clone()))
            .insert_header((CACHE_CONTROL, age))
            .insert_header((VARY, "Accept-Encoding"))
            .insert_header((RESOURCE_POLICY, "cross-origin"));
        if asked(IF_NONE_MATCH) == etag {
            return response.finish();
        }
        response.insert_header((CONTENT_TYPE, kind));
        if takes_gzip(asked(ACCEPT_ENCODING)) {
            return response.insert_header((CONTENT_ENCODING, "gzip")).body(self.gzip.clone());
        }
        response.body(self.plain.clone())
    }
}

fn takes_gzip(accepts: &str) -> bool {
    accepts.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next() == Some("gzip")
            && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// The files of one site.
pub(super) struct Faces {
    script: Packed,
    look: String,
}

impl Faces {
    /// Puts the site's look into the built script. The error is one sentence.
    pub(super) fn of(look: &Look) -> Result<Self, String> {
        let json = serde_json::to_string(look).map_err(|error| format!("the look of a site: {error}"))?;
        let script = built("widget.js", NOT_BUILT);
        let script = String::from_utf8_lossy(&script).replacen(LOOK_PLACE, &json, 1);
        Ok(Self { script: Packed::new(script.into_bytes()), look: json })
    }
}

fn built(name: &str, otherwise: &str) -> Vec<u8> {
    Built::get(name).map_or_else(|| otherwise.as_bytes().to_vec(), |file| file.data.into_owned())
}

/// The files that all sites share.
struct Shared {
    script: Packed,
    style: Packed,
}

/// Mounts `/widget.js`, `/webchat/panel` with its files, and `/webchat/test`.
pub(super) fn configure(sites: &Arc<Sites>, service: &mut ServiceConfig) {
    let sites = Data::from(Arc::clone(sites));
    let shared = Data::new(Shared {
        script: Packed::new(built("panel.js", NOT_BUILT)),
        style: Packed::new(built("panel.css", "")),
    });
    let door = |path: &str, route: actix_web::Route| {
        web::resource(path)
            .app_data(sites.clone())
            .app_data(shared.clone())
            .wrap(security_headers())
            .route(route)
            .default_service(web::to(async || Refusal::Method("GET").error_response()))
    };
    service
        .service(door("/widget.js", web::get().to(script)))
        .service(door("/webchat/panel", web::get().to(panel)))
        .service(door(
            "/webchat/panel.js",
            web::get().to(async |request: HttpRequest, shared: Data<Shared>| {
                shared.script.answer(&request, SCRIPT_TYPE, FILE_AGE)
            }),
        ))
        .service(door(
            "/webchat/panel.css",
            web::get().to(async |request: HttpRequest, shared: Data<Shared>| {
                shared.style.answer(&request, STYLE_TYPE, FILE_AGE)
            }),
        ))
        .service(door("/webchat/test", web::get().to(trial)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfSite {
    site: String,
}

fn of_site<'a>(sites: &'a Sites, request: &HttpRequest) -> Result<&'a Arc<Site>, Refusal> {
    let query = Query::<OfSite>::from_query(request.query_string())
        .map_err(|_| Refusal::Malformed("the query names a site and nothing else"))?;
    sites.site(&query.site)
}

/// `GET /widget.js?site=`: public, the same for everybody, and taken by pages of any origin; which
/// pages may frame the panel is decided there.
async fn script(sites: Data<Sites>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let mut response = of_site(&sites, &request)?.faces.script.answer(&request, SCRIPT_TYPE, SCRIPT_AGE);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, header("*")?);
    Ok(response)
}

fn header(text: &str) -> Result<actix_web::http::header::HeaderValue, Refusal> {
    text.parse().map_err(|_| Refusal::Malformed("this cannot stand in a header"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PanelQuery {
    site: String,
    /// The origin of the page that frames it.
    origin: String,
}

/// `GET /webchat/panel?site=&origin=`: the conversation, for the frame of exactly that origin
/// (`security` B5), which must be on the site's list. What is in the frame is out of the page's reach
/// (VI2); the two talk by messages whose origin each knows (VI7).
async fn panel(
    sites: Data<Sites>,
    shared: Data<Shared>,
    request: HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let query = Query::<PanelQuery>::from_query(request.query_string())
        .map_err(|_| Refusal::Malformed("the query names site and origin and nothing else"))?;
    let PanelQuery { site, origin } = query.into_inner();
    let site = sites.site(&site)?;
    let fits = origin.len() <= ORIGIN_BYTES_MAX;
    if !fits || !(site.origins.lists(&origin) || is_own(&origin, request.headers())) {
        return Err(Refusal::Origin);
    }
    let html = format!(
        "<!doctype html>\n<html lang=\"en\" data-origin=\"{origin}\" data-look=\"{look}\">\n<head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1, interactive-widget=resizes-content\">\n\
         <title>Chat</title>\n\
         <link rel=\"stylesheet\" href=\"panel.css?v={style}\">\n\
         <script src=\"panel.js?v={script}\" defer></script>\n\
         </head>\n<body></body>\n</html>\n",
        origin = attribute(&origin),
        look = attribute(&site.faces.look),
        style = shared.style.hash,
        script = shared.script.hash,
    );
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, HTML_TYPE))
        .insert_header((CONTENT_SECURITY_POLICY, format!("{PANEL_POLICY}{origin}")))
        // So that pages that are isolated from other origins can frame it.
        .insert_header((RESOURCE_POLICY, "cross-origin"))
        .insert_header((EMBEDDER_POLICY, "require-corp"))
        .body(html))
}

/// `GET /webchat/test?site=`: an empty page with the widget.
async fn trial(sites: Data<Sites>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let site = of_site(&sites, &request)?;
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{site}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <script async src=\"../widget.js?site={site}\"></script>\n</head>\n<body>\n\
         <main><h1>{site}</h1><p>The button of the chat is in the corner below.</p></main>\n\
         </body>\n</html>\n",
        site = attribute(&site.name),
    );
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, HTML_TYPE))
        .insert_header((CONTENT_SECURITY_POLICY, TRIAL_POLICY))
        .body(html))
}

/// Text as the value of an attribute.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_whoever_takes_it() {
        for accepts in ["gzip", "br, gzip", "deflate, gzip;q=0.5", " gzip "] {
            assert!(takes_gzip(accepts), "{accepts}");
        }
        for accepts in ["", "br", "gzip;q=0", "x-gzip", "gzip2", "identity, gzip; q=0.0"] {
            assert!(!takes_gzip(accepts), "{accepts}");
        }
    }

    #[test]
    fn what_is_put_into_the_page_stays_a_value() {
        assert_eq!(attribute("a\"><script>&"), "a&quot;&gt;&lt;script&gt;&amp;");
    }
}
