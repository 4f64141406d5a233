//! What a message says: the payloads of `whatsapp` §7, and what stands around them.

use loket_protocol::message::{
    Attachment, AttachmentState, ContactCard, Content, Forwarded, Location, Order, OrderItem, Product,
    ProviderError, Referral, ReplyTo,
};
use serde_json::{Map, Value, json};

use super::Trouble;
use crate::meta;

/// What was said, as far as an item tells.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) content: Content,
    pub(super) attachments: Vec<Attachment>,
    pub(super) reply_to: Option<ReplyTo>,
}

/// The content of a message of this type. An item that came without its payload but with errors is
/// shown as unsupported, with the errors.
pub(super) fn of(item: &Value, kind: &str) -> Result<Said, Trouble> {
    let errors = errors(item);
    let (mut content, attachments) = match payload_of(item, kind) {
        Err(_) if !errors.is_empty() && is_known(kind) => {
            let original_type = (kind != "unsupported").then(|| kind.to_owned());
            (Content { kind: "unsupported".to_owned(), original_type, ..Content::default() }, Vec::new())
        }
        read => read?,
    };
    content.errors = errors;
    content.referral = item.get("referral").and_then(referral);
    let around = item.get("context").unwrap_or(&Value::Null);
    content.forwarded = match (meta::flag(around, "frequently_forwarded"), meta::flag(around, "forwarded")) {
        (Some(true), _) => Some(Forwarded::Often),
        (_, Some(true)) => Some(Forwarded::Yes),
        _ => None,
    };
    content.product = around.get("referred_product").filter(|p| p.is_object()).map(|product| Product {
        catalog_id: meta::id(product, "catalog_id"),
        retailer_id: meta::id(product, "product_retailer_id"),
        ..Product::default()
    });
    // A message that answers itself answers nothing (`whatsapp` §15.11).
    let answered = meta::id(around, "id").filter(|answered| meta::id(item, "id").as_ref() != Some(answered));
    let reply_to =
        answered.map(|external_id| ReplyTo { external_id: Some(external_id), ..ReplyTo::default() });
    Ok(Said { content, attachments, reply_to })
}

fn is_known(kind: &str) -> bool {
    matches!(
        kind,
        "text"
            | "image"
            | "video"
            | "audio"
            | "document"
            | "sticker"
            | "location"
            | "contacts"
            | "interactive"
            | "button"
            | "order"
    )
}

fn payload_of(item: &Value, kind: &str) -> Result<(Content, Vec<Attachment>), Trouble> {
    let plain = |content: Content| Ok((content, Vec::new()));
    let payload = item.get(kind).unwrap_or(&Value::Null);
    let mut content = Content { kind: kind.to_owned(), ..Content::default() };
    match kind {
        "text" => {
            let body = payload.get("body").and_then(Value::as_str);
            content.text = Some(body.ok_or_else(|| Trouble::unreadable("text.body is no text"))?.to_owned());
            plain(content)
        }
        "image" | "video" | "audio" | "document" | "sticker" => {
            content.text = meta::text(payload, "caption");
            Ok((content, vec![media(payload, kind)?]))
        }
        "location" => {
            content.location = Some(location(payload)?);
            plain(content)
        }
        "contacts" => {
            content.contacts = meta::list(item, "contacts").iter().filter_map(card).collect();
            if content.contacts.is_empty() {
                return Err(Trouble::unreadable("contacts has no card"));
            }
            plain(content)
        }
        "interactive" => plain(interactive(payload)?),
        "button" => {
            "template_button".clone_into(&mut content.kind);
            content.text = meta::text(payload, "text");
            content.payload = meta::text_or_number(payload, "payload");
            if content.text.is_none() && content.payload.is_none() {
                return Err(Trouble::unreadable("button has neither text nor payload"));
            }
            plain(content)
        }
        "order" => {
            content.text = meta::text(payload, "text");
            content.order = Some(order(payload)?);
            plain(content)
        }
        "unsupported" => {
            content.original_type = meta::text(payload, "type");
            plain(content)
        }
        _ => Err(Trouble::unknown("type", kind)),
    }
}

fn media(payload: &Value, kind: &str) -> Result<Attachment, Trouble> {
    let attachment = Attachment {
        kind: kind.to_owned(),
        mime: meta::text(payload, "mime_type"),
        size: meta::number(payload, "file_size").and_then(|size| u64::try_from(size).ok()),
        state: AttachmentState::Remote,
        media_id: meta::id(payload, "id"),
        url: meta::text(payload, "url"),
        sha256: meta::sha256(payload, "sha256"),
        filename: meta::text(payload, "filename"),
        voice: meta::flag(payload, "voice"),
        animated: meta::flag(payload, "animated"),
        ..Attachment::default()
    };
    if attachment.media_id.is_none() && attachment.url.is_none() {
        return Err(Trouble::unreadable(format!("{kind} has neither id nor url")));
    }
    Ok(attachment)
}

fn location(payload: &Value) -> Result<Location, Trouble> {
    let degrees = |key: &str| {
        let found = meta::field(payload, key)?;
        found.as_f64().or_else(|| found.as_str()?.parse().ok()).filter(|degrees: &f64| degrees.is_finite())
    };
    let (Some(latitude), Some(longitude)) = (degrees("latitude"), degrees("longitude")) else {
        return Err(Trouble::unreadable("location has no coordinates"));
    };
    Ok(Location {
        latitude,
        longitude,
        name: meta::text(payload, "name"),
        address: meta::text(payload, "address"),
        url: meta::text(payload, "url"),
    })
}

