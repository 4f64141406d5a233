//! `/v1/sessions`: log in and out.

use actix_web::cookie::Cookie;
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use loket_protocol::agent::Agent;
use loket_protocol::ids::SessionId;
use loket_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Anyone, Authenticated, Carried, Person, scope};
use crate::cookie;
use crate::doors::{Carries, Class, Doc, Doors};
use crate::error::{Code, Problem};
use crate::gate;
use crate::request::Body;
use crate::schema::examples;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    login: String,
    password: String,
    #[serde(default)]
    cookie: bool,
}

/// What the browser forgets when somebody logs out of the inbox (`security` B7).
const CLEAR_SITE_DATA: (HeaderName, HeaderValue) =
    (HeaderName::from_static("clear-site-data"), HeaderValue::from_static("\"cache\", \"storage\""));

/// A session that has just begun; the token is shown here and nowhere else, and not even here when it
/// is in the cookie.
#[derive(Serialize)]
struct NewSession<'a> {
    id: SessionId,
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
    expires_at: Timestamp,
    agent: Agent,
}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Sessions");
    doors.door(
        Method::POST,
        "/v1/sessions",
        Class::Login,
        log_in,
        Doc::new(
            "logIn",
            "Log in.",
            "Gives the bearer token of a new session. Tries are counted per login name and per address \
             before the password is looked at. With `cookie` the session is in a cookie that no script can \
             read, the token is null, and every write repeats `csrf_token` in X-CSRF-Token; the session \
             that the cookie held before ends.",
        )
        .body("Login", json!({"login": "anna", "password": "correct horse battery"}))
        .answers(201, "A session.", Carries::Json("NewSession", examples::new_session()))
        .codes(&[Code::Credentials, Code::TooMany, Code::Forged]),
    );
    doors.delete(
        "/v1/sessions",
        log_out,
        Doc::new("logOut", "Log out.", "Ends the session of this token and closes its sockets."),
    );
}

async fn log_in(
    _: Anyone,
    api: Api,
    req: HttpRequest,
    Body(body): Body<Credentials>,
) -> Result<HttpResponse, Problem> {
    if body.cookie && !cookie::is_own_page(&req, &api.settings.allowed_origins) {
        return Err(Problem::of(Code::Forged));
    }
    let address = gate::address(&api, &req);
    let begun = api.hub.log_in(&body.login, &body.password, address).await?;
    let session = NewSession {
        id: begun.session,
        token: (!body.cookie).then(|| begun.token.expose()),
        csrf_token: body.cookie.then(|| cookie::csrf_token(&begun.token)),
        expires_at: begun.expires_at,
        agent: begun.agent,
    };
    let mut response = answer::json(201, &session)?;
    if body.cookie {
        end_the_one_before(&api, &req).await?;
        let seconds = begun.expires_at.millis_since(api.clock.now()) / 1_000;
        put(&mut response, &cookie::of_session(&begun.token, seconds))?;
    }
    Ok(response)
}

/// Who logs in again in the same browser has one session afterwards.
async fn end_the_one_before(api: &Api, req: &HttpRequest) -> Result<(), Problem> {
    let Some(token) = cookie::token(req.headers())? else { return Ok(()) };
    if let Some(principal) = api.hub.principal(token.expose()).await? {
        api.hub.log_out(&principal).await?;
    }
    Ok(())
}

fn put(response: &mut HttpResponse, cookie: &Cookie<'_>) -> Result<(), Problem> {
    response.add_cookie(cookie).map_err(|error| Problem::internal(error.to_string()))
}

async fn log_out(
    person: Person<scope::MeWrite>,
    api: Api,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    api.hub.log_out(&person).await?;
    let mut response = answer::nothing();
    let carried = req.extensions().get::<Authenticated>().map(|found| found.carried);
    if carried == Some(Carried::Cookie) {
        put(&mut response, &cookie::gone())?;
        let (name, value) = CLEAR_SITE_DATA;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}
