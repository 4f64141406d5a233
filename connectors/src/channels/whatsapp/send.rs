//! Messages of ours as the platform wants them, checked against its limits first (`whatsapp` §11).

use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::SendClass;
use loket_protocol::message::{
    Attachment, Button, ContactCard, Content, List, ListRow, ListSection, Location, Template,
};
use loket_protocol::outbound::OutboundMessage;
use serde_json::{Map, Value, json};

use super::{Account, KIND};
use crate::channel::{SendError, Taken};
use crate::meta;

/// The longest text, in characters.
pub(super) const TEXT_CHARS_MAX: usize = 4096;
pub(super) const CAPTION_CHARS_MAX: usize = 1024;
const BODY_CHARS_MAX: usize = 1024;
const LIST_BODY_CHARS_MAX: usize = 4096;
/// Headers and footers.
const EDGE_CHARS_MAX: usize = 60;
const BUTTONS_MAX: usize = 3;
const BUTTON_TITLE_CHARS_MAX: usize = 20;
const BUTTON_ID_CHARS_MAX: usize = 256;
const LIST_SECTIONS_MAX: usize = 10;
/// Of all sections together.
const LIST_ROWS_MAX: usize = 10;
const LIST_TITLE_CHARS_MAX: usize = 24;
const LIST_DESCRIPTION_CHARS_MAX: usize = 72;
const LIST_ID_CHARS_MAX: usize = 200;

/// The largest file of each kind, in bytes (`whatsapp` §12).
const FILE_BYTES_MAX: [(&str, u64); 5] = [
    ("image", 5_000_000),
    ("video", 16_000_000),
    ("audio", 16_000_000),
    ("document", 100_000_000),
    ("sticker", 500_000),
];

const HIDDEN_NUMBER: &str =
    "The customer's number is hidden, and sending without it is switched off for this account.";

/// A refusal of our own: nothing was sent and nothing will be.
pub(super) fn refused(sentence: impl Into<String>) -> SendError {
    let sentence = sentence.into();
    SendError::NotSent { class: SendClass::Final, code: None, subcode: None, retry_after_ms: None, sentence }
}

/// The body of `POST /<phone number id>/messages`.
pub(super) fn body(message: &OutboundMessage, account: &Account) -> Result<Value, SendError> {
    let content = &message.content;
    let (kind, payload) = match (&message.attachment, content.kind.as_str()) {
        (Some(attachment), kind) => media(attachment, kind, content)?,
        (None, kind) => without_file(kind, content)?,
    };
    let answered = message.reply_to.as_ref().filter(|_| kind != "reaction");
    let mut body = object([
        ("messaging_product", Some(json!(KIND))),
        ("messaging_account_id", account.messaging_account_id.as_ref().map(|id| json!(id))),
        ("type", Some(json!(kind))),
        (kind, Some(payload)),
        ("context", answered.map(|answered| json!({ "message_id": answered }))),
        ("biz_opaque_callback_data", Some(json!(message.dispatch.outbox_id()))),
    ]);
    body.extend(address(&message.to, account)?);
    Ok(Value::Object(body))
}

