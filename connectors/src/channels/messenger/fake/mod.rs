//! The Messenger Platform's own side, for `loket simulate`: how it reads a send and how it words
//! its callbacks (`messenger` §4 to §11). Pure: the simulator's world decides what happens.

pub(crate) mod check;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use loket_backbone::random;
use loket_protocol::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::simulator::phone::{Author, Bubble, File, Place};
use crate::simulator::settings::Page;

/// The value of `object` in every callback.
pub(crate) const OBJECT: &str = "page";
/// The Page inbox's app (`messenger` §1).
const INBOX_APP: u64 = 263_902_037_430_900;
/// Some other app that is connected to the Page.
const OTHER_APP: &str = "900000000000777";
/// From the moment of an event to the callback that tells of it.
const ENTRY_LATER_MS: i64 = 12;

/// A new message id.
pub(crate) fn message_id() -> String {
    format!("m_{}", URL_SAFE_NO_PAD.encode(random::bytes::<64>()))
}

/// An entry with one event in it.
fn entry(page: &Page, from: &str, to: &str, at: Timestamp, (key, event): (&str, Value)) -> Value {
    let mut item = Map::new();
    item.insert("sender".to_owned(), json!({"id": from}));
    item.insert("recipient".to_owned(), json!({"id": to}));
    item.insert("timestamp".to_owned(), json!(at.as_millis()));
    item.insert(key.to_owned(), event);
    json!({"id": page.page_id, "time": at.as_millis() + ENTRY_LATER_MS, "messaging": [item]})
}

/// The entry of something that a person did.
pub(crate) fn event(page: &Page, psid: &str, at: Timestamp, named: (&str, Value)) -> Value {
    entry(page, psid, &page.page_id, at, named)
}

/// An attachment of a person's message.
pub(crate) fn attachment(file: &File, url: &str) -> Value {
    let kind = match file.kind.as_str() {
        "document" => "file",
        other => other,
    };
    let mut payload = Map::new();
    payload.insert("url".to_owned(), json!(url));
    if kind == "sticker" {
        payload.insert("sticker_id".to_owned(), json!(369_239_263_222_822_u64));
    }
    json!({"type": kind, "payload": payload})
}

/// A location as older clients send it.
pub(crate) fn location(place: &Place) -> Value {
    json!({
        "type": "location",
        "payload": {
            "coordinates": {"lat": place.latitude, "long": place.longitude},
            "title": place.name.as_deref().unwrap_or("Pin"),
        },
    })
}

/// A reaction's word for its emoji (`messenger` §6).
pub(crate) fn reaction_word(emoji: &str) -> &'static str {
    match emoji.trim_end_matches('\u{fe0f}') {
        "❤" => "love",
        "😆" | "😂" | "🙂" => "smile",
        "😮" => "wow",
        "😢" => "sad",
        "😠" | "😡" => "angry",
        "👍" => "like",
        "👎" => "dislike",
        _ => "other",
    }
}

/// The entry of the echo of a message that left the Page (`messenger` §8).
pub(crate) fn echo(page: &Page, psid: &str, bubble: &Bubble, files: &[Value]) -> Value {
    let mut message = Map::new();
    message.insert("mid".to_owned(), json!(bubble.id));
    message.insert("is_echo".to_owned(), json!(true));
    let app = match bubble.author {
        Author::PageInbox => json!(INBOX_APP),
        Author::OtherApp => json!(OTHER_APP),
        // Numbers where they fit: clients have to take both forms.
        _ => page.app_id.parse::<u64>().map_or_else(|_| json!(page.app_id), |app| json!(app)),
    };
    message.insert("app_id".to_owned(), app);
    if bubble.kind == "template" {
        let attachment = bubble.sent.get("attachment").cloned();
        let fallback = json!({"type": "fallback", "payload": null});
        message.insert("attachments".to_owned(), json!([attachment.unwrap_or(fallback)]));
    } else {
        if let Some(text) = &bubble.text {
            message.insert("text".to_owned(), json!(text));
        }
        if !files.is_empty() {
            message.insert("attachments".to_owned(), json!(files));
        }
    }
    if let Some(reply_to) = &bubble.reply_to {
        message.insert("reply_to".to_owned(), json!({"mid": reply_to, "is_self_reply": false}));
    }
    if let Some(metadata) = &bubble.outbox_id {
        message.insert("metadata".to_owned(), json!(metadata));
    }
    entry(page, &page.page_id, psid, bubble.at, ("message", Value::Object(message)))
}

/// The entry of a delivery receipt up to `watermark`.
pub(crate) fn delivered(
    page: &Page,
    psid: &str,
    mids: &[String],
    watermark: Timestamp,
    at: Timestamp,
) -> Value {
    let receipt = json!({"mids": mids, "watermark": watermark.as_millis()});
    event(page, psid, at, ("delivery", receipt))
}

/// The entry of a read receipt up to `watermark`.
pub(crate) fn read(page: &Page, psid: &str, watermark: Timestamp, at: Timestamp) -> Value {
    event(page, psid, at, ("read", json!({"watermark": watermark.as_millis()})))
}

/// What a profile look-up answers (`messenger` §10).
pub(crate) fn profile(psid: &str, name: &str, picture: &str, fields: Option<&str>) -> Value {
    let (first, last) = name.split_once(' ').unwrap_or((name, ""));
    let all =
        [("id", psid), ("name", name), ("first_name", first), ("last_name", last), ("profile_pic", picture)];
    let wanted = fields.unwrap_or("id,name,first_name,last_name,profile_pic");
    let is_wanted = |key: &str| key == "id" || wanted.split(',').any(|field| field.trim() == key);
    let found = all.iter().filter(|(key, _)| is_wanted(key));
    Value::Object(found.map(|(key, value)| ((*key).to_owned(), json!(value))).collect())
}
