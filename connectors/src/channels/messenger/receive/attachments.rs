//! What hangs on a message: media, stickers, places, links, shares and cards (`messenger` §5, §13).

use std::fmt::Write as _;

use loket_protocol::message::{Attachment, AttachmentState, Button, Location, Product};
use serde_json::{Map, Value, json};

use crate::meta;

/// The attachments of a message, sorted by where they belong.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// What stays an attachment, in order.
    pub(super) attachments: Vec<Attachment>,
    /// The first place.
    pub(super) location: Option<Location>,
    /// Shared products, as they came.
    pub(super) products: Vec<Value>,
    /// The payload of the first template that the company sent.
    pub(super) template: Option<Value>,
    /// Instagram's heart.
    pub(super) heart: bool,
}

/// Reads `attachments` and the old place of a sticker's id. One that cannot be read stays as
/// `unsupported` with everything that came, so that the message is never lost by it.
pub(super) fn read(message: &Value, outgoing: bool) -> Parts {
    let mut parts = Parts::default();
    match meta::field(message, "attachments") {
        Some(Value::Array(items)) => {
            for item in items.iter().filter(|item| !item.is_null()) {
                add(&mut parts, item, outgoing);
            }
        }
        Some(single @ Value::Object(_)) => add(&mut parts, single, outgoing),
        Some(junk) => parts.attachments.push(unsupported(junk)),
        None => {}
    }
    if let Some(id) = meta::number(message, "sticker_id") {
        name_sticker(&mut parts.attachments, id);
    }
    merge_stickers(&mut parts.attachments);
    parts
}

fn add(parts: &mut Parts, item: &Value, outgoing: bool) {
    let payload = meta::field(item, "payload").unwrap_or(&Value::Null);
    let kind = meta::field(item, "type").and_then(Value::as_str).unwrap_or_default();
    let attachment = match kind {
        "image" | "video" | "audio" | "file" | "sticker" => media(kind, item, payload),
        "location" => match location(item, payload) {
            Some(place) if parts.location.is_none() => {
                parts.location = Some(place);
                return;
            }
            _ => unsupported(item),
        },
        "fallback" => link(item, payload),
        "reel" | "ig_reel" | "post" | "ig_post" | "share" | "story_mention" | "ig_story" | "story"
        | "media" | "ephemeral" => share(kind, item, payload),
        "like_heart" => {
            parts.heart = true;
            return;
        }
        "template" => match card(parts, item, payload, outgoing) {
            Some(attachment) => attachment,
            None => return,
        },
        "appointment_booking" => appointment(item, payload),
        _ => unsupported(item),
    };
    parts.attachments.push(attachment);
}

/// Only http and https are links (`messenger` §15.8).
pub(super) fn is_link(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    matches!(scheme, Some((scheme, rest)) if (scheme == "https" || scheme == "http") && !rest.is_empty())
}

/// The address of an attachment: in its payload, else beside it.
fn address(item: &Value, payload: &Value) -> Option<String> {
    meta::text(payload, "url").or_else(|| meta::text(item, "url"))
}

fn title(item: &Value, payload: &Value) -> Option<String> {
    meta::text(payload, "title").or_else(|| meta::text(item, "title"))
}

fn media(kind: &str, item: &Value, payload: &Value) -> Attachment {
    let sticker_id = meta::number(payload, "sticker_id");
    let kind = if sticker_id.is_some() { "sticker" } else { kind };
    let url = address(item, payload).filter(|url| is_link(url));
    Attachment {
        kind: kind.to_owned(),
        state: if url.is_some() { AttachmentState::Remote } else { AttachmentState::None },
        filename: url.as_deref().filter(|_| kind == "file").and_then(filename),
        details: url.is_none().then(|| item.clone()),
        title: title(item, payload),
        url,
        sticker_id,
        ..Attachment::default()
    }
}

/// The last step of the address's path: the only place where a file's name is given.
fn filename(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let (_, after_host) = path.split_once("://")?.1.split_once('/')?;
    let encoded = after_host.rsplit('/').next().filter(|name| !name.is_empty())?;
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    Some(String::from_utf8_lossy(&bytes).replace('\0', "\u{FFFD}"))
}

fn location(item: &Value, payload: &Value) -> Option<Location> {
    let coordinates = meta::field(payload, "coordinates")?;
    let degrees = |key: &str, most: f64| {
        let value = meta::field(coordinates, key)?;
        let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
        (number.abs() <= most).then_some(number)
    };
    Some(Location {
        latitude: degrees("lat", 90.0)?,
        longitude: degrees("long", 180.0)?,
        name: title(item, payload),
        address: None,
        url: address(item, payload).filter(|url| is_link(url)),
    })
}

/// `fallback`: a shared link, or the platform's word that it cannot describe a thing.
fn link(item: &Value, payload: &Value) -> Attachment {
    let url = address(item, payload).filter(|url| is_link(url));
    if payload.is_null() || url.is_none() {
        return unsupported(item);
    }
    Attachment { kind: "link".to_owned(), ..bytes_less(url, title(item, payload), None) }
}

/// A reel, post or story. An address without a scheme is only text and becomes the title where
/// there is none.
fn share(kind: &str, item: &Value, payload: &Value) -> Attachment {
    let (url, words) = match address(item, payload) {
        Some(url) if is_link(&url) => (Some(url), None),
        other => (None, other),
    };
    let mut details: Map<String, Value> = payload.as_object().cloned().unwrap_or_default();
    details.insert("type".to_owned(), Value::from(kind));
    let title = title(item, payload).or(words);
    Attachment { kind: "share".to_owned(), ..bytes_less(url, title, Some(Value::Object(details))) }
}

