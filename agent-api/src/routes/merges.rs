//! `/v1/contacts/{id}/merge`, `/merges` and `/v1/merges/{id}/undo`: two contacts that are one person.

use actix_web::HttpResponse;
use loket_hub::NewMerge;
use loket_protocol::ids::{ContactId, MergeId};
use serde::Deserialize;
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Caller, scope};
use crate::doors::{Carries, Doc, Doors};
use crate::error::{Code, Problem};
use crate::request::{Body, IdempotencyKey, PathId};
use crate::schema::examples;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MergeContacts {
    contact: ContactId,
    survivor: Option<ContactId>,
    why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UndoMerge {
    why: Option<String>,
}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Contacts");
    doors.post(
        "/v1/contacts/{id}/merge",
        merge,
        Doc::new(
            "mergeContacts",
            "Join two contacts.",
            "One thread stands for both from now on, and shows what each had in order of time; both old ids of \
             contact and thread lead to it. Nothing is renumbered, and nothing is sent.",
        )
        .replays()
        .body("MergeContacts", json!({"contact": examples::OTHER_CONTACT, "why": "Same order number on the telephone."}))
        .answers(200, "The merge.", Carries::Json("Merge", examples::merge()))
        .codes(&[Code::Conflict]),
    );
    doors.get(
        "/v1/contacts/{id}/merges",
        list,
        Doc::new(
            "listMerges",
            "What a contact was joined from.",
            "Newest first, the last 200; also merges that were taken back.",
        )
        .answers(200, "All of them.", Carries::Json("MergePage", examples::page(&examples::merge()))),
    );
    doors.post(
        "/v1/merges/{id}/undo",
        undo,
        Doc::new(
            "undoMerge",
            "Take a merge back.",
            "Each side has again what was its own, with the numbers that it had, and what came through its \
             identities since.",
        )
        .replays()
        .optional_body("UndoMerge", json!({"why": "Two people with one telephone."}))
        .answers(200, "The merge, undone.", Carries::Json("Merge", examples::merge()))
        .codes(&[Code::Conflict]),
    );
}

async fn merge(
    caller: Caller<scope::ContactsMerge>,
    api: Api,
    PathId(id): PathId<ContactId>,
    key: IdempotencyKey,
    Body(body): Body<MergeContacts>,
) -> Result<HttpResponse, Problem> {
    let new = NewMerge { contact: body.contact, survivor: body.survivor, why: body.why };
    answer::written(200, api.hub.merge(&caller, id, new, key.with_status(200)).await?)
}

async fn list(
    _: Caller<scope::ContactsRead>,
    api: Api,
    PathId(id): PathId<ContactId>,
) -> Result<HttpResponse, Problem> {
    answer::json(200, &api.hub.merges(id).await?)
}

async fn undo(
    caller: Caller<scope::ContactsMerge>,
    api: Api,
    PathId(id): PathId<MergeId>,
    key: IdempotencyKey,
    Body(body): Body<UndoMerge>,
) -> Result<HttpResponse, Problem> {
    answer::written(200, api.hub.undo_merge(&caller, id, body.why.as_deref(), key.with_status(200)).await?)
}
