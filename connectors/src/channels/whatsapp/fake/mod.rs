//! The Cloud API's own side, for `loket simulate`: how it reads a send and how it words its
//! callbacks (`whatsapp` §5 to §11). Pure: the simulator's world decides what happens.

pub(crate) mod check;
pub(crate) mod templates;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loket_backbone::random;
use loket_protocol::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::simulator::phone::{Bubble, Customer, File, Progress};
use crate::simulator::refusal::Refusal;
use crate::simulator::settings::Number;

/// The value of `object` in every callback.
pub(crate) const OBJECT: &str = "whatsapp_business_account";

/// Which way a message goes: it is in its id too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the customer.
    In,
    /// From the business.
    Out,
}

/// A new message id of the form that the platform makes: it holds the phone number, or zeroes for
/// a user whose number is hidden.
pub(crate) fn message_id(customer: Option<&Customer>, way: Way) -> String {
    let phone = customer.and_then(Customer::visible_phone).unwrap_or("00000000000");
    let (mark, noise) = match way {
        Way::In => (0x12, random::hex::<10>()),
        Way::Out => (0x11, random::hex::<9>()),
    };
    let mut bytes = vec![0x1c, 0x18, u8::try_from(phone.len()).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(phone.as_bytes());
    bytes.extend_from_slice(&[0x15, 0x02, 0x00, mark, 0x18, u8::try_from(noise.len()).unwrap_or(u8::MAX)]);
    bytes.extend_from_slice(noise.to_uppercase().as_bytes());
    bytes.push(0x00);
    format!("wamid.{}", STANDARD.encode(bytes))
}

/// Seconds since 1970, as text.
fn seconds(at: Timestamp) -> String {
    (at.as_millis() / 1000).to_string()
}

fn change(number: &Number, field: &str, mut value: Map<String, Value>) -> Value {
    value.insert("messaging_product".to_owned(), json!("whatsapp"));
    value.insert(
        "metadata".to_owned(),
        json!({"display_phone_number": number.display, "phone_number_id": number.phone_number_id}),
    );
    json!({"id": number.waba_id, "changes": [{"value": value, "field": field}]})
}

/// The `contacts[]` item; a `sent` status names no username (`whatsapp` §6).
fn contact(customer: &Customer, with_username: bool) -> Value {
    let mut profile = Map::new();
    profile.insert("name".to_owned(), json!(customer.name));
    if let (true, Some(username)) = (with_username, &customer.username) {
        profile.insert("username".to_owned(), json!(username));
    }
    let mut contact = Map::new();
    contact.insert("profile".to_owned(), Value::Object(profile));
    put(&mut contact, "wa_id", customer.visible_phone());
    put(&mut contact, "user_id", customer.bsuid.as_deref());
    put(&mut contact, "parent_user_id", customer.parent_bsuid.as_deref());
    Value::Object(contact)
}

fn put(object: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), json!(value));
    }
}

/// What a customer's message carries beside its content.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// `context`, if there is one.
    pub(crate) context: Option<Value>,
    /// `referral`, if it came from an ad.
    pub(crate) referral: Option<Value>,
}

/// The entry of a customer's message.
pub(crate) fn message(
    number: &Number,
    customer: &Customer,
    id: &str,
    at: Timestamp,
    (kind, content): (&str, Value),
    around: Around,
) -> Value {
    let mut message = Map::new();
    put(&mut message, "from", customer.visible_phone());
    put(&mut message, "from_user_id", customer.bsuid.as_deref());
    put(&mut message, "from_parent_user_id", customer.parent_bsuid.as_deref());
    message.insert("id".to_owned(), json!(id));
    message.insert("timestamp".to_owned(), json!(seconds(at)));
    message.insert("type".to_owned(), json!(kind));
    if let Value::Object(parts) = content {
        message.extend(parts);
    }
    if let Some(context) = around.context {
        message.insert("context".to_owned(), context);
    }
    if let Some(referral) = around.referral {
        message.insert("referral".to_owned(), referral);
    }
    let mut value = Map::new();
    value.insert("contacts".to_owned(), json!([contact(customer, true)]));
    value.insert("messages".to_owned(), json!([message]));
    change(number, "messages", value)
}

/// The media object of a customer's message.
pub(crate) fn media(file: &File, sha256: &[u8; 32], url: &str, caption: Option<&str>) -> Value {
    let mut media = Map::new();
    put(&mut media, "caption", caption);
    put(&mut media, "mime_type", file.mime.as_deref());
    put(&mut media, "id", file.media_id.as_deref());
    put(&mut media, "filename", file.name.as_deref().filter(|_| file.kind == "document"));
    media.insert("sha256".to_owned(), json!(STANDARD.encode(sha256)));
    media.insert("url".to_owned(), json!(url));
    match file.kind.as_str() {
        "audio" => {
            media.insert("voice".to_owned(), json!(true));
        }
        "sticker" => {
            media.insert("animated".to_owned(), json!(false));
        }
        _ => {}
    }
    Value::Object(media)
}

