//! Is this whole in itself? Pure checks before anything is looked up; what a conversation takes is in
//! `sendable`.

use loket_protocol::channel::Capabilities;
use loket_protocol::content::{MEDIA, SENDABLE, is_media};
use loket_protocol::message::{Attachment, Content};
use serde_json::Value;

use crate::HubError;
use crate::requests::NewReply;

/// The most attachments of one message.
pub(crate) const ATTACHMENTS_MAX: usize = 30;
/// The largest content and the largest list of attachments, as JSON in bytes.
const JSON_BYTES_MAX: usize = 24 * 1024;
/// The longest address of an attachment.
const URL_BYTES_MAX: usize = 2_048;

fn invalid<T>(field: &str, sentence: impl Into<String>) -> Result<T, HubError> {
    Err(HubError::invalid(field, sentence))
}

/// The content type by which an attachment goes out.
fn kind_of(attachment: &Attachment) -> Option<&'static str> {
    let kind = if attachment.kind == "file" { "document" } else { attachment.kind.as_str() };
    MEDIA.iter().copied().find(|known| *known == kind)
}

/// Is it whole in itself, whatever the channel?
pub(crate) fn shape(new: &NewReply) -> Result<(), HubError> {
    let Content { kind, .. } = &new.content;
    if !SENDABLE.contains(&kind.as_str()) {
        return invalid("content.type", format!("one of {}", SENDABLE.join(", ")));
    }
    only_what_goes_out(&new.content)?;
    parts_of_kind(&new.content, &new.attachments)?;
    attachments(new)?;
    small(&new.content, "content")?;
    small(&new.attachments, "attachments")?;
    if let Some(id) = &new.client_message_id
        && !((1..=255).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
    {
        return invalid("client_message_id", "1 to 255 visible ASCII characters");
    }
    Ok(())
}

fn only_what_goes_out(content: &Content) -> Result<(), HubError> {
    let foreign = [
        ("content.payload", content.payload.is_some()),
        ("content.order", content.order.is_some()),
        ("content.product", content.product.is_some()),
        ("content.referral", content.referral.is_some()),
        ("content.flow", content.flow.is_some()),
        ("content.forwarded", content.forwarded.is_some()),
        ("content.original_type", content.original_type.is_some()),
        ("content.errors", !content.errors.is_empty()),
        ("content.details", content.details.is_some()),
    ];
    match foreign.into_iter().find(|(_, there)| *there) {
        Some((field, _)) => invalid(field, "this only comes in and cannot be sent; leave it out"),
        None => Ok(()),
    }
}

fn parts_of_kind(content: &Content, attachments: &[Attachment]) -> Result<(), HubError> {
    let kind = content.kind.as_str();
    let text = content.text.as_deref().is_some_and(|text| !text.trim().is_empty());
    match kind {
        "text" if !text && attachments.is_empty() => invalid("content.text", "write something"),
        "buttons" | "quick_replies" | "cta_url" | "list" | "location_request" | "contact_request"
            if !text =>
        {
            invalid("content.text", "write something to stand above it")
        }
        "buttons" | "quick_replies" if content.buttons.is_empty() => {
            invalid("content.buttons", "give at least one")
        }
        "cta_url" if content.buttons.len() != 1 || content.buttons.iter().any(|b| b.url.is_none()) => {
            invalid("content.buttons", "give one button with a url")
        }
        "list" if content.list.as_ref().is_none_or(|l| l.sections.iter().all(|s| s.rows.is_empty())) => {
            invalid("content.list", "give a list with at least one row")
        }
        "location" => match &content.location {
            Some(place) if place.latitude.abs() <= 90.0 && place.longitude.abs() <= 180.0 => Ok(()),
            _ => invalid("content.location", "give latitude and longitude in degrees"),
        },
        "contacts" if content.contacts.is_empty() => invalid("content.contacts", "give at least one"),
        "template"
            if content.template.as_ref().is_none_or(|t| t.name.is_empty() || t.language.is_empty()) =>
        {
            invalid("content.template", "give name and language of an approved template")
        }
        "reaction" => match &content.reaction {
            Some(reaction) if reaction.external_id.is_some() => {
                invalid("content.reaction.external_id", "name the message by message_id")
            }
            Some(reaction) if reaction.message_id.is_some() => Ok(()),
            _ => invalid("content.reaction.message_id", "say which message it is for"),
        },
        _ => Ok(()),
    }
}

fn attachments(new: &NewReply) -> Result<(), HubError> {
    let kind = new.content.kind.as_str();
    if is_media(kind) && new.attachments.is_empty() {
        return invalid("attachments", format!("a message of type {kind} needs one"));
    }
    if !new.attachments.is_empty() && kind != "text" && !is_media(kind) {
        return invalid(
            "attachments",
            format!("a message of type {kind} takes none; send them by themselves"),
        );
    }
    if new.attachments.len() > ATTACHMENTS_MAX {
        return invalid("attachments", format!("at most {ATTACHMENTS_MAX}"));
    }
    for (at, attachment) in new.attachments.iter().enumerate() {
        if kind_of(attachment).is_none() {
            return invalid(&format!("attachments[{at}].kind"), format!("one of {}", MEDIA.join(", ")));
        }
        if attachment.id.is_some() {
            return invalid(&format!("attachments[{at}].id"), "the id is given by us; leave it out");
        }
        let media = attachment.media_id.as_deref().is_some_and(|id| !id.is_empty());
        match attachment.url.as_deref() {
            None if !media => {
                return invalid(&format!("attachments[{at}]"), "give a url, or the media_id of an upload");
            }
            Some(url) if !is_web_address(url) => {
                return invalid(&format!("attachments[{at}].url"), "an address that begins with https://");
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_web_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    url.len() <= URL_BYTES_MAX
        && rest
            .is_some_and(|rest| rest.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'['))
        && !url.bytes().any(|b| b.is_ascii_control() || b == b' ')
}

/// Small enough for one bus item and one kept answer, and without U+0000, which no provider takes.
fn small(value: &impl serde::Serialize, field: &str) -> Result<(), HubError> {
    let json = serde_json::to_string(value).map_err(|error| HubError::invalid(field, error.to_string()))?;
    if json.len() > JSON_BYTES_MAX {
        return invalid(field, format!("this is too large: at most {JSON_BYTES_MAX} bytes of JSON"));
    }
    if json.contains("\\u0000") && holds_nul(&serde_json::from_str(&json).unwrap_or_default()) {
        return invalid(field, "U+0000 cannot be sent");
    }
    Ok(())
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The provider messages that a reply comes to on such a channel: what is said, then each attachment
/// by itself. A text in front of attachments is its own message. A caption stays with the first
/// attachment where the channel takes one of its length there, and is such a text where not.
pub(crate) fn split(
    content: &Content,
    attachments: &[Attachment],
    can: &Capabilities,
) -> Vec<(Content, Option<Attachment>)> {
    let mut parts = Vec::with_capacity(attachments.len() + 1);
    let mut rest = attachments.iter();
    let text = content.text.as_deref().filter(|text| !text.trim().is_empty());
    if is_media(&content.kind) {
        let caption = text.filter(|text| can.takes_caption(&content.kind, text.chars().count()));
        if caption.is_none()
            && let Some(text) = text
        {
            parts.push((Content::text(text), None));
        }
        let captioned = Content { text: caption.map(str::to_owned), ..content.clone() };
        parts.push((captioned, rest.next().cloned()));
    } else if attachments.is_empty() || text.is_some() {
        parts.push((content.clone(), None));
    }
    for attachment in rest {
        let kind = kind_of(attachment).unwrap_or("document").to_owned();
        parts.push((Content { kind, ..Content::default() }, Some(attachment.clone())));
    }
    parts
}

#[cfg(test)]
mod tests {
    use loket_protocol::ids::{Id as _, MessageId};
    use loket_protocol::message::{Button, ReactionContent, Template};
    use loket_protocol::time::Timestamp;

    use super::*;
    use crate::requests::Target;

    fn reply(content: Content, attachments: Vec<Attachment>) -> NewReply {
        NewReply {
            content,
            attachments,
            to: Target::Auto,
            reply_to: None,
            client_message_id: None,
            epoch: None,
        }
    }

    fn picture(name: &str) -> Attachment {
        Attachment {
            kind: "image".to_owned(),
            url: Some(format!("https://shop.example/{name}.png")),
            ..Attachment::default()
        }
    }

    fn of_kind(kind: &str) -> Content {
        Content { kind: kind.to_owned(), ..Content::default() }
    }

    fn field(new: &NewReply) -> Option<String> {
        match shape(new) {
            Err(HubError::Invalid { field, .. }) => Some(field),
            _ => None,
        }
    }

    #[test]
    fn what_is_whole_passes() {
        let reaction = ReactionContent {
            message_id: Some(MessageId::mint(Timestamp::from_millis(1), [1; 10])),
            ..ReactionContent::default()
        };
        let template = Template { name: "a".into(), language: "nl".into(), components: None };
        for new in [
            reply(Content::text("Dag!"), vec![]),
            reply(Content::text("Kijk"), vec![picture("a"), picture("b")]),
            reply(of_kind("image"), vec![picture("a")]),
            reply(Content { reaction: Some(reaction), ..of_kind("reaction") }, vec![]),
            reply(Content { template: Some(template), ..of_kind("template") }, vec![]),
        ] {
            assert!(shape(&new).is_ok(), "{new:?}");
        }
    }

    #[test]
    fn what_is_not_whole_is_refused_by_its_field() {
        let nowhere = Attachment { kind: "image".to_owned(), ..Attachment::default() };
        let script = Attachment { url: Some("javascript:alert(1)".into()), ..picture("a") };
        let strange = Attachment { kind: "hologram".to_owned(), ..picture("a") };
        let payload = Content { payload: Some("x".into()), ..Content::text("x") };
        let buttons = Content { kind: "buttons".into(), ..Content::text("x") };
        let untold = Content { buttons: vec![Button::default()], ..of_kind("buttons") };
        for (new, expected) in vec![
            (reply(of_kind("telepathy"), vec![]), "content.type"),
            (reply(of_kind("unsupported"), vec![]), "content.type"),
            (reply(Content::text("  "), vec![]), "content.text"),
            (reply(Content::text("a\0b"), vec![]), "content"),
            (reply(Content::text("x".repeat(30_000)), vec![]), "content"),
            (reply(payload, vec![]), "content.payload"),
            (reply(buttons, vec![]), "content.buttons"),
            (reply(untold, vec![]), "content.text"),
            (reply(of_kind("image"), vec![]), "attachments"),
            (reply(of_kind("location"), vec![picture("a")]), "content.location"),
            (reply(of_kind("reaction"), vec![]), "content.reaction.message_id"),
            (reply(Content::text("x"), vec![nowhere]), "attachments[0]"),
            (reply(Content::text("x"), vec![picture("a"), script]), "attachments[1].url"),
            (reply(Content::text("x"), vec![strange]), "attachments[0].kind"),
            (reply(Content::text("x"), vec![picture("a"); 31]), "attachments"),
        ] {
            assert_eq!(field(&new).as_deref(), Some(expected), "{:?}", new.content.kind);
        }
        let id = NewReply { client_message_id: Some("é".into()), ..reply(Content::text("x"), vec![]) };
        assert_eq!(field(&id).as_deref(), Some("client_message_id"));
    }

    #[test]
    fn a_text_with_attachments_is_several_provider_messages_in_order() {
        let kinds = |content: Content, attachments: Vec<Attachment>| -> Vec<(String, bool)> {
            split(&content, &attachments, &can()).into_iter().map(|(c, a)| (c.kind, a.is_some())).collect()
        };
        let image = || ("image".to_owned(), true);
        let text = ("text".to_owned(), false);
        assert_eq!(
            kinds(Content::text("Kijk"), vec![picture("a"), picture("b")]),
            [text.clone(), image(), image()]
        );
        assert_eq!(kinds(of_kind("text"), vec![picture("a")]), [image()]);
        let caption = Content { text: Some("Kijk".into()), ..of_kind("image") };
        assert_eq!(kinds(caption.clone(), vec![picture("a"), picture("b")]), [image(), image()]);
        assert_eq!(split(&caption, &[picture("a")], &can())[0].0.text.as_deref(), Some("Kijk"));
        assert_eq!(kinds(Content::text("Dag"), vec![]), [text]);
    }

    #[test]
    fn a_caption_that_the_channel_does_not_take_is_a_text_in_front() {
        let said = |content: &Content, can: &Capabilities| -> Vec<(String, Option<String>, bool)> {
            let parts = split(content, &[picture("a"), picture("b")], can);
            parts.into_iter().map(|(c, a)| (c.kind, c.text, a.is_some())).collect()
        };
        let image = |text: Option<&str>| ("image".to_owned(), text.map(str::to_owned), true);
        let caption = Content { text: Some("Kijk!".into()), ..of_kind("image") };
        assert_eq!(said(&caption, &can()), [image(Some("Kijk!")), image(None)]);
        let in_front = [("text".to_owned(), Some("Kijk!".to_owned()), false), image(None), image(None)];
        let none = Capabilities { captions: Vec::new(), ..can() };
        assert_eq!(said(&caption, &none), in_front);
        let short = Capabilities { caption_chars_max: 4, ..can() };
        assert_eq!(said(&caption, &short), in_front);
        let blank = Content { text: Some("  ".into()), ..of_kind("image") };
        assert_eq!(said(&blank, &none), [image(None), image(None)]);
    }

    const DAY: i64 = 86_400_000;

    fn can() -> Capabilities {
        Capabilities {
            window_ms: Some(DAY),
            human_window_ms: Some(7 * DAY),
            reads_the_thread: false,
            text_chars_max: 10,
            content_types: vec!["text".into(), "image".into()],
            captions: vec!["image".into()],
            caption_chars_max: 10,
            reactions: false,
        }
    }
}
