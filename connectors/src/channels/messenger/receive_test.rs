//! What the fixtures do not show: the settings, the corners of every event, junk beside good ones.

use loket_backbone::clock::Clock;
use loket_backbone::secret::Secret;
use loket_protocol::channel::ChannelHealth;
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::inbound::{Fact, InboundEvent, MessageFact, ParkReason, Problem};
use loket_protocol::message::AttachmentState;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixtures_test::{fixtures, receive};
use super::{AccountSection, Settings, build};
use crate::channel::{Channel, Received, Rejected};
use crate::meta::GraphSettings;

pub(super) const PAGE: &str = "110000000000501";
const OTHER_PAGE: &str = "110000000000502";
pub(super) const INSTAGRAM: &str = "178400000000000501";
const CUSTOMER: &str = "7300000000000042";

pub(super) fn settings() -> Settings {
    let page = |page_id: &str, instagram_id: Option<&str>| AccountSection {
        page_id: page_id.to_owned(),
        access_token: Secret::new(format!("token|of {page_id}")),
        instagram_id: instagram_id.map(str::to_owned),
    };
    Settings {
        app_secret: Secret::new("loket-test-secret"),
        app_secret_previous: None,
        verify_token: Secret::new("verify me"),
        app_id: "900000000000001".to_owned(),
        accounts: [
            ("main".to_owned(), page(PAGE, Some(INSTAGRAM))),
            ("other".to_owned(), page(OTHER_PAGE, None)),
        ]
        .into(),
    }
}

pub(super) fn channel() -> Box<dyn Channel> {
    built(settings()).unwrap()
}

fn built(settings: Settings) -> Result<Box<dyn Channel>, String> {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    build(settings, &GraphSettings::default(), Clock::system())
}

fn body(items: &Value) -> Value {
    json!({"object": "page", "entry": [{"id": PAGE, "time": 1_795_093_500_412_i64, "messaging": items}]})
}

#[expect(clippy::needless_pass_by_value, reason = "every caller makes its value in place")]
fn item(event: &str, value: Value) -> Value {
    json!({"sender": {"id": CUSTOMER}, "recipient": {"id": PAGE}, "timestamp": 1_795_093_500_000_i64, event: value})
}

fn read(body: &Value) -> Received {
    receive(body.to_string())
}

/// The one event that an item comes to.
fn event(event: &str, value: Value) -> InboundEvent {
    let received = read(&body(&json!([item(event, value)])));
    assert!(received.problems.is_empty(), "{:#?}", received.problems);
    let [event] = <[_; 1]>::try_from(received.events).unwrap();
    event
}

/// The one problem that an item comes to.
fn problem(event: &str, value: Value) -> Problem {
    let received = read(&body(&json!([item(event, value)])));
    assert!(received.events.is_empty(), "{:#?}", received.events);
    let [problem] = <[_; 1]>::try_from(received.problems).unwrap();
    problem
}

fn message(value: Value) -> MessageFact {
    match event("message", value).fact {
        Fact::Message(fact) | Fact::Echo(fact) => fact,
        other => panic!("{other:?}"),
    }
}