/// An object of the keys that have a value.
fn object<const N: usize>(keys: [(&str, Option<Value>); N]) -> Map<String, Value> {
    keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// Whom it goes to. A number is preferred, because everything can be sent to it (`whatsapp` §11).
fn address(to: &[Handle], account: &Account) -> Result<Map<String, Value>, SendError> {
    let of_kind = |kind: HandleKind| to.iter().find(|handle| handle.kind == kind).map(|h| h.value.as_str());
    let user_id = of_kind(HandleKind::Bsuid).or_else(|| of_kind(HandleKind::ParentBsuid));
    let (recipient_type, key, value) = match (of_kind(HandleKind::Group), of_kind(HandleKind::Phone), user_id)
    {
        (Some(group), _, _) => ("group", "to", group.to_owned()),
        // Without the plus the sending number's own country code would be put before it.
        (_, Some(number), _) => ("individual", "to", format!("+{number}")),
        (_, _, Some(user_id)) if account.send_to_bsuid => ("individual", "recipient", user_id.to_owned()),
        (_, _, Some(_)) => return Err(refused(HIDDEN_NUMBER)),
        (_, _, None) => return Err(refused("The customer has no address on WhatsApp.")),
    };
    Ok(object([("recipient_type", Some(json!(recipient_type))), (key, Some(json!(value)))]))
}

fn without_file(kind: &str, content: &Content) -> Result<(&'static str, Value), SendError> {
    match kind {
        "text" => {
            let text = needed(content.text.as_deref(), "The message has no text.")?;
            within(text, TEXT_CHARS_MAX, "The text")?;
            Ok(("text", json!({ "body": text, "preview_url": false })))
        }
        "location" => Ok(("location", location(content.location.as_ref())?)),
        "contacts" => Ok(("contacts", contacts(&content.contacts)?)),
        "template" => Ok(("template", template(content.template.as_ref())?)),
        "reaction" => {
            let reaction = content.reaction.as_ref();
            let target = reaction.and_then(|reaction| reaction.external_id.as_deref());
            let target = needed(target, "The message to react to is not known to WhatsApp.")?;
            let emoji = reaction.map(|reaction| reaction.emoji.as_str()).unwrap_or_default();
            Ok(("reaction", json!({ "message_id": target, "emoji": emoji })))
        }
        "buttons" => interactive(content, "button", BODY_CHARS_MAX, buttons(&content.buttons)?),
        "list" => interactive(content, "list", LIST_BODY_CHARS_MAX, list(content.list.as_ref())?),
        "cta_url" => interactive(content, "cta_url", BODY_CHARS_MAX, link_button(&content.buttons)?),
        "location_request" => {
            let action = json!({ "name": "send_location" });
            interactive(content, "location_request_message", BODY_CHARS_MAX, action)
        }
        "contact_request" => {
            let action = json!({ "name": "request_contact_info" });
            interactive(content, "request_contact_info", BODY_CHARS_MAX, action)
        }
        "image" | "video" | "audio" | "document" | "sticker" => Err(refused("The file is missing.")),
        _ => Err(refused("WhatsApp does not take this kind of message.")),
    }
}

fn media(attachment: &Attachment, kind: &str, content: &Content) -> Result<(&'static str, Value), SendError> {
    // A file may come with its own kind or under a text that becomes its caption.
    let kind = match kind {
        "text" | "attachments" | "" => attachment.kind.as_str(),
        kind => kind,
    };
    let kind = if kind == "file" { "document" } else { kind };
    let known = FILE_BYTES_MAX.into_iter().find(|(known, _)| *known == kind);
    let (kind, bytes_max) =
        known.ok_or_else(|| refused("WhatsApp does not take a file with this kind of message."))?;
    if attachment.size.is_some_and(|size| size > bytes_max) {
        let limit = bytes_max / 1000;
        return Err(refused(format!("The file is larger than the {limit} kB that WhatsApp takes.")));
    }
    let link =
        attachment.url.as_ref().filter(|url| url.starts_with("https://") || url.starts_with("http://"));
    if attachment.media_id.is_none() && link.is_none() {
        return Err(refused("The file has no address that WhatsApp could fetch it from."));
    }
    let caption = content.text.as_ref().filter(|text| !text.is_empty());
    if let Some(caption) = caption {
        if matches!(kind, "audio" | "sticker") {
            return Err(refused("WhatsApp shows no text under sound or a sticker; send the text by itself."));
        }
        within(caption, CAPTION_CHARS_MAX, "The text under the file")?;
    }
    let payload = object([
        ("id", attachment.media_id.as_ref().map(|id| json!(id))),
        ("link", link.filter(|_| attachment.media_id.is_none()).map(|link| json!(link))),
        ("caption", caption.map(|caption| json!(caption))),
        ("filename", attachment.filename.as_ref().filter(|_| kind == "document").map(|name| json!(name))),
        ("voice", (kind == "audio" && attachment.voice == Some(true)).then_some(json!(true))),
    ]);
    Ok((kind, Value::Object(payload)))
}

fn location(location: Option<&Location>) -> Result<Value, SendError> {
    let Some(place) = location else { return Err(refused("The place is missing.")) };
    if !(-90.0..=90.0).contains(&place.latitude) || !(-180.0..=180.0).contains(&place.longitude) {
        return Err(refused("The place is not on earth: check its coordinates."));
    }
    Ok(Value::Object(object([
        ("latitude", Some(json!(place.latitude))),
        ("longitude", Some(json!(place.longitude))),
        ("name", place.name.as_ref().map(|name| json!(name))),
        ("address", place.address.as_ref().map(|address| json!(address))),
    ])))
}

fn contacts(cards: &[ContactCard]) -> Result<Value, SendError> {
    let card = |card: &ContactCard| {
        let name = needed(card.name.as_deref(), "A contact card needs a name.")?;
        let each = |key: &str, values: &[String]| {
            let items: Vec<Value> = values.iter().map(|value| json!({ key: value })).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        };
        Ok(Value::Object(object([
            ("name", Some(json!({ "formatted_name": name, "first_name": name }))),
            ("phones", each("phone", &card.phones)),
            ("emails", each("email", &card.emails)),
            ("org", card.organisation.as_ref().map(|company| json!({ "company": company }))),
        ])))
    };
    if cards.is_empty() {
        return Err(refused("The contact card is missing."));
    }
    cards.iter().map(card).collect::<Result<Vec<Value>, SendError>>().map(Value::Array)
}

fn template(template: Option<&Template>) -> Result<Value, SendError> {
    let name = needed(template.map(|t| t.name.as_str()), "The template has no name.")?;
    let language = needed(template.map(|t| t.language.as_str()), "The template has no language.")?;
    Ok(Value::Object(object([
        ("name", Some(json!(name))),
        ("language", Some(json!({ "code": language }))),
        ("components", template.and_then(|template| template.components.clone())),
    ])))
}

fn interactive(
    content: &Content,
    kind: &str,
    chars_max: usize,
    action: Value,
) -> Result<(&'static str, Value), SendError> {
    let text = needed(content.text.as_deref(), "The message has no text.")?;
    within(text, chars_max, "The text")?;
    let edge = |text: Option<&String>, what: &str| {
        let text = text.filter(|text| !text.is_empty());
        text.map_or(Ok(None), |text| within(text, EDGE_CHARS_MAX, what).map(|()| Some(text.clone())))
    };
    let header = edge(content.header.as_ref(), "The header")?;
    let footer = edge(content.footer.as_ref(), "The footer")?;
    let payload = object([
        ("type", Some(json!(kind))),
        ("header", header.map(|header| json!({ "type": "text", "text": header }))),
        ("body", Some(json!({ "text": text }))),
        ("footer", footer.map(|footer| json!({ "text": footer }))),
        ("action", Some(action)),
    ]);
    Ok(("interactive", Value::Object(payload)))
}

fn buttons(buttons: &[Button]) -> Result<Value, SendError> {
    if buttons.is_empty() || buttons.len() > BUTTONS_MAX {
        return Err(refused(format!("WhatsApp takes one to {BUTTONS_MAX} buttons.")));
    }
    let mut sent = Vec::new();
    for button in buttons {
        let title = needed(Some(&button.title), "A button has no title.")?;
        within(title, BUTTON_TITLE_CHARS_MAX, "The title of a button")?;
        let id = button.id.as_deref().filter(|id| !id.is_empty()).unwrap_or(title);
        within(id, BUTTON_ID_CHARS_MAX, "The id of a button")?;
        sent.push(json!({ "type": "reply", "reply": { "id": id, "title": title } }));
    }
    distinct(buttons.iter().map(|button| button.title.as_str()), "The titles of the buttons")?;
    distinct(buttons.iter().filter_map(|button| button.id.as_deref()), "The ids of the buttons")?;
    Ok(json!({ "buttons": sent }))
}

fn link_button(buttons: &[Button]) -> Result<Value, SendError> {
    let [button] = buttons else {
        return Err(refused("A message with a link takes exactly one button."));
    };
    let title = needed(Some(&button.title), "A button has no title.")?;
    within(title, BUTTON_TITLE_CHARS_MAX, "The title of a button")?;
    let url = needed(button.url.as_deref(), "The button has no link.")?;
    Ok(json!({ "name": "cta_url", "parameters": { "display_text": title, "url": url } }))
}

fn list(list: Option<&List>) -> Result<Value, SendError> {
    let Some(list) = list else { return Err(refused("The list is missing.")) };
    let label = needed(Some(&list.button), "The list has no title on its button.")?;
    within(label, BUTTON_TITLE_CHARS_MAX, "The title of a button")?;
    if list.sections.is_empty() || list.sections.len() > LIST_SECTIONS_MAX {
        return Err(refused(format!("WhatsApp takes one to {LIST_SECTIONS_MAX} sections in a list.")));
    }
    let rows = list.sections.iter().flat_map(|section| &section.rows);
    let count = rows.clone().count();
    if count == 0 || count > LIST_ROWS_MAX || list.sections.iter().any(|section| section.rows.is_empty()) {
        return Err(refused(format!(
            "WhatsApp takes one to {LIST_ROWS_MAX} rows in a list, and one in each section."
        )));
    }
    distinct(rows.clone().map(|row| row.id.as_str()), "The ids of the rows")?;
    let sections: Result<Vec<Value>, SendError> =
        list.sections.iter().map(|part| section(part, list.sections.len() > 1)).collect();
    Ok(json!({ "button": label, "sections": sections? }))
}

fn section(section: &ListSection, needs_title: bool) -> Result<Value, SendError> {
    let title = section.title.as_ref().filter(|title| !title.is_empty());
    match title {
        Some(title) => within(title, LIST_TITLE_CHARS_MAX, "The title of a section")?,
        None if needs_title => return Err(refused("In a list of several sections each needs a title.")),
        None => {}
    }
    let rows: Result<Vec<Value>, SendError> = section.rows.iter().map(row).collect();
    let title = title.map(|title| json!(title));
    Ok(Value::Object(object([("title", title), ("rows", Some(Value::Array(rows?)))])))
}

fn row(row: &ListRow) -> Result<Value, SendError> {
    let title = needed(Some(&row.title), "A row has no title.")?;
    within(title, LIST_TITLE_CHARS_MAX, "The title of a row")?;
    let id = needed(Some(&row.id), "A row has no id.")?;
    within(id, LIST_ID_CHARS_MAX, "The id of a row")?;
    let description = row.description.as_ref().filter(|text| !text.is_empty());
    if let Some(description) = description {
        within(description, LIST_DESCRIPTION_CHARS_MAX, "The description of a row")?;
    }
    let description = description.map(|description| json!(description));
    Ok(Value::Object(object([
        ("id", Some(json!(id))),
        ("title", Some(json!(title))),
        ("description", description),
    ])))
}

fn needed<'a>(text: Option<&'a str>, otherwise: &str) -> Result<&'a str, SendError> {
    text.filter(|text| !text.is_empty()).ok_or_else(|| refused(otherwise))
}

