//! Rules of the reference that no fixture exercises.

use loket_protocol::channel::ChannelHealth;
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::delivery::ProviderStatus;
use loket_protocol::inbound::{Fact, MessageFact};
use loket_protocol::problem::ParkReason;

use super::*;

fn text_message(event: &InboundEvent) -> &MessageFact {
    match &event.fact {
        Fact::Message(message) => message,
        other => panic!("{}", other.kind()),
    }
}

#[test]
fn the_answer_to_our_request_links_the_number_to_the_sender() {
    let bytes = std::fs::read(fixtures_folder().join("contacts_request_reply.json")).unwrap();
    let event = channel().receive(&callback(bytes)).unwrap().events.remove(0);
    let customer = event.customer.unwrap();
    assert_eq!(customer.user_id(), Some(&Handle::new(HandleKind::Bsuid, "NL.59025070390671455864")));
    assert!(customer.handles.contains(&Handle::new(HandleKind::Phone, "31600000088")));
    let shared_by_hand = message(&json!({
        "type": "contacts",
        "contacts": [{"origin": "other", "phones": [{"wa_id": "31600000088"}], "name": {"first_name": "A", "last_name": "B"}}],
    }));
    let event = only_event(&shared_by_hand);
    assert_eq!(event.customer.as_ref().unwrap().handles.len(), 1);
    assert_eq!(text_message(&event).content.contacts[0].name.as_deref(), Some("A B"));
}

#[test]
fn a_group_message_belongs_to_the_group_and_names_its_writer() {
    let event = only_event(&message(&json!({"type": "text", "text": {"body": "hi"}, "group_id": "Y2Fw=="})));
    assert_eq!(event.customer.as_ref().unwrap().handles, vec![Handle::new(HandleKind::Group, "Y2Fw==")]);
    let writer = text_message(&event).participant.as_ref().unwrap();
    assert_eq!(writer.handles, vec![Handle::new(HandleKind::Phone, "31600000042")]);
    assert_eq!(event.opens_window, Some(false));
    assert_eq!(event.lane(), "whatsapp:305000000000201:Y2Fw==");
}

#[test]
fn ids_and_times_are_read_as_numbers_too_and_nonsense_is_marked() {
    let number = only_event(&message(&json!({
        "from": 31_600_000_042_i64, "id": 77, "timestamp": 1_794_989_702_123_i64, "type": "text", "text": {"body": ""},
    })));
    assert_eq!(text_message(&number).external_id.as_deref(), Some("77"));
    assert_eq!(number.at.as_millis(), 1_794_989_702_123);
    assert!(!number.at_is_arrival);
    let nonsense = only_event(&message(&json!({"timestamp": "soon", "type": "text", "text": {"body": "x"}})));
    assert_eq!(nonsense.at, nonsense.received_at);
    assert!(nonsense.at_is_arrival);
}

#[test]
fn text_is_kept_code_point_for_code_point() {
    let body = " \u{202e}x\u{0301}\u{200d}\n\t ";
    let event = only_event(&message(&json!({"type": "text", "text": {"body": body}})));
    assert_eq!(text_message(&event).content.text.as_deref(), Some(body));
    let long = "é".repeat(60_000);
    let event = only_event(&message(&json!({"type": "text", "text": {"body": long}})));
    assert_eq!(text_message(&event).content.text.as_ref().map(String::len), Some(120_000));
}

#[test]
fn a_message_that_answers_itself_answers_nothing() {
    let event =
        only_event(&message(&json!({"type": "text", "text": {"body": "x"}, "context": {"id": "wamid.1"}})));
    assert_eq!(text_message(&event).reply_to, None);
}

