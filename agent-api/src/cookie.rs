//! The inbox's session, carried by a cookie that no script can read (`security` P7), and what must be
//! true of a request that has one, because a browser adds it also to requests that a foreign page
//! makes (B3, WS1).
//!
//! The cookie is always `Secure`, and `__Host-` binds it to the one host. Browsers keep such a cookie
//! over https, and over plain http on the machine's own loopback addresses; anywhere else they drop
//! it, and the inbox then says that it needs https. There is no weaker cookie for that case.

use std::fmt::Write as _;
use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use loket_backbone::secret::{self, Secret};
use sha2::{Digest as _, Sha256};

use crate::error::{Code, Problem};

/// The cookie's name.
pub(crate) const NAME: &str = "__Host-loket";
/// The header that repeats what only our own page can have read.
pub(crate) const CSRF_HEADER: &str = "X-CSRF-Token";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The session's token out of the cookie, when there is one.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<Secret>, Problem> {
    let lines = headers.get_all(header::COOKIE).filter_map(|line| line.to_str().ok());
    let mut found = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == NAME).then_some(value)
    });
    let first = found.next();
    if found.next().is_some() {
        return Err(Problem::new(Code::Unauthenticated, format!("There is more than one cookie {NAME}.")));
    }
    Ok(first.map(Secret::new))
}

fn cookie(value: &str, seconds: i64) -> Cookie<'_> {
    Cookie::build(NAME, value)
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(Duration::seconds(seconds))
        .finish()
}

/// The cookie of a session that has just begun and ends at the latest after so many seconds.
pub(crate) fn of_session(token: &Secret, seconds: i64) -> Cookie<'_> {
    cookie(token.expose(), seconds)
}

/// The cookie that takes a session's away.
pub(crate) fn gone() -> Cookie<'static> {
    cookie("", 0)
}

