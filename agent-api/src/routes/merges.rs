//! `/v1/contacts/{id}/merge`, `/merges` and `/v1/merges/{id}/undo`: two contacts that are one person.

use actix_web::HttpResponse;
use loket_hub::{NewLink, NewMerge};
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
struct RequestLink {
    channel: String,
    account: Option<String>,
    language: Option<String>,
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
    doors.post(
        "/v1/contacts/{id}/link-requests",
        link,
        Doc::new(
            "requestLink",
            "Make an address with a one-time code.",
            "Whoever opens it and sends what it holds is this contact from then on: their thread and this one \
             are joined. The code counts for 15 minutes, once, on the account that it was made for.",
        )
        .replays()
        .body("RequestLink", json!({"channel": "whatsapp", "language": "nl"}))
        .answers(201, "The address.", Carries::Json("LinkRequest", examples::link_request())),
    );
    doors.get(
        "/v1/contacts/{id}/suggestions",
        suggestions,
        Doc::new(
            "listSuggestions",
            "Who might be the same person.",
            "By equal data that nobody has proven, shown with what it rests on. Nothing follows from it unless \
             somebody merges the two.",
        )
        .answers(200, "All of them.", Carries::Json("SuggestionPage", examples::page(&examples::suggestion()))),
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

async fn link(
    caller: Caller<scope::ContactsLink>,
    api: Api,
    PathId(id): PathId<ContactId>,
    key: IdempotencyKey,
    Body(body): Body<RequestLink>,
) -> Result<HttpResponse, Problem> {
    let new = NewLink { channel: body.channel, account: body.account, language: body.language };
    answer::written(201, api.hub.request_link(&caller, id, new, key.with_status(201)).await?)
}

async fn list(
    _: Caller<scope::ContactsRead>,
    api: Api,
    PathId(id): PathId<ContactId>,
) -> Result<HttpResponse, Problem> {
    answer::json(200, &api.hub.merges(id).await?)
}

async fn suggestions(
    _: Caller<scope::ContactsRead>,
    api: Api,
    PathId(id): PathId<ContactId>,
) -> Result<HttpResponse, Problem> {
    answer::json(200, &api.hub.suggestions(id).await?)
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
