//! `/v1/api-keys`: the keys of programs.

use actix_web::HttpResponse;
use loket_hub::NewKey;
use loket_protocol::agent::Role;
use loket_protocol::ids::KeyId;
use loket_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Caller, Fresh, scope};
use crate::doors::{Carries, Doc, Doors};
use crate::error::Problem;
use crate::request::{Body, IdempotencyKey, PathId, Query};
use crate::schema::examples;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateKey {
    name: String,
    role: Role,
    expires_at: Timestamp,
}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("API keys");
    doors.get(
        "/v1/api-keys",
        list,
        Doc::new("listApiKeys", "The API keys.", "Their secrets are never shown again.").paged().answers(
            200,
            "A page of keys.",
            Carries::Json("ApiKeyPage", examples::page(&examples::api_key())),
        ),
    );
    doors.post(
        "/v1/api-keys",
        create,
        Doc::new("createApiKey", "Create an API key.", "The answer carries the secret, shown this once.")
            .replays()
            .body(
                "CreateApiKey",
                json!({"name": "nightly export", "role": "integrator", "expires_at": "2027-06-01T00:00:00.000Z"}),
            )
            .answers(201, "The key and its secret.", Carries::Json("CreatedApiKey", examples::created_key())),
    );
    doors.delete(
        "/v1/api-keys/{id}",
        revoke,
        Doc::new(
            "revokeApiKey",
            "Revoke an API key.",
            "It stops working at once and its sockets are closed.",
        ),
    );
}

async fn list(_: Caller<scope::KeysRead>, api: Api, query: Query) -> Result<HttpResponse, Problem> {
    answer::json(200, &api.hub.keys(query.cursor()?, query.limit()?).await?)
}

async fn create(
    caller: Fresh<scope::KeysWrite>,
    api: Api,
    key: IdempotencyKey,
    Body(body): Body<CreateKey>,
) -> Result<HttpResponse, Problem> {
    let new = NewKey { name: body.name, role: body.role, expires_at: body.expires_at };
    answer::written(201, api.hub.create_key(Some(&caller), new, key.with_status(201)).await?)
}

async fn revoke(
    caller: Fresh<scope::KeysWrite>,
    api: Api,
    PathId(id): PathId<KeyId>,
) -> Result<HttpResponse, Problem> {
    api.hub.revoke_key(&caller, id).await?;
    Ok(answer::nothing())
}
