//! `/v1/threads/{id}/messages` and `/notes`: what was said, and saying something.

use actix_web::HttpResponse;
use loket_hub::{MessagesFrom, NewReply, Target};
use loket_protocol::ids::{MessageId, ThreadId};
use loket_protocol::message::{Attachment, Content};
use serde::Deserialize;
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Caller, scope};
use crate::doors::{Carries, Doc, Doors};
use crate::error::{Code, Problem};
use crate::request::{Body, IdempotencyKey, PathId, Query};
use crate::schema::examples;

/// The largest number of a log (`outgoing-webhooks` §3: below 2^53).
const SEQ_MAX: i64 = (1 << 53) - 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMessage {
    content: Content,
    #[serde(default)]
    attachments: Vec<Attachment>,
    to: Option<String>,
    reply_to: Option<MessageId>,
    client_message_id: Option<String>,
    epoch: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNote {
    text: String,
}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Messages");
    let seq = json!({"type": "integer", "minimum": 0, "maximum": SEQ_MAX});
    doors.get(
        "/v1/threads/{id}/messages",
        list,
        Doc::new(
            "listMessages",
            "What was said, in order of seq.",
            "Without a place: the last ones. `next_cursor` is the seq to go on from in the same direction; \
             numbers between messages belong to other entries of the thread's log.",
        )
        .query("after_seq", "Those after this number.", &seq)
        .query("before_seq", "The nearest ones before this number. Not together with after_seq.", &seq)
        .query(
            "limit",
            "How many at most.",
            &json!({"type": "integer", "minimum": 1, "maximum": loket_hub::PAGE_MAX, "default": crate::request::PAGE_DEFAULT}),
        )
        .answers(200, "A page of messages.", Carries::Json("MessagePage", examples::page(&examples::message()))),
    );
    doors.get(
        "/v1/threads/{id}/events",
        events,
        Doc::new(
            "listThreadEvents",
            "What happened to a thread besides its messages, in order of seq.",
            "Assigned, resolved, opened, handed over: the entries that stand between the messages. \
             `next_cursor` is the `after_seq` to go on with.",
        )
        .query("after_seq", "Those after this number of the thread's log.", &seq)
        .query("before_seq", "Those before this number.", &seq)
        .query(
            "limit",
            "How many at most.",
            &json!({"type": "integer", "minimum": 1, "maximum": loket_hub::PAGE_MAX, "default": crate::request::PAGE_DEFAULT}),
        )
        .answers(
            200,
            "A page of events.",
            Carries::Json("ThreadEventPage", examples::page(&examples::event())),
        ),
    );
    doors.post(
        "/v1/threads/{id}/messages",
        send,
        Doc::new(
            "sendMessage",
            "Send a message to the customer.",
            "201 means that it is safely queued; its status then moves forward by itself. It needs an \
             Idempotency-Key or a client_message_id. `to` is an identity of the thread's contact, or \
             `auto` (the default): the identity of the last message if it may receive, else the most \
             recently active one that may. `epoch` is the turn of control in which it was written: when \
             that is over, nothing is sent (409 `control_lost`). A bot must say it, and speaks only while \
             a bot holds control. A reply of an agent takes control.",
        )
        .replays()
        .body("NewMessage", examples::new_message())
        .answers(201, "The message, queued.", Carries::Json("Message", examples::message()))
        .codes(&[Code::IdempotencyRequired, Code::Unsendable, Code::Conflict, Code::ControlLost]),
    );
    doors.post(
        "/v1/threads/{id}/notes",
        note,
        Doc::new("addNote", "Add a note that the customer never sees.", "")
            .replays()
            .body("NewNote", json!({"text": "Called back, will send the invoice."}))
            .answers(201, "The note.", Carries::Json("Message", examples::note())),
    );
}

fn place(query: &Query) -> Result<MessagesFrom, Problem> {
    let after = query.number("after_seq", 0..=SEQ_MAX)?;
    let before = query.number("before_seq", 0..=SEQ_MAX)?;
    match (after, before) {
        (None, None) => Ok(MessagesFrom::Last),
        (Some(seq), None) => Ok(MessagesFrom::After(seq)),
        (None, Some(seq)) => Ok(MessagesFrom::Before(seq)),
        (Some(_), Some(_)) => {
            let told = "Give after_seq or before_seq, not both.";
            Err(Problem::new(Code::QueryInvalid, told).field("before_seq"))
        }
    }
}

async fn list(
    _: Caller<scope::ThreadsRead>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    query: Query,
) -> Result<HttpResponse, Problem> {
    let from = place(&query)?;
    let limit = query.limit()?;
    let page = api.hub.messages(id, from, limit).await?;
    answer::json(200, &page)
}

async fn events(
    _: Caller<scope::ThreadsRead>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    query: Query,
) -> Result<HttpResponse, Problem> {
    let after = query.number("after_seq", 0..=SEQ_MAX)?.unwrap_or(0);
    let before = query.number("before_seq", 0..=SEQ_MAX)?.unwrap_or(SEQ_MAX);
    let page = api.hub.thread_events(id, after, before, query.limit()?).await?;
    answer::json(200, &page)
}

fn target(to: Option<&str>) -> Result<Target, Problem> {
    match to {
        None | Some("auto") => Ok(Target::Auto),
        Some(id) => id.parse().map(Target::Identity).map_err(|_| {
            let told = "Name an identity of the thread's contact (idn_…), or auto.";
            Problem::new(Code::Invalid, told).field("to")
        }),
    }
}

async fn send(
    caller: Caller<scope::ThreadsWrite>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    key: IdempotencyKey,
    Body(body): Body<NewMessage>,
) -> Result<HttpResponse, Problem> {
    if !key.is_given() && body.client_message_id.is_none() {
        return Err(Problem::of(Code::IdempotencyRequired).field("Idempotency-Key"));
    }
    let new = NewReply {
        to: target(body.to.as_deref())?,
        content: body.content,
        attachments: body.attachments,
        reply_to: body.reply_to,
        client_message_id: body.client_message_id,
        epoch: body.epoch,
    };
    answer::written(201, api.hub.reply(&caller, id, new, key.with_status(201)).await?)
}

async fn note(
    caller: Caller<scope::ThreadsWrite>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    key: IdempotencyKey,
    Body(body): Body<NewNote>,
) -> Result<HttpResponse, Problem> {
    answer::written(201, api.hub.note(&caller, id, &body.text, key.with_status(201)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_messages_has_one_direction() {
        let read = |text: &str| place(&Query::parse(text).unwrap());
        assert_eq!(read(""), Ok(MessagesFrom::Last));
        assert_eq!(read("after_seq=0"), Ok(MessagesFrom::After(0)));
        assert_eq!(read("before_seq=9"), Ok(MessagesFrom::Before(9)));
        for bad in
            ["after_seq=1&before_seq=2", "after_seq=-1", "after_seq=1.5", "before_seq=9007199254740992"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_is_auto_or_an_identity() {
        assert_eq!(target(None), Ok(Target::Auto));
        assert_eq!(target(Some("auto")), Ok(Target::Auto));
        assert!(matches!(target(Some(examples::IDENTITY)), Ok(Target::Identity(_))));
        assert_eq!(target(Some("con_1")).unwrap_err().code(), Code::Invalid);
    }
}
