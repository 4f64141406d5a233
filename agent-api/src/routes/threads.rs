//! `/v1/threads`: the inbox, and what is done with a thread as a whole.

use actix_web::HttpResponse;
use loket_hub::{NewHandoff, ThreadFilter};
use loket_protocol::channel::ChannelKind;
use loket_protocol::handoff::{Holder, Successor, Verb};
use loket_protocol::ids::{AgentId, ThreadId};
use loket_protocol::thread::{Thread, ThreadStatus};
use serde::Deserialize;
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Caller, scope};
use crate::doors::{Carries, Doc, Doors};
use crate::error::{Code, Problem};
use crate::request::{Body, IdempotencyKey, IfMatch, PathId, Query};
use crate::schema::examples;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkRead {
    up_to_seq: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowTyping {
    #[serde(default = "yes")]
    on: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assign {
    // Named here, so that leaving it away is an error and not the same as null.
    #[serde(deserialize_with = "Option::deserialize")]
    agent: Option<AgentId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HandOver {
    verb: Verb,
    to: Option<String>,
    epoch: Option<i64>,
    reason: Option<String>,
    summary: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Threads");
    doors.get(
        "/v1/threads",
        list,
        Doc::new("listThreads", "The inbox: threads, newest message first.", "All filters must hold.")
            .query("status", "Only of this status.", &json!({"type": "string", "enum": ["open", "resolved"]}))
            .query(
                "assignee",
                "Only of this agent: an agent's id, `me`, or `none` for nobody's.",
                &json!({"type": "string", "pattern": "^(me|none|agt_[0-7][0-9A-HJKMNP-TV-Z]{25})$"}),
            )
            .query(
                "channel",
                "Only with an identity on this kind of channel.",
                &json!({"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$"}),
            )
            .query(
                "control",
                "Only where such a party answers now.",
                &json!({"type": "string", "enum": ["bot", "waiting", "agent"]}),
            )
            .query(
                "waiting",
                "`true`: only where the customer waits for an answer; `false`: only where they do not.",
                &json!({"type": "string", "enum": ["true", "false"]}),
            )
            .query(
                "unread",
                "`true`: only with messages that you have not read.",
                &json!({"type": "string", "enum": ["true", "false"]}),
            )
            .paged()
            .answers(
                200,
                "A page of threads.",
                Carries::Json("ThreadPage", examples::page(&examples::thread())),
            ),
    );
    doors.get(
        "/v1/threads/{id}",
        show,
        Doc::new(
            "getThread",
            "One thread.",
            "With its contact, all identities and their reply windows. The ETag is for If-Match.",
        )
        .with_etag()
        .answers(200, "The thread.", Carries::Json("Thread", examples::thread())),
    );
    doors.get(
        "/v1/threads/{id}/sendability",
        sendability,
        Doc::new(
            "getSendability",
            "What may be sent to the contact now.",
            "For each identity, in the order in which `auto` tries them: what it takes from you, until when, \
             and why not more. A reply is refused by the same decision.",
        )
        .answers(200, "What may be sent.", Carries::Json("Sendability", examples::sendability())),
    );
    doors.post(
        "/v1/threads/{id}/read",
        read,
        Doc::new(
            "markRead",
            "Mark as read.",
            "Up to a number of the thread's log, or all of it. The customer's channel is told where it \
             has such a sign, best effort.",
        )
        .optional_body("MarkRead", json!({"up_to_seq": 412})),
    );
    doors.post(
        "/v1/threads/{id}/typing",
        typing,
        Doc::new("showTyping", "Show the customer that somebody is writing.", "A passing sign, best effort.")
            .optional_body("ShowTyping", json!({"on": true})),
    );
    changes(doors);
}

/// What is done with a thread as a whole.
fn changes(doors: &mut Doors) {
    doors.post(
        "/v1/threads/{id}/control",
        control,
        Doc::new(
            "handOver",
            "Take control, pass it on, offer it, accept it, release it.",
            "`take`: you answer from now on, whoever did. `pass`: `to` a colleague (it is offered to them), to \
             the `bot`, or to the `queue`, the default. `offer`: a lead offers what waits to an agent. `accept`: \
             you answer what was offered to you. `release`: you answer no longer; the bot does, if there is one. \
             `epoch` is the turn that you know, `control.epoch` of the thread; only a take may leave it out. The \
             same request with the same `epoch` again changes nothing. A bot passes and releases, with a \
             `reason` and a `summary` for whoever takes over.",
        )
        .replays()
        .body("HandOver", json!({"verb": "pass", "to": "queue", "epoch": 7, "reason": "unsure", "summary": "Asks where parcel 3S42 is; tracking says nothing since Monday."}))
        .answers(200, "The thread as it is now.", Carries::Json("Thread", examples::thread()))
        .codes(&[Code::ControlLost, Code::Conflict]),
    );
    doors.post(
        "/v1/threads/{id}/assign",
        assign,
        Doc::new("assignThread", "Give the thread to an agent, or to nobody.", "")
            .versioned()
            .replays()
            .body("Assign", json!({"agent": examples::AGENT}))
            .answers(200, "The thread as it is now.", Carries::Json("Thread", examples::thread())),
    );
    doors.post(
        "/v1/threads/{id}/resolve",
        resolve,
        Doc::new("resolveThread", "Close the case.", "The customer's next message opens a new one.")
            .versioned()
            .replays()
            .optional_body("Empty", json!({}))
            .answers(200, "The thread as it is now.", Carries::Json("Thread", examples::thread())),
    );
    doors.post(
        "/v1/threads/{id}/reopen",
        reopen,
        Doc::new("reopenThread", "Open the case again.", "")
            .versioned()
            .replays()
            .optional_body("Empty", json!({}))
            .answers(200, "The thread as it is now.", Carries::Json("Thread", examples::thread())),
    );
}

fn filter(query: &Query, me: Option<AgentId>) -> Result<ThreadFilter, Problem> {
    let assignee = match query.text("assignee") {
        Some("none") => Some(None),
        Some("me") => Some(Some(me.ok_or_else(|| {
            Problem::new(Code::QueryInvalid, "assignee=me is for agents; an API key has no threads.")
                .field("assignee")
        })?)),
        _ => query.parsed::<AgentId>("assignee", "an agent's id, me or none")?.map(Some),
    };
    let channel = match query.text("channel").map(ChannelKind::new).transpose() {
        Ok(kind) => kind.map(String::from),
        Err(wrong) => {
            return Err(Problem::new(Code::QueryInvalid, format!("channel: {wrong}.")).field("channel"));
        }
    };
    let statuses = [ThreadStatus::Open, ThreadStatus::Resolved].map(|status| (status.as_str(), status));
    Ok(ThreadFilter {
        status: query.one_of("status", &statuses)?,
        assignee,
        channel,
        unread: query.flag("unread")?.unwrap_or(false),
        control: query.one_of("control", &Holder::ALL.map(|holder| (holder.as_str(), holder)))?,
        waiting: query.flag("waiting")?,
    })
}

async fn list(caller: Caller<scope::ThreadsRead>, api: Api, query: Query) -> Result<HttpResponse, Problem> {
    let filter = filter(&query, caller.agent())?;
    let page = api.hub.threads(&caller, &filter, query.cursor()?, query.limit()?).await?;
    answer::json(200, &page)
}

async fn show(
    caller: Caller<scope::ThreadsRead>,
    api: Api,
    PathId(id): PathId<ThreadId>,
) -> Result<HttpResponse, Problem> {
    let thread = api.hub.thread(&caller, id).await?;
    answer::with_etag(answer::json(200, &thread)?, thread.version)
}

async fn sendability(
    caller: Caller<scope::ThreadsRead>,
    api: Api,
    PathId(id): PathId<ThreadId>,
) -> Result<HttpResponse, Problem> {
    answer::json(200, &api.hub.sendability(&caller, id).await?)
}

async fn read(
    caller: Caller<scope::ThreadsWrite>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    _: IdempotencyKey,
    Body(body): Body<MarkRead>,
) -> Result<HttpResponse, Problem> {
    let up_to = match body.up_to_seq {
        Some(seq) => seq,
        None => api.hub.thread(&caller, id).await?.seq,
    };
    api.hub.mark_read(&caller, id, up_to).await?;
    Ok(answer::nothing())
}

async fn typing(
    caller: Caller<scope::ThreadsWrite>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    _: IdempotencyKey,
    Body(body): Body<ShowTyping>,
) -> Result<HttpResponse, Problem> {
    api.hub.typing(&caller, id, body.on).await?;
    Ok(answer::nothing())
}

fn version(thread: &Thread) -> i64 {
    thread.version
}

fn successor(to: &str) -> Result<Successor, Problem> {
    match to {
        "queue" => Ok(Successor::Queue),
        "bot" => Ok(Successor::Bot),
        agent => agent
            .parse()
            .map(Successor::Agent)
            .map_err(|_| Problem::new(Code::Invalid, "Name an agent (agt_…), bot or queue.").field("to")),
    }
}

async fn control(
    caller: Caller<scope::ThreadsControl>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    key: IdempotencyKey,
    Body(body): Body<HandOver>,
) -> Result<HttpResponse, Problem> {
    let HandOver { verb, to, epoch, reason, summary } = body;
    let to = to.as_deref().map(successor).transpose()?;
    let new = NewHandoff { verb, to, epoch, reason, summary };
    answer::written_versioned(api.hub.hand_over(&caller, id, new, key.with_status(200)).await?, version)
}

async fn assign(
    caller: Caller<scope::ThreadsAssign>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    (IfMatch(if_version), key): (IfMatch, IdempotencyKey),
    Body(body): Body<Assign>,
) -> Result<HttpResponse, Problem> {
    let done = api.hub.assign(&caller, id, body.agent, if_version, key.with_status(200)).await?;
    answer::written_versioned(done, version)
}

async fn resolve(
    caller: Caller<scope::ThreadsAssign>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    (IfMatch(if_version), key): (IfMatch, IdempotencyKey),
    _: Body<Empty>,
) -> Result<HttpResponse, Problem> {
    let done = api.hub.resolve(&caller, id, if_version, key.with_status(200)).await?;
    answer::written_versioned(done, version)
}

async fn reopen(
    caller: Caller<scope::ThreadsAssign>,
    api: Api,
    PathId(id): PathId<ThreadId>,
    (IfMatch(if_version), key): (IfMatch, IdempotencyKey),
    _: Body<Empty>,
) -> Result<HttpResponse, Problem> {
    let done = api.hub.reopen(&caller, id, if_version, key.with_status(200)).await?;
    answer::written_versioned(done, version)
}

#[cfg(test)]
mod tests {
    use loket_backbone::clock::Clock;

    use super::*;

    #[test]
    fn filters_are_read_and_me_is_the_asking_agent() {
        let me = Clock::system().id::<AgentId>();
        let read = |text: &str| filter(&Query::parse(text).unwrap(), Some(me));
        let found =
            read("status=open&assignee=me&channel=whatsapp&unread=true&control=waiting&waiting=false")
                .unwrap();
        assert_eq!(
            found,
            ThreadFilter {
                status: Some(ThreadStatus::Open),
                assignee: Some(Some(me)),
                channel: Some("whatsapp".to_owned()),
                unread: true,
                control: Some(Holder::Waiting),
                waiting: Some(false),
            }
        );
        assert_eq!(read("assignee=none").unwrap().assignee, Some(None));
        assert_eq!(read(&format!("assignee={me}")).unwrap().assignee, Some(Some(me)));
        assert_eq!(read("").unwrap(), ThreadFilter::default());
        for bad in
            ["assignee=you", "assignee=", "channel=Whats.App", "status=closed", "unread=1", "control=me"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(filter(&Query::parse("assignee=me").unwrap(), None).is_err());
    }

    #[test]
    fn an_assignment_tells_nobody_from_nothing() {
        assert!(serde_json::from_str::<Assign>("{}").is_err());
        assert_eq!(serde_json::from_str::<Assign>(r#"{"agent":null}"#).unwrap().agent, None);
    }
}