fn echo(mut value: Value) -> MessageFact {
    value["is_echo"] = json!(true);
    value["mid"] = json!("m_echo");
    let item = json!({"sender": {"id": PAGE}, "recipient": {"id": CUSTOMER}, "timestamp": 1_795_093_500_000_i64, "message": value});
    let received = read(&body(&json!([item])));
    let event = received.events.into_iter().next().unwrap();
    assert_eq!(event.customer.unwrap().handles, [Handle::new(HandleKind::Psid, CUSTOMER)]);
    match event.fact {
        Fact::Echo(fact) => fact,
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_without_a_secret_or_with_a_foreign_shape_are_refused() {
    type Damage = fn(&mut Settings);
    let damages: [(&str, Damage); 8] = [
        ("messenger.app_secret", |s| s.app_secret = Secret::default()),
        ("app_secret_previous", |s| s.app_secret_previous = Some(Secret::default())),
        ("messenger.verify_token", |s| s.verify_token = Secret::default()),
        ("messenger.app_id", |s| "9000x".clone_into(&mut s.app_id)),
        ("accounts.main.page_id", |s| s.accounts.get_mut("main").unwrap().page_id = "../me".to_owned()),
        ("accounts.main.instagram_id", |s| {
            s.accounts.get_mut("main").unwrap().instagram_id = Some(String::new());
        }),
        ("accounts.main.access_token", |s| {
            s.accounts.get_mut("main").unwrap().access_token = Secret::default();
        }),
        ("accounts.other.page_id", |s| PAGE.clone_into(&mut s.accounts.get_mut("other").unwrap().page_id)),
    ];
    for (named, damage) in damages {
        let mut settings = settings();
        damage(&mut settings);
        let refusal = built(settings).map(|_| ()).unwrap_err();
        assert!(refusal.contains(named), "{named}: {refusal}");
        assert!(!refusal.contains("loket-test-secret") && !refusal.contains("token|of"), "{refusal}");
    }
}

#[test]
fn settings_are_read_by_name_and_unknown_keys_are_errors() {
    let section = json!({
        "app_secret": "s", "verify_token": "v", "app_id": "9",
        "accounts": {"main": {"page_id": "1", "access_token": "t"}},
    });
    let read: Settings = serde_json::from_value(section.clone()).unwrap();
    assert_eq!(read.accounts["main"].page_id, "1");
    assert!(read.accounts["main"].instagram_id.is_none());
    let mut odd = section;
    odd["accounts"]["main"]["pageid"] = json!("1");
    assert!(serde_json::from_value::<Settings>(odd).is_err());
}

#[test]
fn pages_and_instagram_accounts_are_channel_accounts() {
    let channel = channel();
    let accounts = channel.accounts();
    let named: Vec<(String, String)> =
        accounts.iter().map(|a| (a.channel.to_string(), a.name.clone())).collect();
    let expected = [
        (format!("messenger:{PAGE}"), "main".to_owned()),
        (format!("messenger:{INSTAGRAM}"), "main (Instagram)".to_owned()),
        (format!("messenger:{OTHER_PAGE}"), "other".to_owned()),
    ];
    assert_eq!(named, expected);
    let can = &accounts[0].capabilities;
    assert_eq!(can.window_ms, Some(86_400_000));
    assert_eq!(can.human_window_ms, Some(604_800_000));
    assert_eq!(can.text_chars_max, 2000);
    assert!(!can.reads_the_thread && !can.reactions);
    assert!(can.content_types.iter().any(|kind| kind == "quick_replies"));
}

#[test]
fn the_handshake_is_the_shared_one() {
    let channel = channel();
    assert_eq!(channel.handshake("subscribe", "verify me", "12"), Ok("12".to_owned()));
    assert_eq!(channel.handshake("subscribe", "verify", "12"), Err(Rejected::VerifyToken));
}

#[test]
fn callbacks_signed_with_the_former_secret_are_taken() {
    let mut settings = settings();
    settings.app_secret = Secret::new("a new one");
    settings.app_secret_previous = Some(Secret::new("loket-test-secret"));
    let channel = built(settings).unwrap();
    let line = include_str!("fixtures/signatures.tsv").lines().find(|l| l.starts_with("text.json")).unwrap();
    let callback = crate::channel::Callback {
        signatures: vec![line.split_once('\t').unwrap().1.to_owned()],
        body: fixtures().into_iter().find(|f| f.name == "text.json").unwrap().bytes.into(),
        received_at: loket_protocol::time::Timestamp::default(),
    };
    assert_eq!(channel.authenticate(&callback), Ok(()));
}

#[test]
fn a_sticker_that_comes_twice_is_one() {
    let fact = message(json!({"mid": "m_1", "attachments": [
        {"type": "image", "payload": {"url": "https://a.example/1.png", "sticker_id": 369_239_263_222_822_i64}},
        {"type": "sticker", "payload": {"url": "https://a.example/2.png", "sticker_id": "369239263222822"}},
    ]}));
    let [sticker] = &fact.attachments[..] else { panic!("{fact:?}") };
    assert_eq!(sticker.kind, "sticker");
    assert_eq!(sticker.sticker_id, Some(369_239_263_222_822));
    assert_eq!(sticker.url.as_deref(), Some("https://a.example/1.png"));
    let old = message(json!({"mid": "m_1", "sticker_id": 7, "attachments": [
        {"type": "image", "payload": {"url": "https://a.example/1.png"}}]}));
    assert_eq!((old.attachments.len(), old.attachments[0].sticker_id), (1, Some(7)));
    assert_eq!(old.attachments[0].kind, "sticker");
    let alone = message(json!({"mid": "m_1", "sticker_id": 7}));
    assert_eq!((alone.content.kind.as_str(), alone.attachments[0].sticker_id), ("attachments", Some(7)));
    let two = message(json!({"mid": "m_1", "attachments": [
        {"type": "sticker", "payload": {"url": "https://a.example/1.png", "sticker_id": 1}},
        {"type": "sticker", "payload": {"url": "https://a.example/2.png", "sticker_id": 2}},
        {"type": "image", "payload": {"url": "https://a.example/3.png"}},
        {"type": "image", "payload": {"url": "https://a.example/4.png"}},
    ]}));
    assert_eq!(two.attachments.len(), 4);
}

#[test]
fn attachments_that_are_odd_stay_with_their_message() {
    let odd = json!([
        {"type": "hologram", "payload": {"url": "https://a.example/h", "depth": 3}},
        {"type": 5}, "junk", null, 7, {},
        {"type": "location", "payload": {"coordinates": {"lat": 95, "long": 4}}},
        {"type": "fallback", "title": "Kijk", "payload": {"url": "/l.php?u=x", "title": "Kijk"}},
        {"type": "image", "payload": {"url": "file:///etc/passwd"}},
        {"type": "image", "payload": null},
        {"type": "image", "payload": {"url": "https://a.example/ok.jpg"}},
    ]);
    let fact = message(json!({"mid": "m_1", "text": "Zie bijlage", "attachments": odd}));
    assert_eq!(fact.content.kind, "text");
    let kinds: Vec<&str> = fact.attachments.iter().map(|a| a.kind.as_str()).collect();
    let mut expected = vec!["unsupported"; 7];
    expected.extend(["image"; 3]);
    assert_eq!(kinds, expected);
    assert_eq!(fact.attachments[0].details, Some(odd[0].clone()));
    assert_eq!(fact.attachments[0].url.as_deref(), Some("https://a.example/h"));
    assert_eq!(fact.attachments[6].title.as_deref(), Some("Kijk"));
    let states: Vec<AttachmentState> = fact.attachments.iter().map(|a| a.state).collect();
    assert!(states[..9].iter().all(|state| *state == AttachmentState::None));
    assert_eq!(states[9], AttachmentState::Remote);
    assert_eq!(fact.attachments[7].url, None);

    assert_eq!(message(json!({"mid": "m_1", "attachments": "junk"})).attachments[0].kind, "unsupported");
    assert_eq!(message(json!({"mid": "m_1", "attachments": odd[10]})).attachments[0].kind, "image");
}

#[test]
fn shares_keep_a_path_as_words_and_files_get_their_name() {
    let fact = message(json!({"mid": "m_1", "attachments": [
        {"type": "reel", "payload": {"url": "/reel/88", "reel_video_id": 88}},
        {"type": "ig_reel", "payload": {"url": "/reel/88", "title": "Band plakken"}},
        {"type": "story_mention", "payload": {"url": "https://lookaside.fbsbx.com/x"}},
        {"type": "file", "payload": {"url": "https://cdn.fbsbx.com/v/a%20b%2.pdf?oh=1"}},
        {"type": "file", "payload": {"url": "https://cdn.fbsbx.com"}},
    ]}));
    let titles: Vec<Option<&str>> = fact.attachments.iter().map(|a| a.title.as_deref()).collect();
    assert_eq!(titles, [Some("/reel/88"), Some("Band plakken"), None, None, None]);
    assert!(fact.attachments[..3].iter().all(|a| a.kind == "share" && a.state == AttachmentState::None));
    assert_eq!(fact.attachments[2].url.as_deref(), Some("https://lookaside.fbsbx.com/x"));
    assert_eq!(fact.attachments[3].filename.as_deref(), Some("a b%2.pdf"));
    assert_eq!(fact.attachments[4].filename, None);
}

#[test]
fn several_products_and_a_second_place_are_all_kept() {
    let fact = message(json!({"mid": "m_1", "attachments": [
        {"type": "template", "payload": {"product": {"elements": [{"id": 1, "title": "Een"}, {"id": 2, "title": "Twee"}]}}},
        {"type": "location", "payload": {"coordinates": {"lat": "52.1", "long": 4.5}}},
        {"type": "location", "payload": {"coordinates": {"lat": 53, "long": 4.5}}},
        {"type": "template", "payload": {"template_type": "generic", "elements": [{"title": "Kaart"}]}},
    ]}));
    assert_eq!(fact.content.kind, "attachments");
    assert_eq!(fact.content.product.unwrap().id.as_deref(), Some("1"));
    assert_eq!(fact.content.details.unwrap()["products"][1]["title"], "Twee");
    assert!((fact.content.location.unwrap().latitude - 52.1).abs() < 1e-9);
    let kinds: Vec<&str> = fact.attachments.iter().map(|a| a.kind.as_str()).collect();
    assert_eq!(kinds, ["unsupported", "card"]);
    assert_eq!(fact.attachments[1].title.as_deref(), Some("Kaart"));
}

#[test]
fn echoes_tell_who_sent_them() {
    let ours = echo(json!({"app_id": 900_000_000_000_001_i64, "text": "Dag", "metadata": "out:msg_1:0:1"}));
    assert_eq!((ours.outbox_id.as_deref(), ours.sent_by), (Some("out:msg_1:0:1"), None));
    for inbox in [json!(263_902_037_430_900_i64), json!("26390203743090"), json!("1217981644879628")] {
        assert_eq!(echo(json!({"app_id": inbox, "text": "Dag"})).sent_by.as_deref(), Some("page_inbox"));
    }
    let other = echo(json!({"app_id": "900000000000777", "text": "Dag", "metadata": "campaign 7"}));
    assert_eq!((other.outbox_id, other.sent_by.as_deref()), (None, Some("900000000000777")));
    let untold = echo(json!({"text": "Dag", "metadata": "out:1"}));
    assert_eq!((untold.outbox_id.as_deref(), untold.sent_by), (Some("out:1"), None));
}

#[test]
fn the_template_of_an_echo_is_told_in_words() {
    let generic = echo(json!({"app_id": "1", "attachments": [{"type": "template", "payload": {
        "template_type": "generic", "elements": [
            {"title": "Fiets", "subtitle": "€ 499", "buttons": [{"type": "postback", "title": "Kies", "payload": "F"}]},
            {"title": "Bel"}]}}]}));
    assert_eq!(generic.content.kind, "template");
    assert_eq!(generic.content.text.as_deref(), Some("Fiets\n€ 499\nBel"));
    assert_eq!(
        (generic.content.buttons[0].title.as_str(), generic.content.buttons[0].id.as_deref()),
        ("Kies", Some("F"))
    );
    assert_eq!(generic.content.details.unwrap()["template"]["template_type"], "generic");
    assert!(generic.attachments.is_empty());
}

#[test]
fn messages_of_the_page_itself_without_the_echo_mark_are_echoes() {
    let mut said = item("message", json!({"mid": "m_1", "text": "Dag"}));
    said["sender"]["id"] = json!(PAGE);
    said["recipient"]["id"] = json!(CUSTOMER);
    let mut reacted = item("reaction", json!({"mid": "m_2", "action": "react", "emoji": "🧡"}));
    reacted["sender"]["id"] = json!(PAGE);
    reacted["recipient"]["id"] = json!(CUSTOMER);
    let received = read(&body(&json!([said, reacted])));
    assert!(matches!(&received.events[0].fact, Fact::Echo(_)));
    assert!(matches!(&received.events[1].fact, Fact::Reaction(reaction) if reaction.outgoing));
    assert_eq!(received.events[1].opens_window, Some(false));
    for event in &received.events {
        assert_eq!(event.customer.as_ref().unwrap().handles[0].value, CUSTOMER);
    }
}

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
fn edits_count_in_numbers_or_digits() {
    let number = |num_edit: Value| match event(
        "message_edit",
        json!({"mid": "m", "text": "Nieuw", "num_edit": num_edit}),
    )
    .fact
    {
        Fact::Edit(edit) => edit.edit_number,
        other => panic!("{other:?}"),
    };
    assert_eq!((number(json!(2)), number(json!("3")), number(json!(null))), (Some(2), Some(3), None));
    assert_eq!(problem("message_edit", json!({"mid": "m"})).reason, ParkReason::Unreadable);
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

#[test]
fn an_order_reads_prices_as_they_stand_and_is_keyed_by_its_contents() {
    let order = json!({"products": [
        {"id": 123, "unit_price": "19.95", "currency": "EUR", "quantity": "2"},
        {"retailer_id": "B", "unit_price": 1.5, "currency": "EUR", "quantity": 1},
        "junk"]});
    let first = event("order", order.clone());
    let Fact::Message(fact) = &first.fact else { panic!() };
    let items = &fact.content.order.as_ref().unwrap().items;
    let lines: Vec<_> = items.iter().map(|i| (i.product_id.as_str(), i.quantity, i.price.as_str())).collect();
    assert_eq!(lines, [("123", 2, "19.95"), ("B", 1, "1.5")]);
    assert_eq!(fact.content.details.as_ref().unwrap()["products"][2], "junk");
    assert_eq!(first.key(), event("order", order).key());
    let other = event("order", json!({"note": "x", "products": []}));
    assert_ne!(first.key(), other.key());
    assert_eq!(problem("order", json!({"products": [{}]})).reason, ParkReason::Unreadable);
}

#[test]
fn what_is_new_in_a_message_is_kept_as_it_came() {
    let fact = message(json!({"mid": "m_1", "poll": {"question": "?"}}));
    assert_eq!(fact.content.kind, "unsupported");
    assert_eq!(fact.content.original_type.as_deref(), Some("poll"));
    assert_eq!(fact.content.details, Some(json!({"poll": {"question": "?"}})));
    let unsupported = message(json!({"mid": "m_1", "is_unsupported": true}));
    assert_eq!(unsupported.content.kind, "unsupported");
    let heart = message(json!({"mid": "m_1", "attachments": [{"type": "like_heart"}]}));
    assert_eq!((heart.content.kind.as_str(), heart.content.text.as_deref()), ("text", Some("❤️")));
    for nothing in [json!({}), json!({"text": ""}), json!({"mid": "", "text": null})] {
        assert_eq!(problem("message", nothing).reason, ParkReason::Unreadable);
    }
    assert_eq!(
        problem("message", json!({"mid": "m".repeat(513), "text": "x"})).reason,
        ParkReason::Unreadable
    );
    let nameless = message(json!({"text": "zonder mid"}));
    assert_eq!(nameless.external_id, None);
}

#[test]
fn a_postback_without_anything_is_parked_and_without_an_id_keyed_by_contents() {
    assert_eq!(problem("postback", json!({"referral": {"ref": "x"}})).reason, ParkReason::Unreadable);
    let one = event("postback", json!({"title": "Ja", "payload": "JA"}));
    let other = event("postback", json!({"title": "Nee", "payload": "NEE"}));
    assert_ne!(one.key(), other.key());
}

#[test]
fn the_time_of_arrival_stands_in_for_a_missing_one() {
    for timestamp in [json!(null), json!("soon"), json!(0), json!(-5), json!({})] {
        let mut item = item("message", json!({"mid": "m_1", "text": "x"}));
        item["timestamp"] = timestamp;
        let event = read(&body(&json!([item]))).events.remove(0);
        assert!(event.at_is_arrival);
        assert_eq!(event.at, event.received_at);
    }
    let mut seconds = item("message", json!({"mid": "m_1", "text": "x"}));
    seconds["timestamp"] = json!(1_795_093_500);
    assert_eq!(read(&body(&json!([seconds]))).events[0].at.as_millis(), 1_795_093_500_000);
}

#[test]
fn unknown_accounts_and_instagram_of_others_are_parked_item_by_item() {
    let mut unknown = body(&json!([
        item("message", json!({"mid": "m_1", "text": "x"})),
        item("read", json!({"watermark": 5}))
    ]));
    unknown["entry"][0]["id"] = json!("99");
    let received = read(&unknown);
    assert!(received.events.is_empty());
    assert_eq!(received.problems.len(), 2);
    for problem in &received.problems {
        assert_eq!(problem.reason, ParkReason::UnknownAccount);
        assert_eq!(problem.account.as_deref(), Some("99"));
    }
    assert_eq!(received.problems[0].external_id.as_deref(), Some("m_1"));
    assert_eq!(received.problems[0].key(), "m|messenger:99|m_1");
    assert_eq!(received.problems[0].customer.as_ref().unwrap().handles[0].value, CUSTOMER);

    let mut crossed = body(&json!([item("message", json!({"mid": "m_1", "text": "x"}))]));
    crossed["object"] = json!("instagram");
    assert_eq!(read(&crossed).problems[0].reason, ParkReason::UnknownAccount);
}

#[test]
fn an_item_for_another_account_than_its_entry_is_parked_without_a_customer() {
    let mut misrouted = item("message", json!({"mid": "m_1", "text": "x"}));
    misrouted["recipient"]["id"] = json!(OTHER_PAGE);
    let received = read(&body(&json!([misrouted])));
    assert_eq!(received.problems[0].reason, ParkReason::Unreadable);
    assert_eq!(received.problems[0].customer, None);
    let mut untold = item("message", json!({"mid": "m_1", "text": "x"}));
    untold["recipient"] = json!(null);
    assert_eq!(read(&body(&json!([untold]))).events.len(), 1);
}

#[test]
fn an_account_that_writes_to_itself_is_ignored() {
    let mut own = item("message", json!({"mid": "m_1", "text": "test", "is_self": true}));
    own["sender"]["id"] = json!(INSTAGRAM);
    own["recipient"]["id"] = json!(INSTAGRAM);
    let mut whole = body(&json!([own]));
    whole["object"] = json!("instagram");
    whole["entry"][0]["id"] = json!(INSTAGRAM);
    let received = read(&whole);
    assert!(matches!(&received.events[0].fact, Fact::Ignored(notice) if notice.kind == "is_self"));
}

#[test]
fn nobody_is_no_customer() {
    let mut anonymous = item("message", json!({"mid": "m_1", "text": "x"}));
    anonymous["sender"] = json!({});
    let received = read(&body(&json!([anonymous])));
    assert_eq!(received.problems[0].reason, ParkReason::NoSender);
}

#[test]
fn unknown_events_and_fields_are_parked_with_their_sender_and_readable_again() {
    let unknown = problem("telepathy", json!({"thought": "geheim"}));
    assert_eq!(unknown.reason, ParkReason::Unknown);
    assert_eq!(unknown.error, "entry[0].messaging[0]: event \"telepathy\" is unknown");
    assert_eq!(unknown.customer.as_ref().unwrap().handles[0].value, CUSTOMER);
    let raw: Value = serde_json::from_slice(&unknown.raw.bytes().unwrap()).unwrap();
    assert_eq!(raw, body(&json!([item("telepathy", json!({"thought": "geheim"}))])));
    let again = receive(unknown.raw.bytes().unwrap()).problems.remove(0);
    assert_eq!((again.key(), again.reason), (unknown.key(), unknown.reason));

    assert_eq!(
        problem("Wat een raar bericht, zeg!", json!({})).error,
        "entry[0].messaging[0]: event of an unprintable name is unknown"
    );

    let changes = json!({"object": "page", "entry": [{"id": PAGE, "time": 5, "changes": [
        {"field": "moods", "value": {}}, {"field": "feed", "value": {"item": "post"}}, {"value": 1}, 7,
        {"field": "messenger_template_status_update", "value": {"event": "APPROVED"}}]}]});
    let received = read(&changes);
    let kinds: Vec<&str> = received.events.iter().map(|e| e.fact.kind()).collect();
    assert_eq!(kinds, ["ignored", "account_notice"]);
    let reasons: Vec<ParkReason> = received.problems.iter().map(|p| p.reason).collect();
    assert_eq!(reasons, [ParkReason::Unknown, ParkReason::Unreadable, ParkReason::Unreadable]);
}

#[test]
fn an_annotation_beside_a_known_event_is_no_second_one() {
    let mut annotated = item("message", json!({"mid": "m_1", "text": "x"}));
    annotated["prior_message"] = json!({"source": "checkbox_plugin"});
    let received = read(&body(&json!([annotated])));
    assert_eq!((received.events.len(), received.problems.len()), (1, 0));
}

#[test]
fn bodies_that_are_nothing_are_parked_whole() {
    for nothing in [
        json!([]),
        json!(5),
        json!({}),
        json!({"object": "user", "entry": [1]}),
        json!({"object": "page"}),
        json!({"object": "page", "entry": {}}),
    ] {
        let received = read(&nothing);
        assert_eq!((received.events.len(), received.problems.len()), (0, 1), "{nothing}");
        let raw: Value = serde_json::from_slice(&received.problems[0].raw.bytes().unwrap()).unwrap();
        assert_eq!(raw, nothing);
    }
    let callback = |body: &'static str| crate::channel::Callback {
        signatures: Vec::new(),
        body: body.into(),
        received_at: loket_protocol::time::Timestamp::default(),
    };
    assert!(matches!(channel().receive(&callback("{\"object\":")), Err(Rejected::NotJson(_))));
}

#[test]
fn junk_never_costs_its_neighbours() {
    let good = |mid: &str| item("message", json!({"mid": mid, "text": "goed"}));
    let whole = json!({"object": "page", "entry": [
        null, 5, "x", [], {}, {"id": PAGE}, {"id": {"x": 1}, "messaging": [good("m_lost")]},
        {"id": PAGE, "messaging": [null, 5, "x", [], {}, good("m_1"), {"message": 5}, {"message": []}, good("m_2")], "standby": [good("m_3"), 7]},
        {"id": 110_000_000_000_501_i64, "messaging": {"x": 1}, "standby": [good("m_4")]},
    ]});
    let received = read(&whole);
    let ids: Vec<&str> = received
        .events
        .iter()
        .map(|event| match &event.fact {
            Fact::Message(message) => message.external_id.as_deref().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, ["m_1", "m_2", "m_3", "m_4"]);
    assert!(
        received.problems.iter().any(|p| p.external_id.as_deref() == Some("m_lost") && p.account.is_none())
    );
    assert_eq!(received.problems.len(), 15);
}

#[test]
fn an_event_too_large_for_the_bus_is_parked_in_pieces() {
    let long = "x".repeat(1_200_000);
    let whole = body(&json!([
        item("message", json!({"mid": "m_1", "text": "goed"})),
        item("message", json!({"mid": "m_2", "text": long}))
    ]));
    let received = read(&whole);
    assert_eq!(received.events.len(), 1);
    let pieces: Vec<(u32, u32)> = received.problems.iter().map(|p| (p.raw.number, p.raw.of)).collect();
    assert_eq!(pieces, [(0, 2), (1, 2)]);
    for problem in &received.problems {
        assert!(serde_json::to_vec(problem).unwrap().len() < loket_backbone::bus::PAYLOAD_BYTES_MAX);
    }
}

/// All paths to values in a tree, as JSON pointers.
fn pointers(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                pointers(value, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                pointers(item, &format!("{path}/{number}"), found);
            }
        }
        _ => {}
    }
}

fn junk() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([[[[null]]]])),
        Just(json!({"id": {"id": []}})),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i16>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        ".{0,12}".prop_map(Value::from),
        Just(json!("\u{0}\u{202e}")),
        Just(json!("x".repeat(600))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Any part of any fixture replaced by junk: no panic, nothing silently gone, and the items
    /// around it come through.
    #[test]
    fn mutated_fixtures_never_cost_a_neighbour(
        which in any::<prop::sample::Index>(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), junk()), 1..4),
    ) {
        let fixtures = fixtures();
        let fixture = which.get(&fixtures);
        let whole: Value = serde_json::from_slice(&fixture.bytes).unwrap();
        let object = whole["object"].clone();
        let account = if object == "page" { PAGE } else { INSTAGRAM };
        let mut entry = whole["entry"][0].clone();
        for (hit, junk) in hits {
            let mut paths = Vec::new();
            pointers(&entry, "", &mut paths);
            *entry.pointer_mut(hit.get(paths.as_slice()).as_str()).unwrap() = junk;
        }
        let good = |mid: &str| {
            let mut good = item("message", json!({"mid": mid, "text": "goed"}));
            good["recipient"]["id"] = json!(account);
            good
        };
        let list = |name: &str| entry.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut items = vec![good("m_before")];
        items.extend(list("messaging"));
        items.push(good("m_after"));
        let mixed = json!({"object": object, "entry": [
            {"id": account, "messaging": items, "standby": list("standby"), "changes": list("changes")},
            entry,
            {"id": account, "messaging": [good("m_last")]},
        ]});
        let received = read(&mixed);
        for mid in ["m_before", "m_after", "m_last"] {
            let found = received.events.iter().filter(
                |event| matches!(&event.fact, Fact::Message(m) if m.external_id.as_deref() == Some(mid)),
            );
            prop_assert_eq!(found.count(), 1, "{}", mid);
        }
        prop_assert!(received.events.len() + received.problems.len() >= 4);
        for problem in &received.problems {
            prop_assert!(problem.raw.bytes().is_some());
            prop_assert!(problem.error.chars().all(|c| c.is_ascii() && !c.is_control()));
        }
        for event in &received.events {
            let bytes = serde_json::to_vec(event).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<InboundEvent>(&bytes).unwrap(), event);
            prop_assert!(!event.key().is_empty());
        }
    }
}
