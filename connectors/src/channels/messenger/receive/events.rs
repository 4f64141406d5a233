//! Everything that is no message: reactions, receipts, consent, control of the thread and notices
//! about the account (`messenger` §6, §7, §9, §10).

use loket_protocol::channel::ChannelHealth;
use loket_protocol::delivery::ProviderStatus;
use loket_protocol::inbound::{
    Fact, FeedbackFact, HandoverFact, NoticeFact, OptinFact, ReactionFact, ReferralFact, WatermarkFact,
};
use loket_protocol::message::Referral;
use serde_json::{Map, Value, json};

use super::{Said, Scene, Unread, messages, named, target};
use crate::meta;

/// The emoji behind the platform's own names, for events that bring the name alone.
const REACTIONS: &[(&str, &str)] = &[
    ("love", "❤️"),
    ("like", "👍"),
    ("dislike", "👎"),
    ("smile", "😆"),
    ("wow", "😮"),
    ("sad", "😢"),
    ("angry", "😠"),
];

/// `changes[].field` values that are known and of no consequence for messages.
const IDLE_CHANGES: &[&str] = &["inbox_labels", "feed"];

/// `reaction`. A new one replaces that person's former one on the same message.
pub(super) fn reaction(scene: &Scene<'_>, reaction: &Value) -> Result<Said, Unread> {
    let target = target(reaction)?;
    let name = meta::text(reaction, "reaction");
    let by_name = || REACTIONS.iter().find(|(known, _)| Some(*known) == name.as_deref());
    let (emoji, opens_window) = match meta::text(reaction, "action").as_deref() {
        Some("react") => {
            let emoji = meta::text(reaction, "emoji")
                .or_else(|| by_name().map(|(_, emoji)| (*emoji).to_owned()))
                .ok_or_else(|| Unread::unknown("a reaction without an emoji and of no known name"))?;
            // Somebody of ours reacting in the Page inbox opens nothing.
            (Some(emoji), Some(!scene.outgoing))
        }
        Some("unreact") => (None, None),
        Some(other) => return Err(Unread::unknown(format!("action {} is unknown", named(other)))),
        None => return Err(Unread::unreadable("there is no action")),
    };
    let fact = ReactionFact { external_id: None, target, emoji, outgoing: scene.outgoing };
    Ok(Said { fact: Fact::Reaction(fact), opens_window })
}

/// `referral`: a link or ad reopened the thread. After an ad the window waits for the customer's
/// own words (`messenger` §6).
pub(super) fn referral(_scene: &Scene<'_>, event: &Value) -> Result<Said, Unread> {
    let mut referral = messages::read_referral(event).unwrap_or_default();
    if let Some(product) = meta::field(event, "product") {
        let details = referral.details.get_or_insert_with(|| json!({}));
        if let Some(members) = details.as_object_mut() {
            members.insert("product".to_owned(), product.clone());
        }
    }
    if referral == Referral::default() {
        return Err(Unread::unreadable("nothing is told"));
    }
    let is_ad = referral.source.as_deref() == Some("ADS") || referral.ad_id.is_some();
    Ok(Said { fact: Fact::Referral(ReferralFact { referral }), opens_window: Some(!is_ad) })
}

/// `optin`: marketing messages allowed or stopped, or the tick of a plug-in.
pub(super) fn optin(_scene: &Scene<'_>, optin: &Value) -> Result<Said, Unread> {
    let Some(kind) = meta::text(optin, "type") else {
        let payload = meta::text_or_number(optin, "ref");
        if payload.is_none() && meta::id(optin, "user_ref").is_none() {
            return Err(Unread::unreadable("there is neither a type nor a ref"));
        }
        let fact = OptinFact { kind: "plugin".to_owned(), payload, ..OptinFact::default() };
        return Ok(Said { fact: Fact::Optin(fact), opens_window: Some(true) });
    };
    let status = meta::text(optin, "notification_messages_status");
    let preference = match status.as_deref() {
        Some("STOP NOTIFICATIONS") => Some("stop"),
        Some("RESUME NOTIFICATIONS") => Some("resume"),
        _ => None,
    };
    let fact = OptinFact {
        kind,
        payload: meta::text_or_number(optin, "payload"),
        title: meta::text(optin, "title"),
        preference: preference.map(str::to_owned),
        details: optin_details(optin),
    };
    let opens_window = (preference == Some("stop")).then_some(false);
    Ok(Said { fact: Fact::Optin(fact), opens_window })
}

