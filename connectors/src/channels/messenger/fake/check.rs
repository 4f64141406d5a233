//! How the Send API reads a request: everything of `messenger` §11 with its limits.

use serde_json::Value;

use crate::simulator::phone::{Choice, Draft, File, Needs, To};
use crate::simulator::read::{chars, is_link, list, owned, text};
use crate::simulator::refusal::Refusal;

/// What the checks have to know of the world.
pub(crate) trait Facts {
    /// The file of a saved attachment of this Page.
    fn attachment(&self, id: &str) -> Option<File>;
    /// Is it the id of a message in the conversation with this person?
    fn has_message(&self, psid: &str, mid: &str) -> bool;
}

/// What a request to `/messages` asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A message; `is_reusable` asks for an attachment id.
    Send {
        /// The message.
        draft: Box<Draft>,
        /// Keep the attachment.
        is_reusable: bool,
    },
    /// `typing_on`, `typing_off` or `mark_seen`.
    Action {
        /// The person.
        psid: String,
        /// Which one.
        action: String,
    },
}

/// Shorter than this (`messenger` §11).
const TEXT_CHARS_END: usize = 2_000;
const METADATA_CHARS_END: usize = 1_000;
const QUICK_REPLIES_MAX: usize = 13;
const TITLE_CHARS_MAX: usize = 20;
const PAYLOAD_CHARS_MAX: usize = 1_000;
const TEMPLATE_TEXT_CHARS_MAX: usize = 640;
const BUTTONS_MAX: usize = 3;
const ELEMENTS_MAX: usize = 10;
const ELEMENT_CHARS_MAX: usize = 80;
const IMAGES_MAX: usize = 30;

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(100, message)
}

/// Reads a request to `/{page-id}/messages`.
pub(crate) fn check(body: &Value, facts: &dyn Facts) -> Result<Asked, Refusal> {
    let psid = text(body, "/recipient/id").filter(|id| !id.is_empty()).ok_or_else(|| {
        if body.get("recipient").is_some_and(Value::is_object) {
            bad("No matching user found").subcode(2_018_001)
        } else {
            bad("The parameter recipient is required")
        }
    })?;
    let message = body.get("message").filter(|message| !message.is_null());
    if let Some(action) = body.get("sender_action").filter(|action| !action.is_null()) {
        if message.is_some() {
            return Err(bad("Cannot send message and sender_action together").subcode(2_018_014));
        }
        return match action.as_str() {
            Some(action @ ("typing_on" | "typing_off" | "mark_seen")) => {
                Ok(Asked::Action { psid: psid.to_owned(), action: action.to_owned() })
            }
            _ => Err(bad("Param sender_action must be one of {MARK_SEEN, TYPING_ON, TYPING_OFF}")),
        };
    }
    let message = message.ok_or_else(|| bad("The parameter message is required"))?;
    if let Some(kind) = text(body, "/notification_type")
        && !matches!(kind, "REGULAR" | "SILENT_PUSH" | "NO_PUSH")
    {
        return Err(bad("Param notification_type must be one of {REGULAR, SILENT_PUSH, NO_PUSH}"));
    }
    let (mut draft, is_reusable) = content(To::Psid(psid.to_owned()), message, facts)?;
    draft.needs = needs(body, message)?;
    draft.sent = message.clone();
    draft.outbox_id = owned(message, "/metadata");
    if draft.outbox_id.as_deref().is_some_and(|metadata| chars(metadata) >= METADATA_CHARS_END) {
        return Err(bad("Length of param message[metadata] must be less than 1000"));
    }
    if let Some(reply_to) = body.get("reply_to").filter(|reply_to| !reply_to.is_null()) {
        let mid = text(reply_to, "/mid").ok_or_else(|| bad("The parameter reply_to[mid] is required"))?;
        if !facts.has_message(psid, mid) {
            return Err(bad("Invalid reply_to: the message is not in this conversation"));
        }
        draft.reply_to = Some(mid.to_owned());
    }
    Ok(Asked::Send { draft: Box::new(draft), is_reusable })
}