fn within(text: &str, most: usize, what: &str) -> Result<(), SendError> {
    let count = text.chars().count();
    if count <= most {
        return Ok(());
    }
    Err(refused(format!("{what} has {count} characters; WhatsApp takes at most {most}.")))
}

fn distinct<'a>(values: impl Iterator<Item = &'a str>, what: &str) -> Result<(), SendError> {
    let mut seen = Vec::new();
    for value in values {
        if seen.contains(&value) {
            return Err(refused(format!("{what} must differ.")));
        }
        seen.push(value);
    }
    Ok(())
}

/// The id in an answer, and the addresses that it tells. An answer without an id leaves everything
/// open.
pub(super) fn taken(answer: &Value) -> Result<Taken, SendError> {
    let message = meta::list(answer, "messages").first();
    let external_id = message.and_then(|message| meta::id(message, "id"));
    let external_id =
        external_id.ok_or_else(|| SendError::Unconfirmed("the answer has no message id".to_owned()))?;
    let contact = meta::list(answer, "contacts").first().unwrap_or(&Value::Null);
    let keys = [(HandleKind::Phone, "wa_id"), (HandleKind::Bsuid, "user_id")];
    let learnt = keys
        .into_iter()
        .filter_map(|(kind, key)| Some(Handle::new(kind, meta::id(contact, key)?)))
        .filter(|handle| handle.kind != HandleKind::Phone || handle.value.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    Ok(Taken { external_id, learnt })
}