/// What else an opt-in tells. The token is the right to send and stays out; its expiry is a time.
fn optin_details(optin: &Value) -> Option<Value> {
    const READ: &[&str] = &["type", "payload", "title", "user_ref", "token_expiry_timestamp"];
    let members = optin.as_object().into_iter().flatten();
    let mut details: Map<String, Value> = members
        .filter(|(key, value)| !READ.contains(&key.as_str()) && !key.ends_with("_token") && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some(expiry) = meta::time(optin, "token_expiry_timestamp") {
        details.insert("token_expires_at".to_owned(), Value::from(expiry.to_string()));
    }
    (!details.is_empty()).then_some(Value::Object(details))
}

/// `account_linking`: the customer logged in to, or out of, an account of the company's.
pub(super) fn account_linking(_scene: &Scene<'_>, event: &Value) -> Result<Said, Unread> {
    let status = meta::text(event, "status").ok_or_else(|| Unread::unreadable("there is no status"))?;
    let fact = OptinFact {
        kind: "account_linking".to_owned(),
        payload: meta::text_or_number(event, "authorization_code"),
        details: Some(json!({ "status": status })),
        ..OptinFact::default()
    };
    Ok(Said { fact: Fact::Optin(fact), opens_window: None })
}

/// `delivery`: everything at or before the watermark, and sometimes messages by name.
pub(super) fn delivery(scene: &Scene<'_>, delivery: &Value) -> Result<Said, Unread> {
    let mids = meta::list(delivery, "mids").iter().filter_map(Value::as_str);
    let short = mids.filter(|mid| !mid.is_empty() && mid.len() <= meta::EXTERNAL_ID_BYTES_MAX);
    receipt(scene, ProviderStatus::Delivered, delivery, short.map(str::to_owned).collect())
}

/// `read`: by watermark, on Instagram by name (`messenger` §13).
pub(super) fn read(scene: &Scene<'_>, read: &Value) -> Result<Said, Unread> {
    receipt(scene, ProviderStatus::Read, read, meta::id(read, "mid").into_iter().collect())
}

fn receipt(
    scene: &Scene<'_>,
    status: ProviderStatus,
    event: &Value,
    external_ids: Vec<String>,
) -> Result<Said, Unread> {
    if scene.outgoing {
        return Ok(idle(status.as_str(), "The Page itself received or read something."));
    }
    let watermark = meta::time(event, "watermark");
    if watermark.is_none() && external_ids.is_empty() {
        return Err(Unread::unreadable("there is neither a watermark nor a mid"));
    }
    let fact = WatermarkFact { status, watermark, external_ids, up_to_seq: None };
    Ok(Said { fact: Fact::Watermark(fact), opens_window: Some(false) })
}

/// `response_feedback`: a thumb under a message of ours.
pub(super) fn response_feedback(_scene: &Scene<'_>, event: &Value) -> Result<Said, Unread> {
    let payload = meta::text(event, "feedback").ok_or_else(|| Unread::unreadable("there is no feedback"))?;
    let fact = FeedbackFact { target: target(event)?, payload };
    Ok(Said { fact: Fact::Feedback(fact), opens_window: None })
}

/// `pass_thread_control`: another app handed the thread over.
pub(super) fn pass_thread_control(_scene: &Scene<'_>, event: &Value) -> Result<Said, Unread> {
    handover("pass_thread_control", "new_owner_app_id", event)
}

/// `take_thread_control`: another app took the thread.
pub(super) fn take_thread_control(_scene: &Scene<'_>, event: &Value) -> Result<Said, Unread> {
    handover("take_thread_control", "new_owner_app_id", event)
}

/// `request_thread_control`: another app would like to have the thread; nothing has changed.
pub(super) fn request_thread_control(_scene: &Scene<'_>, event: &Value) -> Result<Said, Unread> {
    handover("request_thread_control", "requested_owner_app_id", event)
}

fn handover(kind: &str, owner_key: &str, event: &Value) -> Result<Said, Unread> {
    let owner = meta::id(event, owner_key);
    let previous_owner = meta::id(event, "previous_owner_app_id");
    if owner.is_none() && previous_owner.is_none() {
        return Err(Unread::unreadable("no app is named"));
    }
    let metadata = meta::text(event, "metadata");
    let fact = HandoverFact { kind: kind.to_owned(), owner, previous_owner, metadata };
    Ok(Said { fact: Fact::Handover(fact), opens_window: Some(false) })
}

/// `app_roles`: what the connected apps may do.
pub(super) fn app_roles(scene: &Scene<'_>, roles: &Value) -> Said {
    let ours: Vec<&str> =
        meta::list(roles, scene.app_id).iter().filter_map(Value::as_str).map(plain_role).collect();
    let sentence = if ours.is_empty() {
        "The roles of the Page's apps changed; ours has none that is told.".to_owned()
    } else {
        format!("The roles of the Page's apps changed; ours is {}.", ours.join(" and "))
    };
    notice("app_roles", None, None, sentence, Some(roles.clone()))
}

fn plain_role(role: &str) -> &str {
    match role {
        "primary_receiver" => "the primary receiver",
        "secondary_receiver" => "a secondary receiver",
        _ => "something new",
    }
}

/// `policy_enforcement`: the platform warns, stops or releases the Page.
pub(super) fn policy_enforcement(_scene: &Scene<'_>, event: &Value) -> Result<Said, Unread> {
    let action = meta::text(event, "action").ok_or_else(|| Unread::unreadable("there is no action"))?;
    let (health, happened) = match action.as_str() {
        "block" => (
            Some(ChannelHealth::Reauthorise),
            "The platform blocked the Page: nothing is sent until it is released.",
        ),
        "unblock" => (Some(ChannelHealth::Connected), "The platform released the Page: sending goes on."),
        "warning" => {
            (Some(ChannelHealth::Degraded), "The platform warns the Page for a breach of its policy.")
        }
        _ => (None, "The platform enforced its policy on the Page in a way that is new to this version."),
    };
    let sentence = match meta::text(event, "reason") {
        Some(reason) => format!("{happened} Its reason: {reason}"),
        None => happened.to_owned(),
    };
    Ok(notice("policy_enforcement", Some(action), health, sentence, Some(event.clone())))
}

/// `game_play`: of no interest.
pub(super) fn game_play() -> Said {
    idle("game_play", "Somebody played a game.")
}

/// An Instagram account that writes to itself tests its connection.
pub(super) fn self_test() -> Said {
    idle("is_self", "The account wrote to itself.")
}

/// An item of `changes`: a field of the Page and its new value (`messenger` §10).
pub(super) fn change(item: &Value) -> Result<Said, Unread> {
    let field = meta::text(item, "field").ok_or_else(|| Unread::unreadable("there is no field"))?;
    let value = meta::field(item, "value").cloned();
    if field == "messenger_template_status_update" {
        let sentence = "The state of a utility template changed.".to_owned();
        return Ok(notice(&field, None, None, sentence, value));
    }
    if IDLE_CHANGES.contains(&field.as_str()) {
        let fact = NoticeFact {
            details: value,
            ..idle_notice(&field, "Something of the Page changed that is no message.")
        };
        return Ok(Said { fact: Fact::Ignored(fact), opens_window: None });
    }
    Err(Unread::unknown(format!("field {} is unknown", named(&field))))
}

fn notice(
    kind: &str,
    action: Option<String>,
    health: Option<ChannelHealth>,
    sentence: String,
    details: Option<Value>,
) -> Said {
    let fact = NoticeFact { kind: kind.to_owned(), scope: None, action, health, sentence, details };
    Said { fact: Fact::AccountNotice(fact), opens_window: None }
}

fn idle(kind: &str, sentence: &str) -> Said {
    Said { fact: Fact::Ignored(idle_notice(kind, sentence)), opens_window: None }
}

fn idle_notice(kind: &str, sentence: &str) -> NoticeFact {
    NoticeFact {
        kind: kind.to_owned(),
        scope: None,
        action: None,
        health: None,
        sentence: sentence.to_owned(),
        details: None,
    }
}