fn needs(body: &Value, message: &Value) -> Result<Needs, Refusal> {
    let tag = text(body, "/tag");
    match text(body, "/messaging_type") {
        Some("RESPONSE" | "UPDATE") => Ok(Needs::Window),
        Some("MESSAGE_TAG") => match tag {
            Some("HUMAN_AGENT") => Ok(Needs::Week),
            Some("CUSTOMER_FEEDBACK") => {
                if text(message, "/attachment/payload/template_type") == Some("customer_feedback") {
                    Ok(Needs::Week)
                } else {
                    Err(bad("The tag CUSTOMER_FEEDBACK goes with a customer_feedback template only"))
                }
            }
            Some(_) => Err(bad("Param tag must be one of {HUMAN_AGENT, CUSTOMER_FEEDBACK}")),
            None => Err(bad("The parameter tag is required")),
        },
        Some("UTILITY") if message.get("template").is_some() => Ok(Needs::Nothing),
        Some("UTILITY") => Err(bad("The parameter message[template] is required")),
        Some(_) => Err(bad("Param messaging_type must be one of {MESSAGE_TAG, RESPONSE, UPDATE, UTILITY}")),
        None => Err(bad("The parameter messaging_type is required")),
    }
}

fn content(to: To, message: &Value, facts: &dyn Facts) -> Result<(Draft, bool), Refusal> {
    let words = text(message, "/text").filter(|words| !words.is_empty());
    let attachment = message.get("attachment").filter(|own| !own.is_null());
    let pictures = list(message, "/attachments");
    let template = message.get("template").filter(|own| !own.is_null());
    let parts = usize::from(words.is_some())
        + usize::from(attachment.is_some())
        + usize::from(!pictures.is_empty())
        + usize::from(template.is_some());
    if parts != 1 {
        return Err(bad("Must provide either text or attachment in the message"));
    }
    let mut is_reusable = false;
    let mut draft = if let Some(words) = words {
        if chars(words) >= TEXT_CHARS_END {
            return Err(bad("Length of param message[text] must be less than 2000"));
        }
        Draft { text: Some(words.to_owned()), ..Draft::new(to, "text") }
    } else if let Some(attachment) = attachment {
        is_reusable = attachment.pointer("/payload/is_reusable") == Some(&Value::Bool(true));
        one(to, attachment, facts)?
    } else if let Some(template) = template {
        let name = text(template, "/name")
            .ok_or_else(|| bad("The parameter message[template][name] is required"))?;
        if text(template, "/language/code").is_none() {
            return Err(bad("The parameter message[template][language][code] is required"));
        }
        Draft { text: Some(name.to_owned()), ..Draft::new(to, "template") }
    } else {
        if pictures.len() > IMAGES_MAX {
            return Err(bad("At most 30 attachments in one message"));
        }
        let mut draft = Draft::new(to, "image");
        for picture in pictures {
            if text(picture, "/type") != Some("image") {
                return Err(bad("message[attachments] may hold images only"));
            }
            draft.files.push(file("image", picture, facts)?);
        }
        draft
    };
    let quick_replies = quick_replies(message)?;
    draft.choices.extend(quick_replies);
    Ok((draft, is_reusable))
}

/// The file of an attachment object: a link or a saved attachment.
pub(crate) fn file(kind: &str, attachment: &Value, facts: &dyn Facts) -> Result<File, Refusal> {
    let payload = attachment.get("payload").unwrap_or(&Value::Null);
    let saved =
        payload.get("attachment_id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    match (text(payload, "/url"), saved) {
        (Some(url), None) if is_link(url) => Ok(File {
            kind: kind.to_owned(),
            media_id: None,
            link: Some(url.to_owned()),
            mime: None,
            name: None,
        }),
        (Some(_), None) => Err(bad("Failed to fetch the file from the url").subcode(2_018_008)),
        (None, Some(id)) => facts
            .attachment(&id)
            .filter(|stored| stored.kind == kind)
            .ok_or_else(|| bad("Invalid attachment id").subcode(2_018_074)),
        _ => Err(bad("The parameter message[attachment][payload][url] is required")),
    }
}

fn one(to: To, attachment: &Value, facts: &dyn Facts) -> Result<Draft, Refusal> {
    let kind = match text(attachment, "/type") {
        Some("image") => "image",
        Some("video") => "video",
        Some("audio") => "audio",
        Some("file") => "document",
        Some("template") => return template(to, attachment.get("payload").unwrap_or(&Value::Null)),
        _ => {
            return Err(bad(
                "Param message[attachment][type] must be one of {AUDIO, FILE, IMAGE, TEMPLATE, VIDEO}",
            ));
        }
    };
    Ok(Draft { files: vec![file(kind, attachment, facts)?], ..Draft::new(to, kind) })
}

