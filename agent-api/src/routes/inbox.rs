//! `/inbox/`: the agents' web app, carried by the binary. `deploy/web` builds it; where that was not
//! done, a page says so.

use std::future::ready;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::auth::Anyone;
use crate::doors::{Carries, Doc, Doors};
use crate::error::{Code, Problem};

/// The page's own policy (`security` B2): nothing inline, nothing from elsewhere, no markup out of
/// strings.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
                           media-src 'self' blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; \
                           form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What `npm run build` wrote; nothing where it did not run.
#[derive(RustEmbed)]
#[folder = "inbox/built/app"]
#[allow_missing = true]
struct Built;

const PAGE: &str = "index.html";
/// The page of a build without the web parts.
const MISSING: &str = include_str!("inbox/missing.html");

/// Media types by the ends of the names that the build writes. What is in none of them, such as the
/// compressed twin of a file, is not served by its own name.
const TYPES: [(&str, &str); 4] = [
    (".html", "text/html; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".svg", "image/svg+xml"),
];

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Inbox");
    for (path, id) in [("/", "root"), ("/inbox", "inbox")] {
        doors.get(
            path,
            |_: Anyone| {
                ready(Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, "/inbox/")).finish()))
            },
            Doc::new(id, "The agents' inbox.", "").answers(303, "It is at /inbox/.", Carries::Nothing),
        );
    }
    doors.get(
        "/inbox/{file:.*}",
        file,
        Doc::new("inboxFile", "A file of the agents' inbox; without a name its page.", "")
            .codes(&[Code::NotFound])
            .answers(200, "The file.", Carries::Other("text/html", "The file.")),
    );
}

async fn file(_: Anyone, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let name = match req.match_info().get("file") {
        None | Some("") => PAGE,
        Some(name) => name,
    };
    let not_found = || Problem::of(Code::NotFound);
    let (_, kind) = TYPES.iter().find(|(end, _)| name.ends_with(end)).ok_or_else(not_found)?;
    let Some(file) = Built::get(name) else {
        if name != PAGE {
            return Err(not_found());
        }
        let mut page = HttpResponse::Ok();
        page.insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY));
        return Ok(page.content_type(*kind).body(MISSING));
    };
    Ok(respond(name, kind, file, req.headers()))
}

fn respond(name: &str, kind: &str, file: EmbeddedFile, asked: &HeaderMap) -> HttpResponse {
    let etag = etag(&file);
    let keep = if has_hash(name) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, etag))
        .insert_header((header::CACHE_CONTROL, keep))
        .insert_header((header::VARY, "Accept-Encoding"))
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY));
    if known {
        return response.finish();
    }
    response.content_type(kind);
    let takes_gzip = asked
        .get_all(header::ACCEPT_ENCODING)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            coding.trim() == "gzip" || coding.trim().starts_with("gzip;") && !coding.contains("q=0")
        });
    match Built::get(&format!("{name}.gz")).filter(|_| takes_gzip) {
        Some(packed) => {
            response.insert_header((header::CONTENT_ENCODING, "gzip"));
            response.body(packed.data.into_owned())
        }
        None => response.body(file.data.into_owned()),
    }
}

/// By what the file says, so that a build with the same words has the same. Weak, because packed and
/// plain bytes share it.
fn etag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let half = hash.first_chunk::<16>().copied().unwrap_or_default();
    format!("W/\"{:032x}\"", u128::from_be_bytes(half))
}

/// Whether the name has the hash of what is in it, as the build writes it: `name-XXXXXXXX.js`. Such a
/// file never changes.
fn has_hash(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let Some(hash) = stem.len().checked_sub(8).and_then(|at| stem.get(at..)) else { return false };
    let before = stem.len().checked_sub(9).and_then(|at| stem.get(at..=at));
    before == Some("-") && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_hash_are_kept_for_ever() {
        for hashed in ["index-h_C47y1y.js", "settings-Ab12-d_4.css"] {
            assert!(has_hash(hashed), "{hashed}");
        }
        for plain in ["index.html", "icon.svg", "a.js", "", "index-short.js", "-.js", "abcdefghi.js"] {
            assert!(!has_hash(plain), "{plain}");
        }
    }
}
