//! How the Cloud API reads a send: everything of `whatsapp` §11 with its limits.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::simulator::phone::{Choice, Draft, File, Needs, Place, To};
use crate::simulator::read::{chars, is_link, list, owned, text};
use crate::simulator::refusal::Refusal;

use super::templates;

/// What the checks have to know of the world.
pub(crate) trait Facts {
    /// The file of a media id: its kind is that of its MIME type.
    fn file(&self, media_id: &str) -> Option<File>;
    /// Is it the id of a message in any conversation of this channel account?
    fn has_message(&self, id: &str) -> bool;
    /// Is it the id of a message of a customer?
    fn is_inbound(&self, id: &str) -> bool;
}

/// What a request to `/messages` asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A message.
    Send(Box<Draft>),
    /// Read up to this message, and perhaps typing.
    Read {
        /// The customer's message.
        message_id: String,
        /// With a typing indicator.
        types: bool,
    },
}

const TEXT_CHARS_MAX: usize = 4_096;
const CAPTION_CHARS_MAX: usize = 1_024;
const BODY_CHARS_MAX: usize = 1_024;
const LIST_BODY_CHARS_MAX: usize = 4_096;
const HEADER_CHARS_MAX: usize = 60;
const BUTTONS_MAX: usize = 3;
const LABEL_CHARS_MAX: usize = 20;
const BUTTON_ID_CHARS_MAX: usize = 256;
const SECTIONS_MAX: usize = 10;
const ROWS_MAX: usize = 10;
const ROW_TITLE_CHARS_MAX: usize = 24;
const ROW_DESCRIPTION_CHARS_MAX: usize = 72;
const ROW_ID_CHARS_MAX: usize = 200;
const FLOW_LABEL_CHARS_MAX: usize = 30;
const OPAQUE_CHARS_MAX: usize = 512;

fn parameter(name: &str, what: &str) -> Refusal {
    Refusal::new(100, format!("Param {name} {what}"))
}

fn required(name: &str) -> Refusal {
    Refusal::new(100, format!("The parameter {name} is required."))
}

fn missing(what: &str) -> Refusal {
    Refusal::new(131_008, "Required parameter is missing").details(format!("{what} is missing"))
}

fn invalid(details: impl Into<String>) -> Refusal {
    Refusal::new(131_009, "Parameter value is not valid").details(details)
}

/// Reads a request to `/{phone-number-id}/messages`.
pub(crate) fn check(body: &Value, facts: &dyn Facts) -> Result<Asked, Refusal> {
    if text(body, "/messaging_product") != Some("whatsapp") {
        return Err(required("messaging_product"));
    }
    if body.get("status").is_some() {
        return read_mark(body, facts);
    }
    let to = recipient(body)?;
    let kind = text(body, "/type").unwrap_or("text");
    let mut draft = match kind {
        "text" => text_message(to, body),
        "image" | "video" | "audio" | "document" | "sticker" => media(to, kind, body, facts),
        "location" => location(to, body),
        "contacts" => contacts(to, body),
        "reaction" => reaction(to, body, facts),
        "interactive" => interactive(to, body, facts),
        "template" => template(to, body, facts),
        _ => Err(parameter(
            "type",
            "must be one of {AUDIO, CONTACTS, DOCUMENT, IMAGE, INTERACTIVE, LOCATION, REACTION, STICKER, \
             TEMPLATE, TEXT, VIDEO}",
        )),
    }?;
    draft.outbox_id = owned(body, "/biz_opaque_callback_data");
    if draft.outbox_id.as_deref().is_some_and(|id| chars(id) > OPAQUE_CHARS_MAX) {
        return Err(parameter("biz_opaque_callback_data", "must be at most 512 characters long."));
    }
    if let Some(target) = text(body, "/context/message_id") {
        if !facts.has_message(target) {
            return Err(invalid("context.message_id is not a message of this conversation"));
        }
        draft.reply_to = Some(target.to_owned());
    }
    draft.identity_hash = owned(body, "/recipient_identity_key_hash");
    Ok(Asked::Send(Box::new(draft)))
}

fn read_mark(body: &Value, facts: &dyn Facts) -> Result<Asked, Refusal> {
    if text(body, "/status") != Some("read") {
        return Err(parameter("status", "must be one of {READ}"));
    }
    let message_id = text(body, "/message_id").ok_or_else(|| required("message_id"))?;
    if !facts.is_inbound(message_id) {
        return Err(invalid("message_id is not a message that was received"));
    }
    let types = match body.get("typing_indicator") {
        None | Some(Value::Null) => false,
        Some(indicator) if text(indicator, "/type") == Some("text") => true,
        Some(_) => return Err(parameter("typing_indicator['type']", "must be one of {TEXT}")),
    };
    Ok(Asked::Read { message_id: message_id.to_owned(), types })
}

