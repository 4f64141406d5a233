//! `/v1/parked`: items that were set aside, and their way back. For the operator.

use actix_web::HttpResponse;
use actix_web::http::header;
use loket_protocol::ids::ParkedId;
use serde::Deserialize;
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Caller, scope};
use crate::doors::{Carries, Doc, Doors};
use crate::error::{Code, Problem};
use crate::request::{Body, IdempotencyKey, PathId, Query};
use crate::schema::examples;

/// The states of a parked item.
const STATES: [(&str, &str); 3] = [("parked", "parked"), ("replayed", "replayed"), ("dropped", "dropped")];

/// The longest reason that is looked for.
const REASON_CHARS_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DropItem {
    why: String,
}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Parked items");
    doors.get(
        "/v1/parked",
        list,
        Doc::new("listParked", "What was set aside.", "Newest first.")
            .query(
                "state",
                "Only in this state.",
                &json!({"type": "string", "enum": STATES.map(|(name, _)| name)}),
            )
            .query(
                "reason",
                "Only with this reason.",
                &json!({"type": "string", "minLength": 1, "maxLength": REASON_CHARS_MAX}),
            )
            .paged()
            .answers(
                200,
                "A page of items.",
                Carries::Json("ParkedPage", examples::page(&examples::parked())),
            ),
    );
    doors.get(
        "/v1/parked/{id}/raw",
        raw,
        Doc::new("getParkedRaw", "The bytes as they came.", "Reading them is written down.")
            .codes(&[Code::Conflict])
            .answers(
                200,
                "The bytes.",
                Carries::Other("application/octet-stream", "The bytes as they came."),
            ),
    );
    doors.post(
        "/v1/parked/{id}/replay",
        replay,
        Doc::new(
            "replayParked",
            "Read it once more.",
            "With the code of today. What is now understood is stored; a repeat changes nothing.",
        )
        .optional_body("Empty", json!({}))
        .codes(&[Code::Conflict]),
    );
    doors.post(
        "/v1/parked/{id}/drop",
        drop_item,
        Doc::new("dropParked", "Give it up.", "It stays on the list, as dropped, with the reason.")
            .body("DropParked", json!({"why": "A test of the provider's."}))
            .codes(&[Code::Conflict]),
    );
}

async fn list(_: Caller<scope::ParkedRead>, api: Api, query: Query) -> Result<HttpResponse, Problem> {
    let state = query.one_of("state", &STATES)?;
    let page = api
        .hub
        .parked(state, query.short_text("reason", REASON_CHARS_MAX)?, query.cursor()?, query.limit()?)
        .await?;
    answer::json(200, &page)
}

async fn raw(
    caller: Caller<scope::ParkedRead>,
    api: Api,
    PathId(id): PathId<ParkedId>,
) -> Result<HttpResponse, Problem> {
    let bytes = api.hub.parked_raw(Some(&caller), id).await?;
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.bin\"")))
        .body(bytes))
}

async fn replay(
    caller: Caller<scope::ParkedWrite>,
    api: Api,
    PathId(id): PathId<ParkedId>,
    _: (IdempotencyKey, Body<Empty>),
) -> Result<HttpResponse, Problem> {
    api.hub.replay_parked(Some(&caller), id, api.lent.reread.as_ref()).await?;
    Ok(answer::nothing())
}

async fn drop_item(
    caller: Caller<scope::ParkedWrite>,
    api: Api,
    PathId(id): PathId<ParkedId>,
    _: IdempotencyKey,
    Body(body): Body<DropItem>,
) -> Result<HttpResponse, Problem> {
    api.hub.drop_parked(Some(&caller), id, &body.why).await?;
    Ok(answer::nothing())
}
