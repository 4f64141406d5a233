//! The examples of the document: one customer, one agent, one afternoon.

use serde_json::{Value, json};

pub(crate) const AGENT: &str = "agt_01KAKB9Q8R0000000000000001";
pub(crate) const IDENTITY: &str = "idn_01KAKB9Q8R0000000000000003";
const CONTACT: &str = "con_01KAKB9Q8R0000000000000002";
const THREAD: &str = "thr_01KAKB9Q8R0000000000000004";
const MESSAGE: &str = "msg_01KAKB9Q8R0000000000000005";
const EVENT: &str = "evt_01KAKB9Q8R0000000000000006";
const KEY: &str = "key_01KAKB9Q8R0000000000000007";
const SESSION: &str = "ses_01KAKB9Q8R0000000000000008";
const CASE: &str = "case_01KAKB9Q8R0000000000000009";
const PARKED: &str = "prk_01KAKB9Q8R000000000000000A";
const AT: &str = "2026-11-21T09:30:00.000Z";

/// A page with one item, the last.
pub(crate) fn page(item: &Value) -> Value {
    json!({"items": [item], "next_cursor": null})
}

fn plain_agent() -> Value {
    json!({"id": AGENT, "login": "anna", "name": "Anna", "role": "agent", "created_at": AT})
}

pub(crate) fn presence() -> Value {
    json!({"presence": "online", "accepting": true, "capacity": 4})
}

pub(crate) fn agent() -> Value {
    json!({
        "id": AGENT, "login": "anna", "name": "Anna", "role": "agent", "created_at": AT,
        "presence": presence(),
    })
}

pub(crate) fn created_agent() -> Value {
    json!({"agent": plain_agent(), "password": "shown-this-once"})
}

pub(crate) fn new_session() -> Value {
    json!({"id": SESSION, "token": "los_…", "expires_at": "2026-11-28T09:30:00.000Z", "agent": plain_agent()})
}

pub(crate) fn me() -> Value {
    json!({
        "id": AGENT, "name": "Anna", "role": "agent",
        "scopes": ["me:read", "threads:read", "threads:write"],
        "session_id": SESSION, "agent": plain_agent(), "presence": presence(),
    })
}

pub(crate) fn api_key() -> Value {
    json!({
        "id": KEY, "name": "nightly export", "role": "integrator", "created_at": AT,
        "expires_at": "2027-06-01T00:00:00.000Z", "last_used_at": null, "revoked_at": null,
    })
}

pub(crate) fn created_key() -> Value {
    json!({"key": api_key(), "secret": "lok_…"})
}

fn account() -> Value {
    json!({"kind": "whatsapp", "account": "106540352242922"})
}

pub(crate) fn contact() -> Value {
    json!({
        "id": CONTACT, "name": "Sanne", "created_at": AT,
        "identities": [{
            "id": IDENTITY, "contact_id": CONTACT, "channel": account(),
            "handles": [{"kind": "phone", "value": "31600000001"}], "name": "Sanne",
            "window_closes_at": "2026-11-22T09:30:00.000Z", "last_message_at": AT,
        }],
    })
}

pub(crate) const OTHER_CONTACT: &str = "con_01KAKB9Q8R000000000000000B";

pub(crate) fn suggestion() -> Value {
    let evidence = json!({
        "kind": "email", "value": "sanne@example.org", "proven_here": false, "proven_there": false,
    });
    json!({"contact": contact(), "evidence": [evidence]})
}

pub(crate) fn link_request() -> Value {
    let code = "loket-0b6f2c1e8d5a4a539a3e0a4b8f6f2d11";
    json!({
        "id": "lnk_01KAKB9Q8R000000000000000E", "contact_id": CONTACT, "channel": account(),
        "address": format!("https://wa.me/31201234567?text={code}"), "code": code,
        "expires_at": "2026-11-21T09:45:00.000Z",
    })
}

pub(crate) fn merge() -> Value {
    json!({
        "id": "mrg_01KAKB9Q8R000000000000000C", "contact_id": CONTACT, "thread_id": THREAD,
        "merged_contact_id": OTHER_CONTACT, "merged_thread_id": "thr_01KAKB9Q8R000000000000000D",
        "proof": "agent", "evidence": {"by": AGENT},
        "by": {"type": "agent", "id": AGENT, "name": "Anna"}, "why": "Same order number on the telephone.",
        "at": AT, "undone_at": null, "undone_by": null, "undone_why": null,
    })
}

