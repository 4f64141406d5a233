//! Settings, accounts, handshake and signatures.

use loket_backbone::clock::Clock;
use loket_backbone::secret::Secret;
use loket_protocol::time::Timestamp;
use serde_json::json;

use super::{INSTAGRAM, OTHER_PAGE, PAGE, built, channel, fixtures, settings};
use crate::channel::{Callback, Channel, Rejected};
use crate::channels::Deps;
use crate::channels::messenger::{Settings, build};
use crate::meta::GraphSettings;

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
fn callbacks_signed_with_the_former_secret_are_taken_until_its_end() {
    let valid_until = Timestamp::from_millis(1_795_100_000_000);
    let mut settings = settings();
    settings.app_secret = Secret::new("a new one");
    settings.app_secret_previous = Some(Secret::new("loket-test-secret"));
    assert!(built(settings.clone()).is_err(), "a former secret without an end would hold for ever");
    settings.app_secret_previous_until = Some(valid_until);
    let channel = built(settings).unwrap();
    let table = include_str!("../fixtures/signatures.tsv");
    let signature = table.lines().find_map(|line| line.strip_prefix("text.json\t")).unwrap();
    let body = fixtures().into_iter().find(|fixture| fixture.name == "text.json").unwrap().bytes;
    let verdict_of = |channel: &dyn Channel, received_at: Timestamp| {
        let signatures = vec![signature.to_owned()];
        channel.authenticate(&Callback { signatures, body: body.clone().into(), received_at })
    };
    let later = valid_until.plus_millis(1);
    assert_eq!(verdict_of(&*channel, valid_until), Ok(()));
    assert_eq!(verdict_of(&*channel, later), Err(Rejected::Signature));
}

#[test]
fn a_section_is_built_if_it_has_pages_and_refused_in_words_that_repeat_no_secret() {
    let deps = Deps { clock: Clock::system(), graph: GraphSettings::default() };
    for nothing in [json!(null), json!({}), json!({"app_secret": "s"})] {
        assert!(build(nothing, &deps).unwrap().is_none());
    }
    let mut section = json!({
        "app_secret": "s", "verify_token": "v", "app_id": "9",
        "accounts": {"main": {"page_id": "1", "access_token": 4471}},
    });
    let refusal = build(section.clone(), &deps).map(|_| ()).unwrap_err();
    assert!(refusal.contains("in quotes") && !refusal.contains("4471"), "{refusal}");
    section["accounts"]["main"]["access_token"] = json!("t");
    let _ = channel();
    assert_eq!(build(section, &deps).unwrap().unwrap().accounts().len(), 1);
}
