//! `/v1/me`: who one is, one's presence, one's password.

use actix_web::http::Method;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use loket_hub::PrincipalBy;
use loket_protocol::agent::{Agent, Presence, PresenceState, Role};
use loket_protocol::ids::SessionId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Authenticated, Caller, Carried, Person, Scope, scope};
use crate::cookie;
use crate::doors::{Carries, Class, Doc, Doors};
use crate::error::{Code, Problem};
use crate::request::Body;
use crate::schema::examples;

/// Who the token belongs to.
#[derive(Serialize)]
struct Me {
    id: String,
    name: String,
    role: Role,
    scopes: Vec<&'static str>,
    session_id: Option<SessionId>,
    agent: Option<Agent>,
    presence: Option<PresenceState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPresence {
    presence: Presence,
    accepting: Option<bool>,
    capacity: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    current_password: String,
    new_password: String,
}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Me");
    doors.get(
        "/v1/me",
        show,
        Doc::new(
            "me",
            "Who this token belongs to.",
            "With its role and its scopes; for an agent also the presence, and with the inbox's cookie what a write repeats in X-CSRF-Token.",
        )
        .answers(200, "Who.", Carries::Json("Me", examples::me())),
    );
    doors.put(
        "/v1/me/presence",
        set_presence,
        Doc::new(
            "setPresence",
            "Say whether you are there.",
            "Presence is a lease of 60 seconds, renewed by an open socket. Without `accepting`, somebody \
             who is online takes new threads; without `capacity` it stays as it was.",
        )
        .body("SetPresence", json!({"presence": "online", "accepting": true, "capacity": 4}))
        .answers(
            200,
            "The presence as it is now.",
            Carries::Json("PresenceState", examples::presence()),
        ),
    );
    // It hashes twice, as dear as a login, so it is counted as one.
    doors.door(
        Method::POST,
        "/v1/me/password",
        Class::Login,
        change_password,
        Doc::new(
            "changePassword",
            "Change your password.",
            "Ends all your other sessions and their sockets.",
        )
        .body(
            "ChangePassword",
            json!({"current_password": "correct horse battery", "new_password": "another long sentence"}),
        )
        .codes(&[Code::Credentials, Code::Stale]),
    );
}

async fn show(caller: Caller<scope::MeRead>, api: Api, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let by_cookie = |found: &&Authenticated| found.carried == Carried::Cookie;
    let csrf_token = req
        .extensions()
        .get::<Authenticated>()
        .filter(by_cookie)
        .map(|found| cookie::csrf_token(&found.token));
    let (session_id, agent, presence) = match caller.by {
        PrincipalBy::Session(session, id) => {
            (Some(session), Some(api.hub.agent(id).await?), Some(api.hub.presence(id).await))
        }
        PrincipalBy::Key(_) => (None, None, None),
    };
    let me = Me {
        id: caller.id(),
        name: caller.name.clone(),
        role: caller.role,
        scopes: Scope::of(caller.role).into_iter().map(Scope::as_str).collect(),
        session_id,
        agent,
        presence,
        csrf_token,
    };
    answer::json(200, &me)
}

async fn set_presence(
    person: Person<scope::MeWrite>,
    api: Api,
    Body(body): Body<SetPresence>,
) -> Result<HttpResponse, Problem> {
    let before = api.hub.presence(person.agent).await;
    let state = PresenceState {
        presence: body.presence,
        accepting: body.accepting.unwrap_or(body.presence == Presence::Online),
        capacity: body.capacity.unwrap_or(before.capacity),
    };
    api.hub.set_presence(person.agent, state).await?;
    answer::json(200, &state)
}

async fn change_password(
    person: Person<scope::MeWrite>,
    api: Api,
    Body(body): Body<ChangePassword>,
) -> Result<HttpResponse, Problem> {
    api.hub.change_password(&person, &body.current_password, &body.new_password).await?;
    Ok(answer::nothing())
}
