//! Events that are no messages, beyond the fixtures.

use loket_protocol::channel::ChannelHealth;
use loket_protocol::inbound::Fact;
use loket_protocol::problem::ParkReason;
use serde_json::{Value, json};

use super::{event, problem};

#[test]
fn reactions_without_an_emoji_are_known_by_name_or_parked() {
    let named = |reaction: Value| match event("reaction", reaction).fact {
        Fact::Reaction(reaction) => reaction.emoji,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(json!({"mid": "m", "action": "react", "reaction": "like"})).as_deref(), Some("👍"));
    assert_eq!(
        named(json!({"mid": "m", "action": "react", "reaction": "new", "emoji": "🫠"})).as_deref(),
        Some("🫠")
    );
    assert_eq!(named(json!({"mid": "m", "action": "unreact"})), None);
    for (reason, reaction) in [
        (ParkReason::Unknown, json!({"mid": "m", "action": "react", "reaction": "other"})),
        (ParkReason::Unknown, json!({"mid": "m", "action": "replace", "emoji": "x"})),
        (ParkReason::Unreadable, json!({"mid": "m", "emoji": "x"})),
        (ParkReason::Unreadable, json!({"action": "unreact"})),
    ] {
        assert_eq!(problem("reaction", reaction).reason, reason);
    }
}

#[test]
fn receipts_need_a_watermark_or_a_name() {
    let fact =
        event("delivery", json!({"watermark": "1795093527", "mids": ["m_1", 5, null, "", "m_2"], "seq": 37}));
    let Fact::Watermark(receipt) = fact.fact else { panic!() };
    assert_eq!(receipt.external_ids, ["m_1", "m_2"]);
    assert_eq!(receipt.watermark.unwrap().as_millis(), 1_795_093_527_000);
    assert_eq!(problem("read", json!({"watermark": "soon"})).reason, ParkReason::Unreadable);
    assert_eq!(problem("delivery", json!({"mids": []})).reason, ParkReason::Unreadable);
}

#[test]
fn consent_keeps_its_expiry_and_never_its_token() {
    let told = event(
        "optin",
        json!({"type": "notification_messages", "notification_messages_token": "4471",
        "notification_messages_status": "RESUME NOTIFICATIONS", "token_expiry_timestamp": 1_810_000_000_000_i64,
        "user_token_status": "REFRESHED", "notification_messages_frequency": "DAILY"}),
    );
    let Fact::Optin(optin) = told.fact else { panic!() };
    assert_eq!(optin.preference.as_deref(), Some("resume"));
    let details = optin.details.unwrap();
    assert_eq!(details["token_expires_at"], "2027-05-11T01:46:40.000Z");
    assert_eq!(details["notification_messages_frequency"], "DAILY");
    assert!(!details.to_string().contains("4471"));
    assert_eq!(problem("optin", json!({"title": "x"})).reason, ParkReason::Unreadable);
    let unlinked = event("account_linking", json!({"status": "unlinked"}));
    assert!(
        matches!(unlinked.fact, Fact::Optin(optin) if optin.payload.is_none() && optin.details == Some(json!({"status": "unlinked"})))
    );
}

#[test]
fn the_platforms_measures_change_the_health() {
    for (action, health) in [
        ("block", Some(ChannelHealth::Reauthorise)),
        ("unblock", Some(ChannelHealth::Connected)),
        ("warning", Some(ChannelHealth::Degraded)),
        ("something", None),
    ] {
        let told = event("policy_enforcement", json!({"action": action}));
        assert_eq!(told.customer, None);
        let Fact::AccountNotice(notice) = told.fact else { panic!() };
        assert_eq!((notice.health, notice.action.as_deref()), (health, Some(action)));
    }
}