fn card(card: &Value) -> Option<ContactCard> {
    let object = card.as_object()?;
    let values = |array: &str, keys: [&str; 2]| {
        let values = meta::list(card, array).iter();
        values.filter_map(|item| keys.iter().find_map(|key| meta::text_or_number(item, key))).collect()
    };
    let name = card.get("name").unwrap_or(&Value::Null);
    let parts = ["first_name", "middle_name", "last_name"];
    let spelt: Vec<String> = parts.iter().filter_map(|part| meta::text(name, part)).collect();
    let everything: Map<String, Value> =
        object.iter().filter(|(key, _)| *key != "origin").map(|(k, v)| (k.clone(), v.clone())).collect();
    Some(ContactCard {
        name: meta::text(name, "formatted_name").or((!spelt.is_empty()).then(|| spelt.join(" "))),
        phones: values("phones", ["phone", "wa_id"]),
        emails: values("emails", ["email", "email"]),
        organisation: card.get("org").and_then(|org| meta::text(org, "company")),
        details: Some(Value::Object(everything)),
        origin: meta::text(card, "origin"),
    })
}

fn interactive(payload: &Value) -> Result<Content, Trouble> {
    let kind =
        meta::text(payload, "type").ok_or_else(|| Trouble::unreadable("interactive has no payload"))?;
    let reply = payload.get(&kind).unwrap_or(&Value::Null);
    let mut content = Content { kind: kind.clone(), ..Content::default() };
    match kind.as_str() {
        "button_reply" | "list_reply" => {
            content.text = meta::text(reply, "title");
            content.payload = meta::text_or_number(reply, "id");
            content.details = meta::text(reply, "description").map(|text| json!({ "description": text }));
            if content.text.is_none() && content.payload.is_none() {
                return Err(Trouble::unreadable(format!("interactive.{kind} is empty")));
            }
        }
        "nfm_reply" => {
            "flow_reply".clone_into(&mut content.kind);
            content.flow = Some(flow(reply)?);
            content.details = Some(some_of(reply, &["name", "body"]));
        }
        "call_permission_reply" => {
            content.payload = meta::text(reply, "response");
            let keys = ["is_permanent", "expiration_timestamp", "response_source"];
            content.details = Some(some_of(reply, &keys));
            if content.payload.is_none() {
                return Err(Trouble::unreadable("interactive.call_permission_reply has no response"));
            }
        }
        _ => return Err(Trouble::unknown("interactive type", &kind)),
    }
    Ok(content)
}

fn some_of(holder: &Value, keys: &[&str]) -> Value {
    let found = keys.iter().filter_map(|key| Some(((*key).to_owned(), meta::field(holder, key)?.clone())));
    Value::Object(found.collect())
}

/// The values of a filled-in flow. They come as JSON inside a string; a text that is no JSON is kept
/// as that text (`whatsapp` §7).
fn flow(reply: &Value) -> Result<Value, Trouble> {
    match meta::field(reply, "response_json") {
        Some(Value::String(text)) => {
            Ok(meta::parse(text.as_bytes()).unwrap_or_else(|_| Value::String(text.clone())))
        }
        Some(given) => Ok(given.clone()),
        None => Err(Trouble::unreadable("interactive.nfm_reply has no response_json")),
    }
}

fn order(payload: &Value) -> Result<Order, Trouble> {
    let line = |item: &Value| {
        Some(OrderItem {
            product_id: meta::id(item, "product_retailer_id")?,
            quantity: meta::number(item, "quantity")?,
            price: meta::text_or_number(item, "item_price")?,
            currency: meta::text(item, "currency")?,
        })
    };
    let items: Option<Vec<OrderItem>> = meta::list(payload, "product_items").iter().map(line).collect();
    match items {
        Some(items) if !items.is_empty() => Ok(Order { catalog_id: meta::id(payload, "catalog_id"), items }),
        _ => Err(Trouble::unreadable("order has a line that cannot be read, or none")),
    }
}

fn referral(given: &Value) -> Option<Referral> {
    let object = given.as_object()?;
    let told = ["source_type", "source_id", "source_url", "headline", "body", "ctwa_clid"];
    let rest: Map<String, Value> = object
        .iter()
        .filter(|(key, _)| !told.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Some(Referral {
        kind: meta::text(given, "source_type"),
        id: meta::id(given, "source_id"),
        url: meta::text(given, "source_url"),
        headline: meta::text(given, "headline"),
        body: meta::text(given, "body"),
        click_id: meta::text(given, "ctwa_clid"),
        details: (!rest.is_empty()).then_some(Value::Object(rest)),
        ..Referral::default()
    })
}

/// The array `errors` of an item (`whatsapp` §9). Logic rests on the code, so an item without one
/// says nothing.
pub(super) fn errors(item: &Value) -> Vec<ProviderError> {
    let error = |given: &Value| {
        let data = given.get("error_data").unwrap_or(&Value::Null);
        Some(ProviderError {
            code: meta::number(given, "code")?,
            subcode: meta::number(given, "error_subcode"),
            title: meta::text(given, "title").or_else(|| meta::text(given, "message")),
            details: meta::text(data, "details").or_else(|| meta::text(given, "details")),
            sentence: None,
        })
    };
    meta::list(item, "errors").iter().filter_map(error).collect()
}
