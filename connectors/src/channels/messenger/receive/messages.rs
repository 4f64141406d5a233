//! Messages, echoes, postbacks, orders, edits and deletions (`messenger` §5, §6, §8).

use loket_protocol::inbound::{EditFact, Fact, MessageFact, RevokeFact};
use loket_protocol::message::{Content, Order, OrderItem, Product, Referral, ReplyTo};
use serde_json::{Map, Value};

use super::attachments::{self, Parts};
use super::{Said, Scene, Unread, target};
use crate::meta;

/// What an outbox id begins with (`reliability-contract` §3).
const OUTBOX_PREFIX: &str = "out:";
/// App ids of the platform's own inboxes: the Page inbox in its two spellings, and Instagram's
/// (`messenger` §1, §14).
const INBOX_APP_IDS: &[&str] = &["263902037430900", "26390203743090", "1217981644879628"];
/// Keys of a message that are no content: what is left over tells of something new.
const KNOWN_KEYS: &[&str] = &[
    "mid",
    "text",
    "attachments",
    "quick_reply",
    "reply_to",
    "referral",
    "commands",
    "is_echo",
    "app_id",
    "metadata",
    "is_deleted",
    "is_unsupported",
    "is_self",
    "nlp",
    "sticker_id",
    "seq",
    "tags",
];

/// `message`: a message, its echo or its deletion.
pub(super) fn message(scene: &Scene<'_>, message: &Value) -> Result<Said, Unread> {
    if meta::flag(message, "is_deleted") == Some(true) {
        let fact = RevokeFact { external_id: None, target: target(message)?, outgoing: scene.outgoing };
        return Ok(Said { fact: Fact::Revoke(fact), opens_window: Some(false) });
    }
    let mut fact =
        MessageFact { external_id: own_mid(message)?, reply_to: reply_to(message), ..MessageFact::default() };
    let parts = attachments::read(message, scene.outgoing);
    contents(message, parts, scene, &mut fact);
    if fact.external_id.is_none() && fact.content.kind == "unsupported" {
        return Err(Unread::unreadable("there is neither a mid nor any content"));
    }
    if scene.outgoing {
        fact.outbox_id =
            meta::text(message, "metadata").filter(|metadata| metadata.starts_with(OUTBOX_PREFIX));
        fact.sent_by = sent_by(scene, message);
        return Ok(Said { fact: Fact::Echo(fact), opens_window: Some(false) });
    }
    Ok(Said { fact: Fact::Message(fact), opens_window: Some(true) })
}

/// Fills in what the message says. Text and attachments of one mid are one message
/// (`messenger` §15.6).
fn contents(message: &Value, parts: Parts, scene: &Scene<'_>, fact: &mut MessageFact) {
    let content = &mut fact.content;
    let Parts { attachments, location, products, template, heart } = parts;
    content.text = meta::text(message, "text");
    content.location = location;
    let mut details = Map::new();

    if let Some(quick_reply) = meta::field(message, "quick_reply") {
        content.payload = meta::text_or_number(quick_reply, "payload");
    }
    if let Some(referral) = meta::field(message, "referral") {
        content.referral = read_referral(referral);
        content.product = referred_product(referral);
    }
    if let Some(story) = meta::field(message, "reply_to").and_then(|reply| meta::field(reply, "story")) {
        details.insert("story".to_owned(), story.clone());
    }
    let has_products = !products.is_empty();
    if products.len() > 1 {
        details.insert("products".to_owned(), Value::Array(products.clone()));
    }
    if let Some(first) = products.first() {
        content.product = Some(attachments::product(first));
    }
    let is_template = template.is_some();
    if let Some(template) = template {
        if content.text.is_none() {
            content.text = attachments::template_text(&template);
        }
        content.buttons = attachments::template_buttons(&template);
        details.insert("template".to_owned(), template);
    }
    let is_heart = heart && content.text.is_none();
    if is_heart {
        content.text = Some("❤️".to_owned());
        content.original_type = Some("like_heart".to_owned());
    }

    let has_attachments = !attachments.is_empty() || content.location.is_some() || has_products;
    let kind = if meta::flag(message, "is_unsupported") == Some(true) {
        content.original_type = Some("is_unsupported".to_owned());
        "unsupported"
    } else if content.payload.is_some() {
        "quick_reply"
    } else if is_template && scene.outgoing {
        "template"
    } else if meta::field(message, "text").is_some() || is_heart {
        "text"
    } else if has_attachments || is_template {
        "attachments"
    } else {
        let unknown = unknown_keys(message);
        content.original_type = unknown.keys().next().cloned();
        details.extend(unknown);
        "unsupported"
    };
    kind.clone_into(&mut content.kind);
    content.details = (!details.is_empty()).then_some(Value::Object(details));
    fact.attachments = attachments;
}