/// What a page must repeat in [`CSRF_HEADER`]: made from the session's token, so that nothing is
/// stored, and of no use without it.
pub(crate) fn csrf_token(token: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update(b"loket csrf\0");
    hash.update(token.expose().as_bytes());
    hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The one value of a header; a second one makes it none.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether a host, with or without a port, is this machine's own loopback.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a request names exactly one origin and it is this installation's: https at the host that
/// was asked (plain http on loopback only), or on the list of the settings.
pub(crate) fn has_own_origin(req: &HttpRequest, listed: &[String]) -> bool {
    let Some(origin) = only(req.headers(), &header::ORIGIN) else { return false };
    if listed.iter().any(|known| known == origin) {
        return true;
    }
    let authority = req.uri().authority().map(actix_web::http::uri::Authority::as_str);
    let Some(host) = only(req.headers(), &header::HOST).or(authority).filter(|host| !host.is_empty()) else {
        return false;
    };
    match origin.split_once("://") {
        Some(("https", named)) => named == host,
        Some(("http", named)) => named == host && is_loopback(host),
        _ => false,
    }
}

/// Whether our own page asks: the browser says so itself, or, where it does not, by its origin.
pub(crate) fn is_own_page(req: &HttpRequest, listed: &[String]) -> bool {
    if req.headers().contains_key(SEC_FETCH_SITE) {
        return only(req.headers(), &SEC_FETCH_SITE) == Some("same-origin");
    }
    has_own_origin(req, listed)
}

/// Refuses a write that a foreign page may have made in somebody's name.
pub(crate) fn refuse_forgery(req: &HttpRequest, token: &Secret, listed: &[String]) -> Result<(), Problem> {
    let repeated = only(req.headers(), &HeaderName::from_static("x-csrf-token"));
    let is_repeated =
        repeated.is_some_and(|given| secret::same(given.as_bytes(), csrf_token(token).as_bytes()));
    if is_repeated && is_own_page(req, listed) { Ok(()) } else { Err(Problem::of(Code::Forged)) }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn with(headers: &[(&'static str, &'static str)]) -> HttpRequest {
        let request = TestRequest::post().uri("/v1/me");
        headers.iter().fold(request, |request, pair| request.append_header(*pair)).to_http_request()
    }

    #[test]
    fn one_cookie_of_ours_is_read_among_others() {
        let read = |lines: &[(&'static str, &'static str)]| token(with(lines).headers());
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("cookie", "loket=los_a; x__Host-loket=los_b")]).unwrap().is_none());
        assert!(read(&[("cookie", "theme=dark; __Host-loket=los_a")]).unwrap().unwrap().is("los_a"));
        assert!(read(&[("cookie", "__Host-loket=los_a; __Host-loket=los_b")]).is_err());
        assert!(read(&[("cookie", "__Host-loket=los_a"), ("cookie", "__Host-loket=los_a")]).is_err());
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_of_other_hosts() {
        let secret = Secret::new("los_a");
        let text = of_session(&secret, 60).to_string();
        assert_eq!(text, "__Host-loket=los_a; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        assert!(gone().to_string().ends_with("Max-Age=0"));
    }

    #[test]
    fn an_own_origin_is_the_host_that_was_asked_over_https_or_on_loopback() {
        let listed = ["https://team.example".to_owned()];
        let own = |host: &'static str, origin: &'static str| {
            has_own_origin(&with(&[("host", host), ("origin", origin)]), &listed)
        };
        for (host, origin) in [
            ("inbox.example", "https://inbox.example"),
            ("inbox.example:8443", "https://inbox.example:8443"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("localhost:8080", "http://localhost:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("inbox.example", "https://team.example"),
        ] {
            assert!(own(host, origin), "{host} {origin}");
        }
        for (host, origin) in [
            ("inbox.example", "http://inbox.example"),
            ("inbox.example", "https://inbox.example:8443"),
            ("inbox.example", "https://inbox.example.evil.test"),
            ("inbox.example", "https://x.inbox.example"),
            ("127.0.0.1:8080", "http://localhost:8080"),
            ("127.0.0.1:8080", "http://127.0.0.1:9090"),
            ("127.0.0.1.evil.test", "http://127.0.0.1.evil.test"),
            ("inbox.example", "null"),
            ("inbox.example", ""),
            ("", "https://"),
        ] {
            assert!(!own(host, origin), "{host} {origin}");
        }
        let host = ("host", "inbox.example");
        assert!(!has_own_origin(&with(&[host]), &listed));
        let twice = [host, ("origin", "https://inbox.example"), ("origin", "https://inbox.example")];
        assert!(!has_own_origin(&with(&twice), &listed));
    }

    #[test]
    fn a_write_needs_our_own_page_and_what_only_it_can_have_read() {
        let secret = Secret::new("los_a");
        let told: &'static str = csrf_token(&secret).leak();
        let other: &'static str = csrf_token(&Secret::new("los_b")).leak();
        let (host, own) = (("host", "inbox.example"), ("origin", "https://inbox.example"));
        let check = |headers: &[(&'static str, &'static str)]| {
            refuse_forgery(&with(headers), &secret, &[]).map_err(|problem| problem.code())
        };
        assert_eq!(check(&[host, own, ("x-csrf-token", told)]), Ok(()));
        assert_eq!(check(&[host, ("sec-fetch-site", "same-origin"), ("x-csrf-token", told)]), Ok(()));
        for refused in [
            &[host, own][..],
            &[host, own, ("x-csrf-token", other)],
            &[host, own, ("x-csrf-token", "")],
            &[host, own, ("x-csrf-token", told), ("x-csrf-token", told)],
            &[host, ("x-csrf-token", told)],
            &[host, ("origin", "null"), ("x-csrf-token", told)],
            &[host, ("origin", "https://evil.test"), ("x-csrf-token", told)],
            &[host, own, ("sec-fetch-site", "cross-site"), ("x-csrf-token", told)],
            &[host, own, ("sec-fetch-site", "same-site"), ("x-csrf-token", told)],
            &[host, own, ("sec-fetch-site", "none"), ("x-csrf-token", told)],
        ] {
            assert_eq!(check(refused), Err(Code::Forged), "{refused:?}");
        }
    }
}