/// `to` wins over `recipient` (`whatsapp` §11).
fn recipient(body: &Value) -> Result<To, Refusal> {
    match text(body, "/recipient_type") {
        None | Some("individual") => {}
        Some("group") => return Err(Refusal::new(131_041, "Group unknown").details("No group of that id")),
        Some(_) => return Err(parameter("recipient_type", "must be one of {INDIVIDUAL, GROUP}")),
    }
    if let Some(to) = text(body, "/to").filter(|to| !to.is_empty()) {
        let is_number = to.chars().all(|sign| sign.is_ascii_digit() || "+ -()".contains(sign))
            && to.chars().any(|sign| sign.is_ascii_digit());
        return if is_number {
            Ok(To::Phone(to.to_owned()))
        } else {
            Err(invalid("to is not a phone number"))
        };
    }
    match text(body, "/recipient").filter(|to| !to.is_empty()) {
        Some(bsuid) => Ok(To::Bsuid(bsuid.to_owned())),
        None => Err(required("to")),
    }
}

fn text_message(to: To, body: &Value) -> Result<Draft, Refusal> {
    let words = text(body, "/text/body").ok_or_else(|| required("text['body']"))?;
    if words.is_empty() {
        return Err(required("text['body']"));
    }
    if chars(words) > TEXT_CHARS_MAX {
        return Err(parameter("text['body']", "must be at most 4096 characters long."));
    }
    Ok(Draft { text: Some(words.to_owned()), ..Draft::new(to, "text") })
}

/// The file of a media object: exactly one of `id` and `link`.
pub(super) fn file(kind: &str, own: &Value, facts: &dyn Facts) -> Result<File, Refusal> {
    match (text(own, "/id"), text(own, "/link")) {
        (Some(id), None) => {
            let stored = facts.file(id).ok_or_else(|| {
                parameter(
                    &format!("{kind}['id']"),
                    "is not a valid whatsapp business account media attachment ID",
                )
            })?;
            if stored.kind != kind {
                return Err(Refusal::new(131_053, "Media upload error")
                    .details(format!("the file is a {}, not a {kind}", stored.kind)));
            }
            Ok(stored)
        }
        (None, Some(link)) if is_link(link) => Ok(File {
            kind: kind.to_owned(),
            media_id: None,
            link: Some(link.to_owned()),
            mime: None,
            name: None,
        }),
        (None, Some(_)) => Err(parameter(&format!("{kind}['link']"), "is not a valid URI.")),
        (Some(_), Some(_)) => Err(invalid(format!("{kind}: give id or link, not both"))),
        (None, None) => Err(required(&format!("{kind}['id'] or {kind}['link']"))),
    }
}

fn media(to: To, kind: &str, body: &Value, facts: &dyn Facts) -> Result<Draft, Refusal> {
    let own = body.get(kind).ok_or_else(|| required(kind))?;
    let kind = match kind {
        "image" => "image",
        "video" => "video",
        "audio" => "audio",
        "document" => "document",
        _ => "sticker",
    };
    let mut file = file(kind, own, facts)?;
    let caption = owned(own, "/caption").filter(|caption| !caption.is_empty());
    if caption.is_some() && matches!(kind, "audio" | "sticker") {
        return Err(parameter(&format!("{kind}['caption']"), "is not supported for this type"));
    }
    if caption.as_deref().is_some_and(|caption| chars(caption) > CAPTION_CHARS_MAX) {
        return Err(parameter(&format!("{kind}['caption']"), "must be at most 1024 characters long."));
    }
    if own.get("voice") == Some(&Value::Bool(true))
        && file.mime.as_deref().is_some_and(|mime| !mime.starts_with("audio/ogg"))
    {
        return Err(Refusal::new(131_053, "Media upload error").details("a voice message is OGG with OPUS"));
    }
    file.name = owned(own, "/filename").or(file.name);
    Ok(Draft { text: caption, files: vec![file], ..Draft::new(to, kind) })
}