/// The entry of a status of `bubble`, in the state it has.
pub(crate) fn status(
    number: &Number,
    customer: Option<&Customer>,
    bubble: &Bubble,
    addressed: &str,
    at: Timestamp,
) -> Value {
    let mut status = Map::new();
    status.insert("id".to_owned(), json!(bubble.id));
    status.insert("status".to_owned(), json!(bubble.progress.word()));
    status.insert("timestamp".to_owned(), json!(seconds(at)));
    put(&mut status, "biz_opaque_callback_data", bubble.outbox_id.as_deref());
    let mut value = Map::new();
    if let (Progress::Failed, _) | (_, None) = (bubble.progress, customer) {
        let key = if bubble.to_bsuid { "recipient_user_id" } else { "recipient_id" };
        status.insert(key.to_owned(), json!(addressed));
        if let Some(failure) = &bubble.failure {
            status.insert("errors".to_owned(), json!([error(failure)]));
        }
    } else if let Some(customer) = customer {
        let phone = if bubble.to_bsuid { customer.visible_phone() } else { customer.phone.as_deref() };
        put(&mut status, "recipient_id", phone);
        put(&mut status, "recipient_user_id", customer.bsuid.as_deref());
        put(&mut status, "recipient_parent_user_id", customer.parent_bsuid.as_deref());
        if matches!(bubble.progress, Progress::Sent | Progress::Delivered) {
            status.insert("pricing".to_owned(), pricing(bubble));
        }
        value.insert("contacts".to_owned(), json!([contact(customer, bubble.progress != Progress::Sent)]));
    }
    value.insert("statuses".to_owned(), json!([status]));
    change(number, "messages", value)
}

fn pricing(bubble: &Bubble) -> Value {
    let is_template = bubble.kind == "template";
    json!({
        "billable": is_template,
        "pricing_model": "PMP",
        "type": if is_template { "regular" } else { "free_customer_service" },
        "category": if is_template { "utility" } else { "service" },
    })
}

fn error(failure: &Refusal) -> Value {
    json!({
        "code": failure.code,
        "title": failure.message,
        "message": failure.message,
        "error_data": {"details": failure.details.as_deref().unwrap_or(&failure.message)},
        "href": "/documentation/business-messaging/whatsapp/support/error-codes",
    })
}

/// The entry of a message that the owner wrote in the WhatsApp Business app (`whatsapp` §10).
pub(crate) fn echo(
    number: &Number,
    customer: &Customer,
    id: &str,
    at: Timestamp,
    (kind, content): (&str, Value),
) -> Value {
    let mut message = Map::new();
    message.insert("from".to_owned(), json!(digits(&number.display)));
    put(&mut message, "to", customer.visible_phone());
    put(&mut message, "to_user_id", customer.bsuid.as_deref());
    put(&mut message, "to_parent_user_id", customer.parent_bsuid.as_deref());
    message.insert("id".to_owned(), json!(id));
    message.insert("timestamp".to_owned(), json!(seconds(at)));
    message.insert("type".to_owned(), json!(kind));
    if let Value::Object(parts) = content {
        message.extend(parts);
    }
    let mut value = Map::new();
    value.insert("contacts".to_owned(), json!([contact(customer, true)]));
    value.insert("message_echoes".to_owned(), json!([message]));
    change(number, "smb_message_echoes", value)
}

/// The two entries that tell of a new phone number and BSUID (`whatsapp` §6, rule 3).
pub(crate) fn number_change(
    number: &Number,
    before: &Customer,
    after: &Customer,
    at: Timestamp,
) -> [Value; 2] {
    let mut system = Map::new();
    let (old, new) = (before.phone.as_deref().unwrap_or(""), after.phone.as_deref().unwrap_or(""));
    let body = format!("{} changed from {old} to {new}", after.name);
    system.insert("body".to_owned(), json!(body));
    system.insert("type".to_owned(), json!("user_changed_user_id"));
    put(&mut system, "wa_id", after.visible_phone());
    put(&mut system, "user_id", after.bsuid.as_deref());
    let mut message = Map::new();
    put(&mut message, "from", before.visible_phone());
    put(&mut message, "from_user_id", before.bsuid.as_deref());
    message.insert("id".to_owned(), json!(message_id(Some(before), Way::In)));
    message.insert("timestamp".to_owned(), json!(seconds(at)));
    message.insert("type".to_owned(), json!("system"));
    message.insert("system".to_owned(), Value::Object(system));
    let mut value = Map::new();
    value.insert("messages".to_owned(), json!([message]));
    let first = change(number, "messages", value);

    let mut update = Map::new();
    put(&mut update, "wa_id", after.visible_phone());
    update.insert("detail".to_owned(), json!(body));
    update.insert("user_id".to_owned(), json!({"previous": before.bsuid, "current": after.bsuid}));
    update.insert("timestamp".to_owned(), json!(seconds(at)));
    let mut value = Map::new();
    value.insert("user_id_update".to_owned(), json!([update]));
    [first, change(number, "user_id_update", value)]
}

/// Only the digits of a number as it is shown.
pub(crate) fn digits(shown: &str) -> String {
    shown.chars().filter(char::is_ascii_digit).collect()
}

/// The country code of a number in digits: one, two or three of them (ITU-T E.164).
fn country_code(digits: &str) -> &str {
    const TWO: [&str; 43] = [
        "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48",
        "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81",
        "82", "84", "86", "90", "91", "92", "93", "94", "95",
    ];
    let length = if digits.starts_with(['1', '7']) {
        1
    } else if digits.get(..2).is_some_and(|two| TWO.contains(&two) || two == "98") {
        2
    } else {
        3
    };
    digits.get(..length).unwrap_or(digits)
}

/// The digits that a `to` may mean, best first. Without `+` the business number's own country code
/// is put in front (`whatsapp` §11); a number that is somebody's as it stands is taken as it stands,
/// because replies to a bare `wa_id` do arrive.
pub(crate) fn dialled(to: &str, number: &Number) -> Vec<String> {
    let plain = digits(to);
    if to.trim_start().starts_with('+') {
        return vec![plain];
    }
    let own = digits(&number.display);
    let prefixed = format!("{}{}", country_code(&own), plain.trim_start_matches('0'));
    vec![plain, prefixed]
}