fn unsupported(item: &Value) -> Attachment {
    let payload = meta::field(item, "payload").unwrap_or(&Value::Null);
    let url = address(item, payload).filter(|url| is_link(url));
    let title = title(item, payload);
    Attachment { kind: "unsupported".to_owned(), ..bytes_less(url, title, Some(item.clone())) }
}

/// An attachment that is nothing to fetch.
fn bytes_less(url: Option<String>, title: Option<String>, details: Option<Value>) -> Attachment {
    Attachment { state: AttachmentState::None, url, title, details, ..Attachment::default() }
}

/// A template: shared products, the company's own template in an echo, or a card that somebody
/// shared. `None` when it has found its place in `parts`.
fn card(parts: &mut Parts, item: &Value, payload: &Value, outgoing: bool) -> Option<Attachment> {
    let elements = meta::field(payload, "product").map_or(&[][..], |product| meta::list(product, "elements"));
    let products: Vec<Value> = elements.iter().filter(|element| element.is_object()).cloned().collect();
    let has_products = !products.is_empty();
    parts.products.extend(products);
    if outgoing && parts.template.is_none() {
        parts.template = Some(payload.clone());
        return None;
    }
    if has_products {
        return None;
    }
    let title = title(item, payload).or_else(|| template_text(payload));
    let url = address(item, payload).filter(|url| is_link(url));
    if title.is_none() && url.is_none() && payload.is_null() {
        return Some(unsupported(item));
    }
    Some(Attachment { kind: "card".to_owned(), ..bytes_less(url, title, Some(item.clone())) })
}

/// A shared product.
pub(super) fn product(element: &Value) -> Product {
    Product {
        id: meta::id(element, "id"),
        catalog_id: None,
        retailer_id: meta::id(element, "retailer_id"),
        title: meta::text(element, "title"),
        subtitle: meta::text(element, "subtitle"),
        image_url: meta::text(element, "image_url").filter(|url| is_link(url)),
    }
}

/// What a template says in words: its text, or title and subtitle of each element.
pub(super) fn template_text(template: &Value) -> Option<String> {
    if let Some(text) = meta::text(template, "text") {
        return Some(text);
    }
    let product = meta::field(template, "product").unwrap_or(&Value::Null);
    let mut words = String::new();
    for element in meta::list(template, "elements").iter().chain(meta::list(product, "elements")) {
        for line in [meta::text(element, "title"), meta::text(element, "subtitle")].into_iter().flatten() {
            let separator = if words.is_empty() { "" } else { "\n" };
            // Writing to a String cannot fail.
            let _ = write!(words, "{separator}{line}");
        }
    }
    (!words.is_empty()).then_some(words)
}

/// The buttons of a template and of its elements.
pub(super) fn template_buttons(template: &Value) -> Vec<Button> {
    let of_elements =
        meta::list(template, "elements").iter().flat_map(|element| meta::list(element, "buttons"));
    meta::list(template, "buttons")
        .iter()
        .chain(of_elements)
        .filter_map(|button| {
            Some(Button {
                id: meta::text_or_number(button, "payload"),
                title: meta::text(button, "title")?,
                url: meta::text(button, "url").filter(|url| is_link(url)),
                asks: None,
            })
        })
        .collect()
}

/// An appointment; its times are seconds, so they are written without decimals.
fn appointment(item: &Value, payload: &Value) -> Attachment {
    let moment = |key: &str| meta::time(payload, key).map(|time| time.to_string().replace(".000Z", "Z"));
    let details = json!({
        "booking_id": meta::id(payload, "booking_id"),
        "status": meta::text(payload, "status"),
        "start": moment("start_time"),
        "end": moment("end_time"),
        "timezone": meta::text(payload, "timezone"),
    });
    if details.as_object().is_none_or(|members| members.values().all(Value::is_null)) {
        return unsupported(item);
    }
    Attachment { kind: "appointment".to_owned(), ..bytes_less(None, title(item, payload), Some(details)) }
}

/// The old place of a sticker's id: beside the attachments, for the one that has none.
fn name_sticker(attachments: &mut Vec<Attachment>, id: i64) {
    if attachments.iter().any(|attachment| attachment.sticker_id.is_some()) {
        return;
    }
    let nameless = attachments.iter_mut().find(|a| a.kind == "image" || a.kind == "sticker");
    match nameless {
        Some(attachment) => {
            attachment.sticker_id = Some(id);
            "sticker".clone_into(&mut attachment.kind);
        }
        None => attachments.push(Attachment {
            kind: "sticker".to_owned(),
            sticker_id: Some(id),
            ..bytes_less(None, None, None)
        }),
    }
}

/// From June to August 2026 a sticker came twice in one message (`messenger` §5): equal ids are
/// one sticker, with the address of the first that has one.
fn merge_stickers(attachments: &mut Vec<Attachment>) {
    let mut kept: Vec<Attachment> = Vec::with_capacity(attachments.len());
    for attachment in attachments.drain(..) {
        let twin = kept
            .iter_mut()
            .find(|other| attachment.sticker_id.is_some() && other.sticker_id == attachment.sticker_id);
        match twin {
            Some(twin) if twin.url.is_none() => *twin = attachment,
            Some(_) => {}
            None => kept.push(attachment),
        }
    }
    *attachments = kept;
}