fn location(to: To, body: &Value) -> Result<Draft, Refusal> {
    let own = body.get("location").ok_or_else(|| required("location"))?;
    let coordinate = |name: &str, most: f64| {
        let value = own.get(name).ok_or_else(|| required(&format!("location['{name}']")))?;
        let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
        let is_good = |number: &f64| number.is_finite() && number.abs() <= most;
        number
            .filter(is_good)
            .ok_or_else(|| parameter(&format!("location['{name}']"), "is not a valid coordinate"))
    };
    let place = Place {
        latitude: coordinate("latitude", 90.0)?,
        longitude: coordinate("longitude", 180.0)?,
        name: owned(own, "/name"),
        address: owned(own, "/address"),
    };
    Ok(Draft { place: Some(place), ..Draft::new(to, "location") })
}

fn contacts(to: To, body: &Value) -> Result<Draft, Refusal> {
    let cards = list(body, "/contacts");
    if cards.is_empty() {
        return Err(required("contacts"));
    }
    let mut lines = Vec::new();
    for card in cards {
        let name = text(card, "/name/formatted_name").ok_or_else(|| missing("name.formatted_name"))?;
        let parts = ["first_name", "last_name", "middle_name", "prefix", "suffix"];
        if !parts.iter().any(|part| card.pointer(&format!("/name/{part}")).is_some()) {
            return Err(missing("one more part of name beside formatted_name"));
        }
        let phones: Vec<_> = list(card, "/phones").iter().filter_map(|phone| text(phone, "/phone")).collect();
        lines.push(format!("{name} {}", phones.join(", ")).trim().to_owned());
    }
    Ok(Draft { text: Some(lines.join("\n")), ..Draft::new(to, "contacts") })
}

fn reaction(to: To, body: &Value, facts: &dyn Facts) -> Result<Draft, Refusal> {
    let target = text(body, "/reaction/message_id").ok_or_else(|| required("reaction['message_id']"))?;
    let emoji = text(body, "/reaction/emoji").ok_or_else(|| required("reaction['emoji']"))?;
    if !facts.has_message(target) {
        return Err(invalid("reaction.message_id is unknown or too old"));
    }
    if emoji.is_ascii() && !emoji.is_empty() {
        return Err(invalid("reaction.emoji is not an emoji"));
    }
    Ok(Draft { reaction: Some((target.to_owned(), emoji.to_owned())), ..Draft::new(to, "reaction") })
}

fn template(to: To, body: &Value, facts: &dyn Facts) -> Result<Draft, Refusal> {
    let filled = templates::fill(body.get("template").ok_or_else(|| required("template"))?, facts)?;
    Ok(Draft {
        text: Some(filled.text),
        files: filled.files,
        choices: filled.choices,
        needs: Needs::Nothing,
        needs_phone: filled.needs_phone,
        ..Draft::new(to, "template")
    })
}

/// A text of 1 to `most` characters.
fn label(own: &Value, pointer: &str, what: &str, most: usize) -> Result<String, Refusal> {
    let words = text(own, pointer).ok_or_else(|| missing(what))?;
    if words.is_empty() || chars(words) > most {
        return Err(invalid(format!("{what} length invalid. Min length: 1, Max length: {most}")));
    }
    Ok(words.to_owned())
}

fn interactive(to: To, body: &Value, facts: &dyn Facts) -> Result<Draft, Refusal> {
    let own = body.get("interactive").ok_or_else(|| required("interactive"))?;
    let kind = text(own, "/type").ok_or_else(|| missing("interactive.type"))?;
    let most = if kind == "list" { LIST_BODY_CHARS_MAX } else { BODY_CHARS_MAX };
    let mut draft = Draft::new(to, "interactive");
    header(own, kind, facts, &mut draft)?;
    let mut lines: Vec<String> = draft.text.take().into_iter().collect();
    lines.push(label(own, "/body/text", "Body text", most)?);
    if own.get("footer").is_some_and(|footer| !footer.is_null()) {
        lines.push(label(own, "/footer/text", "Footer text", HEADER_CHARS_MAX)?);
    }
    draft.text = Some(lines.join("\n"));
    draft.choices = match kind {
        "button" => buttons(own),
        "list" => rows(own),
        "cta_url" => link(own),
        "location_request_message" => named(own, "send_location"),
        "request_contact_info" => named(own, "request_contact_info"),
        "flow" => flow(own),
        other => Err(invalid(format!("interactive.type {other} is not one that is sent here"))),
    }?;
    Ok(draft)
}

fn header(own: &Value, kind: &str, facts: &dyn Facts, draft: &mut Draft) -> Result<(), Refusal> {
    let Some(header) = own.get("header").filter(|header| !header.is_null()) else { return Ok(()) };
    match text(header, "/type") {
        Some("text") => {
            draft.text = Some(label(header, "/text", "Header text", HEADER_CHARS_MAX)?);
        }
        Some(media @ ("image" | "video" | "document")) if kind != "list" => {
            let own = header.get(media).ok_or_else(|| missing("the header's file"))?;
            draft.files.push(file(media, own, facts)?);
        }
        _ => return Err(invalid("header.type is not allowed here")),
    }
    Ok(())
}