/// Members that this version does not know, to be kept as they are.
fn unknown_keys(message: &Value) -> Map<String, Value> {
    let members = message.as_object().into_iter().flatten();
    members
        .filter(|(key, value)| !KNOWN_KEYS.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// A missing mid is no obstacle, an impossible one is.
fn own_mid(event: &Value) -> Result<Option<String>, Unread> {
    match meta::field(event, "mid") {
        Some(_) => target(event).map(Some),
        None => Ok(None),
    }
}

fn reply_to(message: &Value) -> Option<ReplyTo> {
    let reply = meta::field(message, "reply_to")?;
    let external_id = meta::id(reply, "mid");
    let story_id = meta::field(reply, "story").and_then(|story| meta::id(story, "id"));
    (external_id.is_some() || story_id.is_some()).then_some(ReplyTo {
        message_id: None,
        external_id,
        story_id,
    })
}

/// The app behind an echo, when it is told and not ours (`messenger` §8).
fn sent_by(scene: &Scene<'_>, message: &Value) -> Option<String> {
    let app_id = meta::id(message, "app_id")?;
    if INBOX_APP_IDS.contains(&app_id.as_str()) {
        return Some("page_inbox".to_owned());
    }
    (app_id != scene.app_id).then_some(app_id)
}

/// `postback`: a button of ours was tapped; its title is what the customer said.
pub(super) fn postback(_scene: &Scene<'_>, postback: &Value) -> Result<Said, Unread> {
    let external_id = own_mid(postback)?;
    let mut content = Content {
        kind: "postback".to_owned(),
        text: meta::text_or_number(postback, "title"),
        payload: meta::text_or_number(postback, "payload"),
        ..Content::default()
    };
    if external_id.is_none() && content.text.is_none() && content.payload.is_none() {
        return Err(Unread::unreadable("there is neither mid nor title nor payload"));
    }
    if let Some(referral) = meta::field(postback, "referral") {
        content.referral = read_referral(referral);
        content.product = referred_product(referral);
    }
    let fact = MessageFact { external_id, content, ..MessageFact::default() };
    Ok(Said { fact: Fact::Message(fact), opens_window: Some(true) })
}

/// `order`: the customer sent a cart.
pub(super) fn order(_scene: &Scene<'_>, order: &Value) -> Result<Said, Unread> {
    let products = meta::list(order, "products");
    let items: Vec<OrderItem> = products.iter().filter_map(order_item).collect();
    let note = meta::text(order, "note");
    if items.is_empty() && note.is_none() {
        return Err(Unread::unreadable("there is neither a readable product nor a note"));
    }
    let content = Content {
        kind: "order".to_owned(),
        text: note,
        order: Some(Order { catalog_id: None, items }),
        // Names, platform ids and lines that were not read stay with the message.
        details: Some(serde_json::json!({ "products": products })),
        ..Content::default()
    };
    let fact = MessageFact { external_id: own_mid(order)?, content, ..MessageFact::default() };
    Ok(Said { fact: Fact::Message(fact), opens_window: Some(true) })
}

fn order_item(product: &Value) -> Option<OrderItem> {
    Some(OrderItem {
        product_id: meta::id(product, "retailer_id").or_else(|| meta::id(product, "id"))?,
        quantity: meta::number(product, "quantity")?,
        price: meta::text_or_number(product, "unit_price")?,
        currency: meta::text(product, "currency")?,
    })
}

/// `message_edit`: the text of a message is another one now; the highest number counts.
pub(super) fn edit(scene: &Scene<'_>, edit: &Value) -> Result<Said, Unread> {
    let text = meta::text(edit, "text").ok_or_else(|| Unread::unreadable("there is no text"))?;
    let fact = EditFact {
        external_id: None,
        target: target(edit)?,
        content: Content::text(text),
        attachments: Vec::new(),
        edit_number: meta::number(edit, "num_edit"),
        outgoing: scene.outgoing,
    };
    Ok(Said { fact: Fact::Edit(fact), opens_window: Some(false) })
}

/// What brought the customer; `None` when it only names a product.
pub(super) fn read_referral(referral: &Value) -> Option<Referral> {
    const READ: &[&str] = &["source", "ref", "ad_id", "referer_uri", "product"];
    let ad = meta::field(referral, "ads_context_data").unwrap_or(&Value::Null);
    let members = referral.as_object().into_iter().flatten();
    let rest: Map<String, Value> = members
        .filter(|(key, value)| !READ.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let read = Referral {
        source: meta::text(referral, "source"),
        ad_id: meta::id(referral, "ad_id"),
        reference: meta::text_or_number(referral, "ref"),
        url: meta::text(referral, "referer_uri").filter(|url| attachments::is_link(url)),
        title: meta::text(ad, "ad_title"),
        details: (!rest.is_empty()).then_some(Value::Object(rest)),
        ..Referral::default()
    };
    (read != Referral::default()).then_some(read)
}

/// The product of a shop page that the message was started from.
fn referred_product(referral: &Value) -> Option<Product> {
    let id = meta::id(meta::field(referral, "product")?, "id")?;
    Some(Product { id: Some(id), ..Product::default() })
}