#[test]
fn media_with_errors_but_no_file_is_shown_as_unsupported() {
    let errors = json!([{"code": 131_052, "title": "too big"}]);
    let event = only_event(&message(&json!({"type": "video", "errors": errors})));
    let content = &text_message(&event).content;
    assert_eq!(content.kind, "unsupported");
    assert_eq!(content.original_type.as_deref(), Some("video"));
    assert_eq!(content.errors[0].code, 131_052);
    let errors = json!([{"code": 131_051}]);
    let event = only_event(&message(&json!({"type": "interactive", "errors": errors})));
    assert_eq!(text_message(&event).content.kind, "unsupported");
}

#[test]
fn a_reaction_without_emoji_takes_it_back_and_one_that_is_no_text_is_parked() {
    for emoji in [json!(""), Value::Null] {
        let event = only_event(&message(
            &json!({"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": emoji}}),
        ));
        assert!(matches!(&event.fact, Fact::Reaction(reaction) if reaction.emoji.is_none()));
        assert_eq!(event.opens_window, None);
    }
    let odd = message(&json!({"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": 5}}));
    assert_eq!(only_problem(&odd).reason, ParkReason::Unreadable);
}

#[test]
fn a_flow_whose_answer_is_no_json_is_kept_as_text() {
    let flow = |response: Value| {
        let interactive = json!({"type": "nfm_reply", "nfm_reply": {"response_json": response}});
        let event = only_event(&message(&json!({"type": "interactive", "interactive": interactive})));
        text_message(&event).content.flow.clone()
    };
    assert_eq!(flow(json!("{\"a\":\"\\ud800\"}")), Some(json!({"a": "\u{fffd}"})));
    assert_eq!(flow(json!("no json")), Some(json!("no json")));
    assert_eq!(flow(json!({"a": 1})), Some(json!({"a": 1})));
}

#[test]
fn what_is_unknown_is_parked_with_all_that_can_be_told() {
    let problem = only_problem(&message(&json!({"type": "hologram", "hologram": {"secret": "words"}})));
    assert_eq!(problem.reason, ParkReason::Unknown);
    assert_eq!(problem.account.as_deref(), Some(FIRST));
    assert_eq!(problem.external_id.as_deref(), Some("wamid.1"));
    assert_eq!(problem.at, Some(Timestamp::from_millis(1_794_989_702_000)));
    let handles = vec![Handle::new(HandleKind::Phone, "31600000042")];
    assert_eq!(problem.customer, Some(Customer { handles, ..Customer::default() }));
    assert_eq!(problem.error, "entry[0].changes[0].value.messages[0]: type \"hologram\" is unknown");
    assert_eq!(problem.key(), "m|whatsapp:305000000000201|wamid.1");

    let problem = only_problem(&message(&json!({"type": "system", "system": {"type": "user_moved"}})));
    assert_eq!(problem.reason, ParkReason::Unknown);
    let problem = only_problem(&change("weather", &json!({"sun": true})));
    assert_eq!((problem.reason, problem.customer), (ParkReason::Unknown, None));
    let problem =
        only_problem(&change("messages", &json!({"statuses": [{"id": "wamid.1", "status": "warmed"}]})));
    assert_eq!((problem.reason, problem.customer, problem.external_id), (ParkReason::Unknown, None, None));
    let problem = only_problem(&change("messages", &json!({"surprises": []})));
    assert_eq!(problem.reason, ParkReason::Unknown);
    let problem = only_problem(&json!({"object": "page", "entry": []}));
    assert_eq!(problem.reason, ParkReason::Unknown);
}

#[test]
fn a_message_of_nobody_is_parked_and_a_contact_by_position_is_nobody() {
    let item = json!({"id": "wamid.1", "timestamp": "1794989702", "type": "text", "text": {"body": "x"}});
    let contacts = json!([{"wa_id": "31600000042", "profile": {"name": "A"}}]);
    let problem = only_problem(&change("messages", &json!({"messages": [item], "contacts": contacts})));
    assert_eq!(problem.reason, ParkReason::NoSender);
    assert_eq!(problem.customer, None);
    assert_eq!(problem.external_id.as_deref(), Some("wamid.1"));
}