pub(crate) fn message() -> Value {
    json!({
        "id": MESSAGE, "seq": 413, "thread_id": THREAD, "direction": "out",
        "author": {"type": "agent", "id": AGENT, "name": "Anna"},
        "channel": account(), "identity_id": IDENTITY,
        "content": {"type": "text", "text": "Your parcel leaves today."},
        "attachments": [], "reply_to": null, "external_id": null,
        "status": "queued", "status_detail": null, "reactions": [], "late": false,
        "edited_at": null, "revoked_at": null, "provider_time": null, "created_at": AT,
    })
}

pub(crate) fn note() -> Value {
    json!({
        "id": MESSAGE, "seq": 414, "thread_id": THREAD, "direction": "note",
        "author": {"type": "agent", "id": AGENT, "name": "Anna"},
        "channel": null, "identity_id": null,
        "content": {"type": "text", "text": "Called back, will send the invoice."},
        "attachments": [], "reply_to": null, "external_id": null,
        "status": null, "status_detail": null, "reactions": [], "late": false,
        "edited_at": null, "revoked_at": null, "provider_time": null, "created_at": AT,
    })
}

pub(crate) fn new_message() -> Value {
    json!({"content": {"type": "text", "text": "Your parcel leaves today."}, "to": "auto"})
}

fn control() -> Value {
    json!({
        "holder": "agent", "agent_id": AGENT, "offered_to": null, "offered_until": null, "epoch": 7,
        "since": AT, "reason": "taken", "summary": null,
    })
}

pub(crate) fn thread() -> Value {
    json!({
        "id": THREAD, "contact": contact(), "status": "open", "case_id": CASE, "assignee": AGENT,
        "control": control(), "waiting_since": null, "seq": 413, "last_message": message(), "unread": 0, "last_message_at": AT,
        "created_at": AT, "version": 3,
    })
}

pub(crate) fn sendability() -> Value {
    json!({
        "auto": null,
        "identities": [{
            "identity_id": IDENTITY, "channel": account(), "may_send": "template", "until": null,
            "content_types": ["template"], "health": "connected", "code": "window_closed",
            "sentence": "The reply window on whatsapp:106540352242922 is closed: send a template, or wait until the customer writes.",
        }],
    })
}

pub(crate) fn event() -> Value {
    json!({
        "id": EVENT, "type": "message.queued", "timestamp": AT, "api_version": "2026-11-01",
        "seq": 18_273_645, "thread": {"id": THREAD, "seq": 413}, "data": {"message": message()},
    })
}

pub(crate) fn event_page() -> Value {
    json!({"items": [event()], "next_cursor": "e1:18273645", "head": 18_273_645})
}

pub(crate) fn channel() -> Value {
    json!({
        "channel": account(), "name": "main",
        "capabilities": {
            "window_ms": 86_400_000, "human_window_ms": null, "reads_the_thread": false,
            "text_chars_max": 4096, "content_types": ["text", "image", "template"],
            "captions": ["image"], "caption_chars_max": 1024, "reactions": true,
        },
        "health": "connected", "sentence": null, "since": AT, "last_inbound_at": AT,
        "last_sent_at": null, "queued": 0, "unconfirmed": 0,
    })
}

pub(crate) fn parked() -> Value {
    json!({
        "id": PARKED, "name": "P-12", "channel_kind": "whatsapp", "account": null, "reason": "unknown_item",
        "error": "entry[0].changes[0].value has no known part", "times": 1, "state": "parked",
        "message_id": null, "first_at": AT, "last_at": AT, "size_bytes": 512,
    })
}

pub(crate) fn status() -> Value {
    json!({
        "ready": true, "hub": {"store": true, "bus": true, "unnumbered": 0, "parked": 0, "topics": {"inbound": {"items": 0, "leased": 0, "oldest_age_ms": 0}}},
        "channels": [channel()], "log_head": 18_273_645, "sockets": 12, "requests": 1,
        "disks": [{"holds": "bus", "room": "enough", "free_bytes": 52_613_349_376_i64, "size_bytes": 105_089_261_568_i64}],
        "durability": "full", "relaxed": [],
    })
}