/// A text of 1 to `most` characters.
fn label(own: &Value, pointer: &str, what: &str, most: usize) -> Result<String, Refusal> {
    let words = text(own, pointer).ok_or_else(|| bad(format!("The parameter {what} is required")))?;
    if words.is_empty() || chars(words) > most {
        return Err(bad(format!("Length of param {what} must be from 1 to {most}")));
    }
    Ok(words.to_owned())
}

fn quick_replies(message: &Value) -> Result<Vec<Choice>, Refusal> {
    let given = list(message, "/quick_replies");
    if given.len() > QUICK_REPLIES_MAX {
        return Err(bad("Param message[quick_replies] has too many elements: at most 13"));
    }
    let mut choices = Vec::new();
    for reply in given {
        let (id, title) = match text(reply, "/content_type") {
            Some("text") => (
                label(reply, "/payload", "quick_replies[payload]", PAYLOAD_CHARS_MAX)?,
                label(reply, "/title", "quick_replies[title]", TITLE_CHARS_MAX)?,
            ),
            Some(kind @ ("user_phone_number" | "user_email")) => (kind.to_owned(), kind.to_owned()),
            _ => {
                return Err(bad(
                    "Param quick_replies[content_type] must be one of {TEXT, USER_EMAIL, USER_PHONE_NUMBER}",
                ));
            }
        };
        choices.push(Choice { id, title, description: None, kind: "quick_reply" });
    }
    Ok(choices)
}

fn buttons(own: &Value) -> Result<Vec<Choice>, Refusal> {
    let given = list(own, "/buttons");
    if given.len() > BUTTONS_MAX {
        return Err(bad("Param buttons must have 1 to 3 elements"));
    }
    let mut choices = Vec::new();
    for button in given {
        let title = label(button, "/title", "buttons[title]", TITLE_CHARS_MAX)?;
        let (id, kind) = match text(button, "/type") {
            Some("web_url") => {
                let url = owned(button, "/url").filter(|url| is_link(url));
                (url.ok_or_else(|| bad("Param buttons[url] should represent a valid URL"))?, "link")
            }
            Some("postback") => {
                (label(button, "/payload", "buttons[payload]", PAYLOAD_CHARS_MAX)?, "postback")
            }
            Some("phone_number") => {
                (label(button, "/payload", "buttons[payload]", PAYLOAD_CHARS_MAX)?, "call")
            }
            _ => return Err(bad("Param buttons[type] must be one of {PHONE_NUMBER, POSTBACK, WEB_URL}")),
        };
        choices.push(Choice { id, title, description: None, kind });
    }
    Ok(choices)
}

fn template(to: To, payload: &Value) -> Result<Draft, Refusal> {
    let mut draft = Draft::new(to, "template");
    match text(payload, "/template_type") {
        Some("button") => {
            draft.text = Some(label(payload, "/text", "payload[text]", TEMPLATE_TEXT_CHARS_MAX)?);
            draft.choices = buttons(payload)?;
            if draft.choices.is_empty() {
                return Err(bad("Param buttons must have 1 to 3 elements"));
            }
        }
        Some("generic") => {
            let elements = list(payload, "/elements");
            if elements.is_empty() || elements.len() > ELEMENTS_MAX {
                return Err(bad("Param elements must have 1 to 10 elements"));
            }
            let mut lines = Vec::new();
            for element in elements {
                lines.push(label(element, "/title", "elements[title]", ELEMENT_CHARS_MAX)?);
                if element.get("subtitle").is_some() {
                    lines.push(label(element, "/subtitle", "elements[subtitle]", ELEMENT_CHARS_MAX)?);
                }
                let others = ["subtitle", "image_url", "default_action", "buttons"];
                if !others.iter().any(|key| element.get(key).is_some()) {
                    return Err(bad("An element needs one more property beside its title"));
                }
                draft.choices.extend(buttons(element)?);
            }
            draft.text = Some(lines.join("\n"));
        }
        Some("customer_feedback") => {
            draft.text = Some(label(payload, "/title", "payload[title]", ELEMENT_CHARS_MAX)?);
        }
        _ => return Err(bad("Param template_type must be one of {BUTTON, CUSTOMER_FEEDBACK, GENERIC}")),
    }
    Ok(draft)
}
