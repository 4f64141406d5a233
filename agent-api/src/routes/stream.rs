//! `/v1/stream`: the log, pushed, with typing and presence. The work is in [`crate::live`].

use actix_web::http::{Method, header};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use serde_json::json;

use super::Api;
use crate::auth::{Authenticated, Caller, Carried, scope};
use crate::cookie;
use crate::cursor::Cursor;
use crate::doors::{Carries, Class, Doc, Doors};
use crate::error::{Code, Problem};
use crate::gate;
use crate::live::socket::{self, Guest};
use crate::request::Query;

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Events");
    doors.door(
        Method::GET,
        "/v1/stream",
        Class::Socket,
        open,
        Doc::new(
            "openStream",
            "The log, pushed (WebSocket).",
            "First a frame `hello` with the head and epoch of the log, then every event after the given \
             place, each once and in order, and typing and presence as they happen. Frames are JSON; those \
             from the server are `ServerFrame`, those from the client `ClientFrame`. Close codes: 1001 going \
             away, 1008 too many frames, 1009 frame too large, 1013 try again later, 4000 nothing heard for \
             60 s, 4003 too many unknown frames, 4008 too slow (the reason is the cursor to go on from), \
             4401 the session ended.",
        )
        .query(
            "after",
            "The last number seen, or a cursor. Absent: from now on.",
            &json!({"type": "string", "pattern": "^([!-9;-~]{1,64}:)?[0-9]{1,16}$"}),
        )
        .codes(&[Code::OriginNotAllowed, Code::UpgradeRequired])
        .answers(101, "The socket is open.", Carries::Nothing),
    );
}

/// A page's origin must be on the list; a program sends none and has its token. With the cookie, which
/// a browser adds by itself, there must be an origin, our own or one of the list (`security` WS1).
fn check_origin(req: &HttpRequest, allowed: &[String], carried: Carried) -> Result<(), Problem> {
    if carried == Carried::Cookie {
        let own = cookie::has_own_origin(req, allowed);
        return if own { Ok(()) } else { Err(Problem::of(Code::OriginNotAllowed)) };
    }
    let mut origins = req.headers().get_all(header::ORIGIN).peekable();
    if origins.peek().is_none() {
        return Ok(());
    }
    let listed = |origin: &header::HeaderValue| {
        origin.to_str().is_ok_and(|origin| allowed.iter().any(|known| known == origin))
    };
    if origins.all(listed) { Ok(()) } else { Err(Problem::of(Code::OriginNotAllowed)) }
}

async fn open(
    caller: Caller<scope::EventsRead>,
    api: Api,
    req: HttpRequest,
    query: Query,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let found = req.extensions().get::<Authenticated>().cloned();
    let found = found.ok_or_else(|| Problem::of(Code::Unauthenticated))?;
    check_origin(&req, &api.settings.allowed_origins, found.carried)?;
    let after: Option<Cursor> = query.parsed("after", "a log seq or a cursor")?;
    let address = gate::address(&api, &req);
    api.live.count_handshake(&api.kv, &api.settings, address).await?;
    let guest = Guest { principal: caller.clone(), token: found.token, address, after };
    socket::open(&api.into_inner(), &req, payload, guest)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn an_origin_is_on_the_list_exactly_or_absent() {
        let allowed = ["https://inbox.example".to_owned(), "http://127.0.0.1:8080".to_owned()];
        let check_as = |origin: Option<&str>, carried| {
            let request = origin
                .into_iter()
                .fold(TestRequest::get(), |request, origin| request.insert_header(("origin", origin)));
            let request = request.insert_header(("host", "loket.example"));
            check_origin(&request.to_http_request(), &allowed, carried).is_ok()
        };
        let check = |origin| check_as(origin, Carried::Bearer);
        let with_cookie = |origin| check_as(origin, Carried::Cookie);
        assert!(check(None) && check(Some("https://inbox.example")) && check(Some("http://127.0.0.1:8080")));
        assert!(with_cookie(Some("https://inbox.example")) && with_cookie(Some("https://loket.example")));
        assert!(!with_cookie(None), "a browser's page has one");
        assert!(!check(Some("https://loket.example")), "a page does not hold a bearer token");
        for foreign in [
            "http://inbox.example",
            "https://inbox.example:444",
            "https://x.inbox.example",
            "https://inbox.example.evil.test",
            "https://inbox.example/",
            "null",
            "",
        ] {
            assert!(!check(Some(foreign)) && !with_cookie(Some(foreign)), "{foreign}");
        }
    }
}