#[test]
fn another_number_is_parked_whole_and_reads_once_it_is_configured() {
    let mut body = message(&json!({"type": "text", "text": {"body": "x"}}));
    body["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] = json!("999");
    let problem = only_problem(&body);
    assert_eq!(problem.reason, ParkReason::UnknownAccount);
    assert_eq!(problem.account.as_deref(), Some("999"));
    let mut settings = settings();
    settings.accounts.get_mut("first").unwrap().phone_number_id = "999".to_owned();
    let later = WhatsApp::new(settings, &GraphSettings::default()).unwrap();
    let replayed = later.receive(&callback(problem.raw.bytes().unwrap())).unwrap();
    assert_eq!(replayed.events.len(), 1);
    assert_eq!(replayed.events[0].channel.account, "999");
}

#[test]
fn messages_without_metadata_are_parked_and_never_guessed() {
    let mut body = message(&json!({"type": "text", "text": {"body": "x"}}));
    body["entry"][0]["changes"][0]["value"]["metadata"] = Value::Null;
    let problem = only_problem(&body);
    assert_eq!((problem.reason, problem.account), (ParkReason::Unreadable, None));
}

#[test]
fn all_arrays_of_one_change_are_read() {
    let value = json!({
        "messages": [{"from": "31600000042", "id": "wamid.1", "type": "text", "text": {"body": "x"}}],
        "statuses": [{"id": "wamid.2", "status": "sent", "recipient_id": "31600000042"}],
        "errors": [{"code": 131_000}],
    });
    let kinds: Vec<&str> =
        received(&change("messages", &value)).events.iter().map(|event| event.fact.kind()).collect();
    assert_eq!(kinds, ["message", "status", "channel_error"]);
}

#[test]
fn history_knows_its_own_side_by_receiver_or_by_number() {
    let value = json!({"history": [{"metadata": {"phase": 0}, "threads": [{"id": "31600000013", "messages": [
        {"from": "+1 202-555-0100", "id": "wamid.1", "type": "text", "text": {"body": "a"}, "history_context": {"status": "PLAYED"}},
        {"from": "12025550100", "to": "31600000013", "id": "wamid.2", "type": "text", "text": {"body": "b"}, "history_context": {"status": "ERROR"}},
        {"from": "31600000013", "id": "wamid.3", "type": "text", "text": {"body": "c"}, "history_context": {"status": "READ"}},
        {"from": "31600000013", "id": "wamid.4", "type": "reaction", "reaction": {"message_id": "wamid.2", "emoji": "👍"}},
        {"from": "31600000013", "id": "wamid.5", "type": "hologram"},
    ]}]}]});
    let received = received(&change("history", &value));
    let told: Vec<(bool, Option<ProviderStatus>)> = received
        .events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::History(history) => Some((history.outgoing, history.status)),
            _ => None,
        })
        .collect();
    let expected =
        [(true, Some(ProviderStatus::Played)), (true, Some(ProviderStatus::Failed)), (false, None)];
    assert_eq!(told, expected);
    assert!(matches!(&received.events[3].fact, Fact::Reaction(_)));
    assert!(received.events.iter().all(|event| event.opens_window == Some(false)));
    let [problem] = &received.problems[..] else { panic!("{:?}", received.problems) };
    assert_eq!(problem.customer, None);
    assert_eq!(
        problem.error,
        "entry[0].changes[0].value.history[0].threads[0].messages[4]: type \"hologram\" is unknown"
    );
    let again = channel().receive(&callback(problem.raw.bytes().unwrap())).unwrap();
    assert_eq!(again.problems[0].raw, problem.raw);
}

