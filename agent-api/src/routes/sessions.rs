//! `/v1/sessions`: log in and out.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};
use loket_protocol::agent::Agent;
use loket_protocol::ids::SessionId;
use loket_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Anyone, Person, scope};
use crate::doors::{Carries, Class, Doc, Doors};
use crate::error::{Code, Problem};
use crate::gate;
use crate::request::Body;
use crate::schema::examples;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    login: String,
    password: String,
}

/// A session that has just begun; the token is shown here and nowhere else.
#[derive(Serialize)]
struct NewSession<'a> {
    id: SessionId,
    token: &'a str,
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
             before the password is looked at.",
        )
        .body("Login", json!({"login": "anna", "password": "correct horse battery"}))
        .answers(201, "A session.", Carries::Json("NewSession", examples::new_session()))
        .codes(&[Code::Credentials, Code::TooMany]),
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
    Body(body): Body<Login>,
) -> Result<HttpResponse, Problem> {
    let address = gate::address(&api, &req);
    let begun = api.hub.log_in(&body.login, &body.password, address).await?;
    let session = NewSession {
        id: begun.session,
        token: begun.token.expose(),
        expires_at: begun.expires_at,
        agent: begun.agent,
    };
    answer::json(201, &session)
}

async fn log_out(person: Person<scope::MeWrite>, api: Api) -> Result<HttpResponse, Problem> {
    api.hub.log_out(&person).await?;
    Ok(answer::nothing())
}
