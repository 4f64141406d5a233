//! `/v1/events`: the one log, pulled; and its catalogue.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::Method;
use loket_hub::{EVENTS_PAGE_MAX, EventFilter};
use loket_protocol::event::{Event, EventType};
use loket_protocol::ids::EventId;
use serde::Serialize;
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Anyone, Caller, scope};
use crate::cursor::Cursor;
use crate::doors::{Carries, Class, Doc, Doors};
use crate::error::{Code, Problem};
use crate::request::{PathId, Query};
use crate::schema::examples;

/// The longest that a long poll waits (`outgoing-webhooks` §13).
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(25);

/// A page of the log. There is always a place to go on from.
#[derive(Serialize)]
struct EventPage {
    items: Vec<Event>,
    next_cursor: String,
    head: i64,
}

/// A row of the catalogue.
#[derive(Serialize)]
struct EventTypeRow {
    name: &'static str,
    description: &'static str,
    of_a_thread: bool,
}

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Events");
    doors.door(
        Method::GET,
        "/v1/events",
        Class::LongPoll,
        list,
        Doc::new(
            "listEvents",
            "The log, pulled.",
            "Events after a place, in the order of their seq, without gap or repeat. `next_cursor` is always \
             there and is the next `after`; it names the log's epoch too, so that a restore is noticed.",
        )
        .query(
            "after",
            "The last number seen, or a next_cursor. Default 0, the beginning.",
            &json!({"type": "string", "pattern": "^([!-9;-~]{1,64}:)?[0-9]{1,16}$", "default": "0"}),
        )
        .query(
            "types",
            "Only these types, with commas between them: names, or one noun with `.*`.",
            &json!({"type": "string", "maxLength": 2048, "pattern": types_pattern(), "example": "message.*,thread.resolved"}),
        )
        .query(
            "limit",
            "How many at most.",
            &json!({"type": "integer", "minimum": 1, "maximum": EVENTS_PAGE_MAX, "default": crate::request::PAGE_DEFAULT}),
        )
        .query(
            "wait",
            "Seconds to wait for an event when there is none.",
            &json!({"type": "integer", "minimum": 0, "maximum": WAIT_MAX.as_secs(), "default": 0}),
        )
        .codes(&[Code::CursorGone])
        .answers(200, "A page of events.", Carries::Json("EventPage", examples::event_page())),
    );
    doors.get(
        "/v1/events/{id}",
        show,
        Doc::new("getEvent", "One event.", "").answers(
            200,
            "The event.",
            Carries::Json("Event", examples::event()),
        ),
    );
    doors.get(
        "/v1/event-types",
        catalogue,
        Doc::new("listEventTypes", "The catalogue of events.", "The same for pull and socket.").answers(
            200,
            "All types.",
            Carries::Json(
                "EventTypePage",
                json!({"items": [{"name": "message.received", "description": EventType::MessageReceived.meaning(), "of_a_thread": true}], "next_cursor": null}),
            ),
        ),
    );
}

/// The pattern of a list of types, for the document.
fn types_pattern() -> String {
    let mut names: Vec<String> = vec!["\\*".to_owned()];
    for kind in EventType::ALL {
        let noun = kind.as_str().split('.').next().unwrap_or_default();
        let all_of_noun = format!("{noun}\\.\\*");
        if !names.contains(&all_of_noun) {
            names.push(all_of_noun);
        }
        names.push(kind.as_str().replace('.', "\\."));
    }
    let one = names.join("|");
    format!("^({one})(,({one}))*$")
}

/// Reads a list of types with one-level wildcards (`outgoing-webhooks` §4). Empty means all.
fn types(text: Option<&str>) -> Result<Vec<EventType>, Problem> {
    let mut found = Vec::new();
    for name in text.into_iter().flat_map(|text| text.split(',')).map(str::trim) {
        let matching = |kind: &EventType| {
            name == "*"
                || kind.as_str() == name
                || name
                    .strip_suffix(".*")
                    .is_some_and(|noun| kind.as_str().split_once('.').is_some_and(|(own, _)| own == noun))
        };
        let before = found.len();
        found.extend(EventType::ALL.iter().copied().filter(matching));
        if found.len() == before {
            let known: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
            let told = format!("There is no event type {name:?}; `options` lists those there are.");
            return Err(Problem::new(Code::QueryInvalid, told).field("types").options(json!(known)));
        }
    }
    found.dedup();
    Ok(found)
}

async fn list(_: Caller<scope::EventsRead>, api: Api, query: Query) -> Result<HttpResponse, Problem> {
    let after: Cursor = query.parsed("after", "a log seq or a next_cursor")?.unwrap_or_default();
    let types = types(query.text("types"))?;
    let limit = query.limit_up_to(EVENTS_PAGE_MAX)?;
    let wait = query.number("wait", 0..=i64::try_from(WAIT_MAX.as_secs()).unwrap_or(0))?.unwrap_or(0);
    let end = api.clock.instant() + Duration::from_secs(wait.unsigned_abs());
    let mut grown = api.live.position();
    let mut filter = EventFilter { after: after.seq, types, limit };
    loop {
        let (head, epoch) = api.hub.log_head().await?;
        after.check(&epoch, head)?;
        let items = api.hub.events(&filter).await?;
        let left = end.saturating_duration_since(api.clock.instant());
        if !items.is_empty() || left.is_zero() {
            let last = items.last().map(|event| event.seq);
            let full = u32::try_from(items.len()).is_ok_and(|found| found >= limit);
            // A page that is not full has seen all up to the head, also what its types left out.
            let next = last.filter(|_| full).unwrap_or_else(|| last.unwrap_or(0).max(head));
            let next_cursor = Cursor::new(&epoch, next).to_string();
            return answer::json(200, &EventPage { items, next_cursor, head });
        }
        filter.after = filter.after.max(head);
        // Elapsed or not: the next round looks for itself.
        let _ = tokio::time::timeout(left, grown.wait_for(|position| *position > head)).await;
    }
}

async fn show(
    _: Caller<scope::EventsRead>,
    api: Api,
    PathId(id): PathId<EventId>,
) -> Result<HttpResponse, Problem> {
    answer::json(200, &api.hub.event(id).await?)
}

async fn catalogue(_: Anyone) -> Result<HttpResponse, Problem> {
    let row = |kind: &EventType| EventTypeRow {
        name: kind.as_str(),
        description: kind.meaning(),
        of_a_thread: kind.is_of_a_thread(),
    };
    let items: Vec<_> = EventType::ALL.iter().map(row).collect();
    answer::json(200, &json!({"items": items, "next_cursor": null}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_names_and_wildcards_of_one_level() {
        assert_eq!(types(None), Ok(vec![]));
        assert_eq!(types(Some("note.added")), Ok(vec![EventType::NoteAdded]));
        assert_eq!(types(Some("*")).unwrap().len(), EventType::ALL.len());
        let all_of_threads = types(Some("thread.*, note.added")).unwrap();
        assert!(all_of_threads.contains(&EventType::ThreadResolved));
        assert!(all_of_threads.contains(&EventType::NoteAdded));
        assert!(!all_of_threads.contains(&EventType::MessageSent));
        for bad in ["", "message", "message.*.x", "nothing.*", "message.received,,"] {
            assert_eq!(types(Some(bad)).unwrap_err().code(), Code::QueryInvalid, "{bad}");
        }
    }
}
