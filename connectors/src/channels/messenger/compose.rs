//! Content to the Send API's `message` object, with the platform's limits checked before anything
//! is sent (`messenger` §11).

use std::fmt::Write as _;

use loket_protocol::message::{Attachment, Button, Content, List};
use loket_protocol::outbound::OutboundMessage;
use serde_json::{Value, json};

/// The longest text, in characters.
pub(super) const TEXT_CHARS_MAX: usize = 2000;
/// What can be sent.
pub(super) const CONTENT_TYPES: &[&str] = &[
    "text",
    "image",
    "video",
    "audio",
    "document",
    "quick_replies",
    "buttons",
    "cta_url",
    "list",
    "template",
];

const QUICK_REPLIES_MAX: usize = 13;
const TITLE_CHARS_MAX: usize = 20;
const PAYLOAD_CHARS_MAX: usize = 1000;
const BUTTONS_MAX: usize = 3;
const BUTTON_TEXT_CHARS_MAX: usize = 640;

/// The `message` object without its metadata, or the sentence why Messenger cannot say this.
pub(super) fn message(outbound: &OutboundMessage) -> Result<Value, String> {
    let content = &outbound.content;
    let attachment = outbound.attachment.as_ref();
    match content.kind.as_str() {
        "text" | "image" | "video" | "audio" | "document" => plain(content, attachment),
        "quick_replies" => {
            let mut message = plain(content, attachment)?;
            let replies = content.buttons.iter().map(quick_reply).collect::<Result<Vec<_>, _>>()?;
            with_quick_replies(&mut message, replies)?;
            Ok(message)
        }
        "buttons" | "cta_url" => without(attachment, "buttons").and_then(|()| buttons(content)),
        "list" => without(attachment, "a list").and_then(|()| list(content)),
        "template" => without(attachment, "a template").and_then(|()| template(content)),
        other => Err(format!("Messenger cannot send the type {other:?}; send text or a file instead.")),
    }
}

fn without(attachment: Option<&Attachment>, what: &str) -> Result<(), String> {
    match attachment {
        Some(_) => Err(format!("Messenger takes no attachment together with {what}; send it by itself.")),
        None => Ok(()),
    }
}

/// Text or one attachment, never both: Messenger has no captions.
fn plain(content: &Content, attachment: Option<&Attachment>) -> Result<Value, String> {
    let text = content.text.as_deref().filter(|text| !text.is_empty());
    match (text, attachment) {
        (Some(_), Some(_)) => {
            Err("Messenger has no captions; send the text and the file as two messages.".to_owned())
        }
        (Some(text), None) if content.kind == "text" || content.kind == "quick_replies" => {
            let text = limited(text, TEXT_CHARS_MAX, "The text")?;
            Ok(json!({ "text": text }))
        }
        (None, Some(attachment)) => Ok(json!({ "attachment": media(attachment)? })),
        (Some(_), None) => Err("The attachment is missing; attach it and send again.".to_owned()),
        (None, None) => Err("The message is empty; write something or attach a file.".to_owned()),
    }
}

fn media(attachment: &Attachment) -> Result<Value, String> {
    let kind = match attachment.kind.as_str() {
        kind @ ("image" | "video" | "audio") => kind,
        "document" | "file" => "file",
        other => {
            return Err(format!(
                "Messenger cannot send an attachment of the type {other:?}; send it as a document."
            ));
        }
    };
    let payload = match (attachment.media_id.as_deref(), attachment.url.as_deref()) {
        (Some(id), _) if !id.is_empty() => json!({ "attachment_id": id }),
        (_, Some(url)) if url.starts_with("https://") || url.starts_with("http://") => {
            json!({ "url": url, "is_reusable": false })
        }
        _ => return Err("The attachment has neither an id nor an http address to fetch it from.".to_owned()),
    };
    Ok(json!({ "type": kind, "payload": payload }))
}

fn quick_reply(button: &Button) -> Result<Value, String> {
    match button.asks.as_deref() {
        None | Some("text") => choice(&button.title, button.id.as_deref()),
        Some("phone") => Ok(json!({ "content_type": "user_phone_number" })),
        Some("email") => Ok(json!({ "content_type": "user_email" })),
        Some(other) => {
            Err(format!("A quick reply cannot ask for {other:?}; it asks for text, phone or email."))
        }
    }
}

/// A quick reply with a title; the title is also what comes back when no value is given.
fn choice(title: &str, payload: Option<&str>) -> Result<Value, String> {
    if title.is_empty() {
        return Err("A quick reply has no title.".to_owned());
    }
    let title = limited(title, TITLE_CHARS_MAX, "The title of a quick reply")?;
    let payload = payload.filter(|payload| !payload.is_empty()).unwrap_or(title);
    let payload = limited(payload, PAYLOAD_CHARS_MAX, "The value of a quick reply")?;
    Ok(json!({ "content_type": "text", "title": title, "payload": payload }))
}