fn buttons(own: &Value) -> Result<Vec<Choice>, Refusal> {
    let given = list(own, "/action/buttons");
    if given.is_empty() || given.len() > BUTTONS_MAX {
        return Err(invalid("Invalid buttons count. Min allowed buttons: 1, Max allowed buttons: 3"));
    }
    let mut choices = Vec::new();
    for button in given {
        if text(button, "/type") != Some("reply") {
            return Err(invalid("button.type must be reply"));
        }
        choices.push(Choice {
            id: label(button, "/reply/id", "Button id", BUTTON_ID_CHARS_MAX)?,
            title: label(button, "/reply/title", "Button title", LABEL_CHARS_MAX)?,
            description: None,
            kind: "reply",
        });
    }
    unique(&choices, |choice| &choice.id, "button ids")?;
    unique(&choices, |choice| &choice.title, "button titles")?;
    Ok(choices)
}

fn unique(choices: &[Choice], key: impl Fn(&Choice) -> &String, what: &str) -> Result<(), Refusal> {
    let distinct: BTreeSet<_> = choices.iter().map(key).collect();
    if distinct.len() == choices.len() { Ok(()) } else { Err(invalid(format!("Duplicated {what}"))) }
}

fn rows(own: &Value) -> Result<Vec<Choice>, Refusal> {
    label(own, "/action/button", "List button label", LABEL_CHARS_MAX)?;
    let sections = list(own, "/action/sections");
    if sections.is_empty() || sections.len() > SECTIONS_MAX {
        return Err(invalid("Invalid sections count. Min allowed sections: 1, Max allowed sections: 10"));
    }
    let mut choices = Vec::new();
    for section in sections {
        if sections.len() > 1 || section.get("title").is_some() {
            label(section, "/title", "Section title", ROW_TITLE_CHARS_MAX)?;
        }
        let given = list(section, "/rows");
        if given.is_empty() {
            return Err(invalid("A section has at least one row"));
        }
        for row in given {
            let description = match row.get("description") {
                None | Some(Value::Null) => None,
                Some(_) => Some(label(row, "/description", "Row description", ROW_DESCRIPTION_CHARS_MAX)?),
            };
            choices.push(Choice {
                id: label(row, "/id", "Row id", ROW_ID_CHARS_MAX)?,
                title: label(row, "/title", "Row title", ROW_TITLE_CHARS_MAX)?,
                description,
                kind: "row",
            });
        }
    }
    if choices.len() > ROWS_MAX {
        return Err(invalid("Total row count exceed max allowed count: 10"));
    }
    unique(&choices, |choice| &choice.id, "row ids")?;
    Ok(choices)
}

fn action(own: &Value, name: &str) -> Result<(), Refusal> {
    if text(own, "/action/name") == Some(name) {
        Ok(())
    } else {
        Err(invalid(format!("action.name must be {name}")))
    }
}

fn link(own: &Value) -> Result<Vec<Choice>, Refusal> {
    action(own, "cta_url")?;
    let title = label(own, "/action/parameters/display_text", "Display text", LABEL_CHARS_MAX)?;
    let url = text(own, "/action/parameters/url").ok_or_else(|| missing("action.parameters.url"))?;
    if !is_link(url) {
        return Err(invalid("action.parameters.url is not a valid URL"));
    }
    Ok(vec![Choice { id: url.to_owned(), title, description: None, kind: "link" }])
}

fn named(own: &Value, name: &'static str) -> Result<Vec<Choice>, Refusal> {
    action(own, name)?;
    Ok(vec![Choice { id: name.to_owned(), title: name.to_owned(), description: None, kind: "request" }])
}

fn flow(own: &Value) -> Result<Vec<Choice>, Refusal> {
    action(own, "flow")?;
    let title = label(own, "/action/parameters/flow_cta", "Flow call to action", FLOW_LABEL_CHARS_MAX)?;
    if text(own, "/action/parameters/flow_message_version") != Some("3") {
        return Err(invalid("flow_message_version must be 3"));
    }
    let id = owned(own, "/action/parameters/flow_id")
        .or_else(|| owned(own, "/action/parameters/flow_name"))
        .ok_or_else(|| missing("flow_id"))?;
    Ok(vec![Choice { id, title, description: None, kind: "flow" }])
}