#[test]
fn a_notice_reaches_every_number_of_its_business_account_or_stands_for_itself() {
    let notice = |waba: &str| {
        let value = json!({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}});
        let entry = json!([{"id": waba, "time": 5_000_000, "changes": [{"field": "account_update", "value": value}]}]);
        json!({"object": "whatsapp_business_account", "entry": entry})
    };
    let mut settings = settings();
    settings.accounts.get_mut("second").unwrap().waba_id = Some("215000000000101".to_owned());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let both = WhatsApp::new(settings, &GraphSettings::default()).unwrap();
    let events = both.receive(&callback(notice("215000000000101").to_string())).unwrap().events;
    let accounts: Vec<&str> = events.iter().map(|event| event.channel.account.as_str()).collect();
    assert_eq!(accounts, [FIRST, SECOND]);
    for event in &events {
        let Fact::AccountNotice(notice) = &event.fact else { panic!("{}", event.fact.kind()) };
        assert_eq!(notice.health, Some(ChannelHealth::Reauthorise));
        assert_eq!(notice.scope.as_deref(), Some("waba 215000000000101"));
    }
    let event = only_event(&notice("4711"));
    assert_eq!(event.channel.account, "waba 4711");
}

#[test]
fn the_health_of_the_account_follows_its_notices() {
    let health = |value: Value| {
        let event = only_event(&change("account_update", &value));
        match event.fact {
            Fact::AccountNotice(notice) => {
                assert!(notice.sentence.ends_with('.'), "{}", notice.sentence);
                notice.health
            }
            other => panic!("{}", other.kind()),
        }
    };
    let ban = |state: &str| json!({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": state}});
    assert_eq!(health(ban("SCHEDULE_FOR_DISABLE")), Some(ChannelHealth::Degraded));
    assert_eq!(health(ban("DISABLE")), Some(ChannelHealth::Reauthorise));
    assert_eq!(health(ban("REINSTATE")), Some(ChannelHealth::Connected));
    assert_eq!(health(json!({"event": "PARTNER_REMOVED"})), Some(ChannelHealth::Reauthorise));
    assert_eq!(health(json!({"event": "ACCOUNT_VIOLATION"})), Some(ChannelHealth::Degraded));
    assert_eq!(health(json!({"event": "MM_LITE_TERMS_SIGNED"})), None);
}

#[test]
fn a_failed_status_brings_a_sentence_for_the_agent() {
    let status = json!({"id": "wamid.1", "status": "failed", "recipient_id": "31600000042", "errors": [{"code": 131_047}]});
    let event = only_event(&change("messages", &json!({ "statuses": [status] })));
    let Fact::Status(status) = &event.fact else { panic!("{}", event.fact.kind()) };
    assert!(status.errors[0].sentence.as_ref().unwrap().contains("template"));
}

#[test]
fn an_update_of_a_user_id_without_both_ids_is_parked() {
    let update = json!({"user_id_update": [{"user_id": {"previous": "NL.1"}}]});
    assert_eq!(only_problem(&change("user_id_update", &update)).reason, ParkReason::Unreadable);
    let update = json!({"user_id_update": [{"user_id": {"previous": "NL.1", "current": "NL.2"}}]});
    let event = only_event(&change("user_id_update", &update));
    assert_eq!(event.customer, None);
    assert_eq!(event.key(), "i|whatsapp:305000000000201|NL.1|NL.2");
}

#[test]
fn what_is_no_json_is_refused_and_what_is_no_callback_is_parked() {
    assert!(matches!(channel().receive(&callback("")), Err(Rejected::NotJson(_))));
    assert!(matches!(channel().receive(&callback(vec![0x1f, 0x8b, 8])), Err(Rejected::NotJson(_))));
    for odd in [json!(5), json!([]), json!({}), json!({"entry": {}}), Value::Null] {
        assert_eq!(only_problem(&odd).reason, ParkReason::Unreadable, "{odd}");
    }
    let empty = received(&json!({"object": "whatsapp_business_account", "entry": []}));
    assert!(empty.events.is_empty() && empty.problems.is_empty());
}