fn with_quick_replies(message: &mut Value, replies: Vec<Value>) -> Result<(), String> {
    if replies.is_empty() || replies.len() > QUICK_REPLIES_MAX {
        return Err(format!(
            "Messenger shows 1 to {QUICK_REPLIES_MAX} quick replies, not {}.",
            replies.len()
        ));
    }
    if let Some(members) = message.as_object_mut() {
        members.insert("quick_replies".to_owned(), Value::Array(replies));
    }
    Ok(())
}

/// A button template. It has neither header nor footer, so they become lines of its text.
fn buttons(content: &Content) -> Result<Value, String> {
    let text = lines([content.header.as_deref(), content.text.as_deref(), content.footer.as_deref()]);
    if text.is_empty() {
        return Err("Buttons need a text above them.".to_owned());
    }
    let text = limited(&text, BUTTON_TEXT_CHARS_MAX, "The text above buttons")?;
    let count = content.buttons.len();
    if count == 0 || count > BUTTONS_MAX {
        return Err(format!(
            "Messenger shows 1 to {BUTTONS_MAX} buttons, not {count}; use quick replies for more."
        ));
    }
    let buttons = content.buttons.iter().map(button).collect::<Result<Vec<_>, _>>()?;
    let payload = json!({ "template_type": "button", "text": text, "buttons": buttons });
    Ok(json!({ "attachment": { "type": "template", "payload": payload } }))
}

fn button(button: &Button) -> Result<Value, String> {
    if button.title.is_empty() {
        return Err("A button has no title.".to_owned());
    }
    let title = limited(&button.title, TITLE_CHARS_MAX, "The title of a button")?;
    match button.url.as_deref() {
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
            Ok(json!({ "type": "web_url", "title": title, "url": url }))
        }
        Some(_) => Err("The address of a button must begin with https:// or http://.".to_owned()),
        None => {
            let payload = button.id.as_deref().filter(|id| !id.is_empty()).unwrap_or(title);
            let payload = limited(payload, PAYLOAD_CHARS_MAX, "The value of a button")?;
            Ok(json!({ "type": "postback", "title": title, "payload": payload }))
        }
    }
}

/// Messenger has no lists. One is said as a text that shows sections and descriptions, with a quick
/// reply per row: a generic template would show the rows better but has no place for the text.
fn list(content: &Content) -> Result<Value, String> {
    let nothing = List::default();
    let list = content.list.as_ref().unwrap_or(&nothing);
    let rows: Vec<_> = list.sections.iter().flat_map(|section| &section.rows).collect();
    let has_more_than_titles = list.sections.iter().any(|section| section.title.is_some())
        || rows.iter().any(|row| row.description.is_some());
    let mut shown = String::new();
    if has_more_than_titles {
        for section in &list.sections {
            if let Some(title) = section.title.as_deref().filter(|title| !title.is_empty()) {
                // Writing to a String cannot fail.
                let _ = writeln!(shown, "{title}");
            }
            for row in &section.rows {
                let _ = match row.description.as_deref().filter(|description| !description.is_empty()) {
                    Some(description) => writeln!(shown, "• {}: {description}", row.title),
                    None => writeln!(shown, "• {}", row.title),
                };
            }
        }
    }
    let parts = [
        content.header.as_deref(),
        content.text.as_deref(),
        Some(shown.trim_end()),
        content.footer.as_deref(),
    ];
    let text = lines(parts);
    if text.is_empty() {
        return Err("A list needs a text above it.".to_owned());
    }
    let mut message = json!({ "text": limited(&text, TEXT_CHARS_MAX, "The text of the list")? });
    let replies = rows.iter().map(|row| choice(&row.title, Some(&row.id))).collect::<Result<Vec<_>, _>>()?;
    with_quick_replies(&mut message, replies)?;
    Ok(message)
}

/// A utility template: approved beforehand, allowed outside every window.
fn template(content: &Content) -> Result<Value, String> {
    let Some(template) = content.template.as_ref().filter(|t| !t.name.is_empty() && !t.language.is_empty())
    else {
        return Err("A template needs its name and its language.".to_owned());
    };
    let mut said = json!({ "name": template.name, "language": { "code": template.language } });
    if let (Some(members), Some(components)) = (said.as_object_mut(), &template.components) {
        members.insert("components".to_owned(), components.clone());
    }
    Ok(json!({ "template": said }))
}

/// The parts that say something, an empty line between them.
fn lines<'a>(parts: impl IntoIterator<Item = Option<&'a str>>) -> String {
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

fn limited<'a>(text: &'a str, most: usize, what: &str) -> Result<&'a str, String> {
    let count = text.chars().count();
    if count > most {
        return Err(format!("{what} has {count} characters; Messenger takes {most}."));
    }
    Ok(text)
}
