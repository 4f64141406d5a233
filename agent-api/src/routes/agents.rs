//! `/v1/agents`: the people who answer.

use actix_web::HttpResponse;
use futures_util::future::join_all;
use loket_hub::{NewAgent, Page};
use loket_protocol::agent::{Agent, PresenceState, Role};
use loket_protocol::ids::AgentId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Caller, Fresh, scope};
use crate::doors::{Carries, Doc, Doors};
use crate::error::{Code, Problem};
use crate::request::{Body, IdempotencyKey, PathId, Query};
use crate::schema::examples;

/// An agent as colleagues see one.
#[derive(Serialize)]
struct Colleague {
    #[serde(flatten)]
    agent: Agent,
    presence: PresenceState,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateAgent {
    login: String,
    name: String,
    role: Role,
}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Agents");
    doors.get(
        "/v1/agents",
        list,
        Doc::new("listAgents", "The agents, with their presence.", "").paged().answers(
            200,
            "A page of agents.",
            Carries::Json("AgentPage", examples::page(&examples::agent())),
        ),
    );
    doors.post(
        "/v1/agents",
        create,
        Doc::new(
            "createAgent",
            "Create an agent.",
            "The answer carries a generated password, shown this once.",
        )
        .replays()
        .body("CreateAgent", json!({"login": "bram", "name": "Bram", "role": "agent"}))
        .answers(201, "The agent and the password.", Carries::Json("CreatedAgent", examples::created_agent()))
        .codes(&[Code::Conflict]),
    );
    doors.get(
        "/v1/agents/{id}",
        show,
        Doc::new("getAgent", "One agent.", "").answers(
            200,
            "The agent.",
            Carries::Json("Colleague", examples::agent()),
        ),
    );
    doors.delete(
        "/v1/agents/{id}",
        disable,
        Doc::new(
            "disableAgent",
            "Disable an agent.",
            "Ends all their sessions and closes their sockets. What they wrote stays. The last admin cannot be \
             disabled.",
        )
        .codes(&[Code::Conflict]),
    );
}

async fn list(_: Caller<scope::AgentsRead>, api: Api, query: Query) -> Result<HttpResponse, Problem> {
    let page = api.hub.agents(query.cursor()?, query.limit()?).await?;
    let items = join_all(page.items.into_iter().map(|agent| {
        let hub = &api.hub;
        async move { Colleague { presence: hub.presence(agent.id).await, agent } }
    }))
    .await;
    answer::json(200, &Page { items, next_cursor: page.next_cursor })
}

async fn create(
    caller: Fresh<scope::AgentsWrite>,
    api: Api,
    key: IdempotencyKey,
    Body(body): Body<CreateAgent>,
) -> Result<HttpResponse, Problem> {
    let new = NewAgent { login: body.login, name: body.name, role: body.role };
    answer::written(201, api.hub.create_agent(Some(&caller), new, key.with_status(201)).await?)
}

async fn show(
    _: Caller<scope::AgentsRead>,
    api: Api,
    PathId(id): PathId<AgentId>,
) -> Result<HttpResponse, Problem> {
    let agent = api.hub.agent(id).await?;
    let presence = api.hub.presence(id).await;
    answer::json(200, &Colleague { agent, presence })
}

async fn disable(
    caller: Fresh<scope::AgentsWrite>,
    api: Api,
    PathId(id): PathId<AgentId>,
) -> Result<HttpResponse, Problem> {
    api.hub.disable_agent(&caller, id).await?;
    Ok(answer::nothing())
}
