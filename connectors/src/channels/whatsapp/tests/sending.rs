//! The exact bodies of `whatsapp` §11 and what becomes of the answers.

use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::SendClass;
use loket_protocol::ids::{Id as _, MessageId};
use loket_protocol::outbound::{Dispatch, OUTBOUND_VERSION};

use super::*;
use crate::meta::scripted::{Script, Scripted};

fn accepted() -> Value {
    json!({
        "messaging_product": "whatsapp",
        "contacts": [{"input": "+31600000042", "wa_id": "31600000042"}],
        "messages": [{"id": "wamid.new", "message_status": "accepted"}],
    })
}

fn outbound(content: &Value, attachment: Option<Value>) -> OutboundMessage {
    let message_id = MessageId::mint(Timestamp::from_millis(5), [3; 10]);
    OutboundMessage {
        v: OUTBOUND_VERSION,
        dispatch: Dispatch { message_id, part: 0, number: 1 },
        channel: ChannelAccount { kind: ChannelKind::new(KIND).unwrap(), account: FIRST.to_owned() },
        to: vec![Handle::new(HandleKind::Bsuid, "NL.1"), Handle::new(HandleKind::Phone, "31600000042")],
        content: serde_json::from_value(content.clone()).unwrap(),
        attachment: attachment.map(|given| serde_json::from_value(given).unwrap()),
        reply_to: None,
        written_by_person: true,
        window_closes_at: None,
    }
}

/// The body that goes out for a content, without what every body has.
fn body_of(content: &Value, attachment: Option<Value>) -> Value {
    let message = outbound(content, attachment);
    let mut body = send::body(&message, &settings().accounts["first"]).unwrap();
    let keys = body.as_object_mut().unwrap();
    assert_eq!(keys.remove("messaging_product"), Some(json!("whatsapp")));
    assert_eq!(keys.remove("recipient_type"), Some(json!("individual")));
    assert_eq!(keys.remove("to"), Some(json!("+31600000042")));
    assert_eq!(keys.remove("biz_opaque_callback_data"), Some(json!(message.dispatch.outbox_id())));
    body
}

/// Why a content is refused before anything is sent.
fn refusal(content: &Value, attachment: Option<Value>) -> String {
    let message = outbound(content, attachment);
    match send::body(&message, &settings().accounts["first"]) {
        Err(SendError::NotSent { class: SendClass::Final, code: None, sentence, .. }) => sentence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_text_goes_to_the_number_and_comes_back_with_its_id() {
    let provider = Scripted::answering(&accepted()).await;
    let channel = channel_at(&provider.url);
    let mut message = outbound(&json!({"type": "text", "text": "Ja, om 16:00 👍"}), None);
    message.reply_to = Some("wamid.theirs".to_owned());
    let taken = channel.send(&message).await.unwrap();
    assert_eq!(taken.external_id, "wamid.new");
    assert_eq!(taken.learnt, vec![Handle::new(HandleKind::Phone, "31600000042")]);
    let asked = provider.only_request();
    assert_eq!(asked.line, "POST /v26.0/305000000000201/messages HTTP/1.1");
    assert!(asked.headers.contains(&"authorization: Bearer token-1".to_owned()));
    let expected = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+31600000042",
        "type": "text",
        "text": {"body": "Ja, om 16:00 👍", "preview_url": false},
        "context": {"message_id": "wamid.theirs"},
        "biz_opaque_callback_data": message.dispatch.outbox_id(),
    });
    assert_eq!(asked.body, expected);
}

#[test]
fn a_hidden_number_is_reached_by_user_id_unless_switched_off() {
    let mut message = outbound(&json!({"type": "text", "text": "x"}), None);
    let mut account = settings().accounts["first"].clone();
    let address = |message: &OutboundMessage, account: &Account| {
        let body = send::body(message, account)?;
        Ok::<_, SendError>((body["recipient_type"].clone(), body["to"].clone(), body["recipient"].clone()))
    };
    message.to = vec![Handle::new(HandleKind::Username, "mila"), Handle::new(HandleKind::Bsuid, "NL.1")];
    assert_eq!(address(&message, &account), Ok((json!("individual"), Value::Null, json!("NL.1"))));
    account.send_to_bsuid = false;
    assert!(address(&message, &account).unwrap_err().to_string().contains("hidden"));
    message.to = vec![Handle::new(HandleKind::Group, "Y2Fw")];
    assert_eq!(address(&message, &account), Ok((json!("group"), json!("Y2Fw"), Value::Null)));
    message.to = vec![Handle::new(HandleKind::Username, "mila")];
    assert!(address(&message, &account).unwrap_err().to_string().contains("no address"));
}

#[test]
fn files_go_by_id_or_link() {
    let image = json!({"kind": "image", "url": "https://files.example/a.jpg"});
    assert_eq!(
        body_of(&json!({"type": "image", "text": "kijk"}), Some(image.clone())),
        json!({"type": "image", "image": {"link": "https://files.example/a.jpg", "caption": "kijk"}})
    );
    assert_eq!(
        body_of(&json!({"type": "text", "text": "kijk"}), Some(json!({"kind": "image", "media_id": "77"}))),
        json!({"type": "image", "image": {"id": "77", "caption": "kijk"}})
    );
    assert_eq!(
        body_of(&json!({"type": "video"}), Some(json!({"kind": "video", "media_id": "1"}))),
        json!({"type": "video", "video": {"id": "1"}})
    );
    assert_eq!(
        body_of(&json!({"type": "audio"}), Some(json!({"kind": "audio", "media_id": "1", "voice": true}))),
        json!({"type": "audio", "audio": {"id": "1", "voice": true}})
    );
    assert_eq!(
        body_of(
            &json!({"type": "document"}),
            Some(json!({"kind": "file", "media_id": "1", "filename": "offerte.pdf"}))
        ),
        json!({"type": "document", "document": {"id": "1", "filename": "offerte.pdf"}})
    );
    assert_eq!(
        body_of(&json!({"type": "sticker"}), Some(json!({"kind": "sticker", "media_id": "1"}))),
        json!({"type": "sticker", "sticker": {"id": "1"}})
    );
    assert!(refusal(&json!({"type": "image"}), None).contains("missing"));
    assert!(refusal(&json!({"type": "image"}), Some(json!({"kind": "image"}))).contains("address"));
    let file = json!({"kind": "image", "url": "file:///etc/passwd"});
    assert!(refusal(&json!({"type": "image"}), Some(file)).contains("address"));
    let large = json!({"kind": "image", "media_id": "1", "size": 5_000_001});
    assert!(refusal(&json!({"type": "image"}), Some(large)).contains("5000 kB"));
    let voice = json!({"kind": "audio", "media_id": "1"});
    assert!(refusal(&json!({"type": "audio", "text": "x"}), Some(voice)).contains("by itself"));
    let buttons = json!({"type": "buttons", "text": "x", "buttons": [{"title": "a"}]});
    assert!(refusal(&buttons, Some(image.clone())).contains("file"));
    assert!(refusal(&json!({"type": "image", "text": "x".repeat(1025)}), Some(image)).contains("1025"));
}

#[test]
fn places_cards_templates_and_reactions() {
    let place = json!({"latitude": 52.37, "longitude": 4.89, "name": "Dam", "address": "Dam 1"});
    assert_eq!(
        body_of(&json!({"type": "location", "location": place}), None),
        json!({"type": "location", "location": place})
    );
    let nowhere = json!({"type": "location", "location": {"latitude": 91.0, "longitude": 0.0}});
    assert!(refusal(&nowhere, None).contains("earth"));
    let card = json!({"name": "Oma", "phones": ["+31600000056"], "emails": ["oma@example.org"], "organisation": "Thuis"});
    assert_eq!(
        body_of(&json!({"type": "contacts", "contacts": [card]}), None),
        json!({"type": "contacts", "contacts": [{
            "name": {"formatted_name": "Oma", "first_name": "Oma"},
            "phones": [{"phone": "+31600000056"}],
            "emails": [{"email": "oma@example.org"}],
            "org": {"company": "Thuis"},
        }]})
    );
    assert!(refusal(&json!({"type": "contacts", "contacts": [{"phones": ["1"]}]}), None).contains("name"));
    let components = json!([{"type": "body", "parameters": [{"type": "text", "text": "16:00"}]}]);
    assert_eq!(
        body_of(
            &json!({"type": "template", "template": {"name": "herinnering", "language": "nl", "components": components}}),
            None
        ),
        json!({"type": "template", "template": {"name": "herinnering", "language": {"code": "nl"}, "components": components}})
    );
    assert!(refusal(&json!({"type": "template", "template": {"name": "x"}}), None).contains("language"));
    let mut reaction =
        outbound(&json!({"type": "reaction", "reaction": {"external_id": "wamid.1", "emoji": "👍"}}), None);
    reaction.reply_to = Some("wamid.1".to_owned());
    let body = send::body(&reaction, &settings().accounts["first"]).unwrap();
    assert_eq!(body["reaction"], json!({"message_id": "wamid.1", "emoji": "👍"}));
    assert_eq!(body.get("context"), None);
    assert_eq!(
        body_of(&json!({"type": "reaction", "reaction": {"external_id": "wamid.1", "emoji": ""}}), None)["reaction"],
        json!({"message_id": "wamid.1", "emoji": ""})
    );
    assert!(refusal(&json!({"type": "reaction", "reaction": {"emoji": "👍"}}), None).contains("not known"));
}

#[test]
fn buttons_links_and_questions() {
    let buttons = json!({
        "type": "buttons", "text": "Komt u?", "header": "Afspraak", "footer": "Spaakwiel",
        "buttons": [{"id": "yes", "title": "Ja"}, {"title": "Nee"}],
    });
    assert_eq!(
        body_of(&buttons, None),
        json!({"type": "interactive", "interactive": {
            "type": "button",
            "header": {"type": "text", "text": "Afspraak"},
            "body": {"text": "Komt u?"},
            "footer": {"text": "Spaakwiel"},
            "action": {"buttons": [
                {"type": "reply", "reply": {"id": "yes", "title": "Ja"}},
                {"type": "reply", "reply": {"id": "Nee", "title": "Nee"}},
            ]},
        }})
    );
    let with = |key: &str, value: Value| {
        let mut content = buttons.clone();
        content[key] = value;
        refusal(&content, None)
    };
    assert!(with("buttons", json!([])).contains("one to 3"));
    assert!(
        with("buttons", json!([{"title": "a"}, {"title": "b"}, {"title": "c"}, {"title": "d"}]))
            .contains("one to 3")
    );
    assert!(
        with("buttons", json!([{"title": "a", "id": "1"}, {"title": "a", "id": "2"}])).contains("titles")
    );
    assert!(with("buttons", json!([{"title": "a", "id": "1"}, {"title": "b", "id": "1"}])).contains("ids"));
    assert!(with("buttons", json!([{"title": "é".repeat(21)}])).contains("at most 20"));
    assert!(with("buttons", json!([{"title": "a", "id": "x".repeat(257)}])).contains("at most 256"));
    assert!(with("text", json!("")).contains("no text"));
    assert!(with("text", json!("x".repeat(1025))).contains("at most 1024"));
    assert!(with("header", json!("x".repeat(61))).contains("header"));
    assert!(with("footer", json!("x".repeat(61))).contains("footer"));

    let link = json!({"type": "cta_url", "text": "Volg het", "buttons": [{"title": "Open", "url": "https://a.example/1"}]});
    assert_eq!(
        body_of(&link, None),
        json!({"type": "interactive", "interactive": {
            "type": "cta_url",
            "body": {"text": "Volg het"},
            "action": {"name": "cta_url", "parameters": {"display_text": "Open", "url": "https://a.example/1"}},
        }})
    );
    assert!(
        refusal(&json!({"type": "cta_url", "text": "x", "buttons": [{"title": "a"}]}), None).contains("link")
    );
    assert_eq!(
        body_of(&json!({"type": "location_request", "text": "Waar bent u?"}), None)["interactive"],
        json!({"type": "location_request_message", "body": {"text": "Waar bent u?"}, "action": {"name": "send_location"}})
    );
    assert_eq!(
        body_of(&json!({"type": "contact_request", "text": "Uw nummer?"}), None)["interactive"],
        json!({"type": "request_contact_info", "body": {"text": "Uw nummer?"}, "action": {"name": "request_contact_info"}})
    );
    for kind in ["quick_replies", ""] {
        assert!(refusal(&json!({"type": kind, "text": "x"}), None).contains("kind of message"));
    }
}

#[test]
fn lists_keep_their_limits() {
    let row = |n: usize| json!({"id": format!("r{n}"), "title": format!("Rij {n}")});
    let list = |sections: Value| json!({"type": "list", "text": "Kies", "list": {"button": "Tijden", "sections": sections}});
    let detailed = json!({"id": "r1", "title": "Rij 1", "description": "Filiaal"});
    assert_eq!(
        body_of(
            &list(json!([{"title": "Maandag", "rows": [detailed]}, {"title": "Dinsdag", "rows": [row(2)]}])),
            None
        ),
        json!({"type": "interactive", "interactive": {
            "type": "list",
            "body": {"text": "Kies"},
            "action": {"button": "Tijden", "sections": [
                {"title": "Maandag", "rows": [detailed]},
                {"title": "Dinsdag", "rows": [row(2)]},
            ]},
        }})
    );
    let rows: Vec<Value> = (0..11).map(row).collect();
    assert!(refusal(&list(json!([{"rows": rows}])), None).contains("rows"));
    assert!(refusal(&list(json!([])), None).contains("sections"));
    assert!(refusal(&list(json!([{"rows": []}])), None).contains("rows"));
    assert!(refusal(&list(json!([{"rows": [row(1), row(1)]}])), None).contains("ids"));
    assert!(
        refusal(&list(json!([{"title": "a", "rows": [row(1)]}, {"rows": [row(2)]}])), None).contains("title")
    );
    let long = |key: &str, chars: usize| {
        let mut row = row(1);
        row[key] = json!("x".repeat(chars));
        refusal(&list(json!([{"rows": [row]}])), None)
    };
    assert!(long("title", 25).contains("at most 24"));
    assert!(long("description", 73).contains("at most 72"));
    assert!(long("id", 201).contains("at most 200"));
    let mut wide = list(json!([{"rows": [row(1)]}]));
    wide["text"] = json!("x".repeat(4096));
    assert_eq!(body_of(&wide, None)["interactive"]["type"], "list");
    wide["text"] = json!("x".repeat(4097));
    assert!(refusal(&wide, None).contains("at most 4096"));
}

#[test]
fn every_content_type_that_is_offered_can_be_sent_and_limits_count_characters() {
    let text = |count: usize| json!({"type": "text", "text": "é".repeat(count)});
    assert_eq!(body_of(&text(4096), None)["type"], "text");
    assert!(refusal(&text(4097), None).contains("4097"));
    for kind in content_types() {
        let message = outbound(&json!({"type": kind}), None);
        let refused = send::body(&message, &settings().accounts["first"]).unwrap_err().to_string();
        assert!(!refused.contains("kind of message"), "{kind}");
    }
}

#[tokio::test]
async fn every_answer_comes_to_its_outcome() {
    let send = async |script: Script| {
        let provider = Scripted::new(script).await;
        channel_at(&provider.url).send(&outbound(&json!({"type": "text", "text": "x"}), None)).await
    };
    let answer = |status: u16, body: Value| Script::Answer(status, "", body.to_string());
    let closed = send(answer(400, json!({"error": {"message": "(#131047)", "code": 131_047, "error_data": {"details": "+31600000042"}}}))).await;
    let Err(SendError::NotSent { class: SendClass::Final, code: Some(131_047), sentence, .. }) = closed
    else {
        panic!("{closed:?}");
    };
    assert!(sentence.contains("template") && !sentence.contains("316"));
    let slow = send(answer(400, json!({"error": {"code": 131_056}}))).await;
    assert!(matches!(slow, Err(SendError::NotSent { class: SendClass::PacePair, .. })), "{slow:?}");
    let token = send(answer(401, json!({"error": {"code": 190, "error_subcode": 463}}))).await;
    assert!(
        matches!(token, Err(SendError::NotSent { class: SendClass::Configuration, subcode: Some(463), .. })),
        "{token:?}"
    );
    let busy = send(Script::Answer(503, "retry-after: 3\r\n", String::new())).await;
    assert!(
        matches!(busy, Err(SendError::NotSent { class: SendClass::Retry, retry_after_ms: Some(3000), .. })),
        "{busy:?}"
    );
    for lost in [
        Script::Hangup,
        answer(502, json!("x")),
        answer(200, json!({"messages": []})),
        answer(200, json!({})),
    ] {
        let outcome = send(lost.clone()).await;
        assert!(matches!(outcome, Err(SendError::Unconfirmed(_))), "{lost:?}: {outcome:?}");
    }
    let refused = channel().send(&outbound(&json!({"type": "text", "text": "x"}), None)).await;
    assert!(matches!(refused, Err(SendError::NotSent { class: SendClass::Retry, .. })), "{refused:?}");
}

#[tokio::test]
async fn what_is_refused_by_ourselves_is_never_sent() {
    let provider = Scripted::answering(&accepted()).await;
    let channel = channel_at(&provider.url);
    let too_long = outbound(&json!({"type": "text", "text": "x".repeat(5000)}), None);
    assert!(channel.send(&too_long).await.is_err());
    let mut elsewhere = outbound(&json!({"type": "text", "text": "x"}), None);
    elsewhere.channel.account = "999".to_owned();
    assert!(matches!(
        channel.send(&elsewhere).await,
        Err(SendError::NotSent { class: SendClass::Final, .. })
    ));
    assert!(provider.asked().is_empty());
}

#[tokio::test]
async fn a_user_id_in_the_answer_is_learnt() {
    let answer =
        json!({"contacts": [{"input": "NL.1", "user_id": "NL.1"}], "messages": [{"id": "wamid.new"}]});
    let provider = Scripted::answering(&answer).await;
    let taken = channel_at(&provider.url).send(&outbound(&json!({"type": "text", "text": "x"}), None)).await;
    assert_eq!(taken.unwrap().learnt, vec![Handle::new(HandleKind::Bsuid, "NL.1")]);
}

#[tokio::test]
async fn read_marks_and_typing_are_passed_on() {
    let provider = Scripted::answering(&json!({"success": true})).await;
    let at = channel_at(&provider.url);
    let account = ChannelAccount { kind: ChannelKind::new(KIND).unwrap(), account: FIRST.to_owned() };
    let read = Signal::MarkRead { channel: account.clone(), to: vec![], external_id: "wamid.1".to_owned() };
    assert_eq!(at.signal(&read).await, SignalReply::Done);
    let typing = |on: bool, external_id: Option<&str>| Signal::Typing {
        channel: account.clone(),
        to: vec![],
        on,
        external_id: external_id.map(str::to_owned),
    };
    assert_eq!(at.signal(&typing(true, Some("wamid.1"))).await, SignalReply::Done);
    assert_eq!(at.signal(&typing(false, Some("wamid.1"))).await, SignalReply::NotDone);
    assert_eq!(at.signal(&typing(true, None)).await, SignalReply::NotDone);
    let bodies: Vec<Value> = provider.asked().into_iter().map(|asked| asked.body).collect();
    let mark = json!({"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.1"});
    let mut and_typing = mark.clone();
    and_typing["typing_indicator"] = json!({"type": "text"});
    assert_eq!(bodies, vec![mark, and_typing]);
    assert_eq!(channel().signal(&read).await, SignalReply::NotDone);
}

#[tokio::test]
async fn the_probe_says_what_is_wrong() {
    let provider = Scripted::answering(&json!({"id": FIRST})).await;
    assert_eq!(channel_at(&provider.url).probe(FIRST).await, Ok(()));
    assert_eq!(provider.only_request().line, "GET /v26.0/305000000000201?fields=id HTTP/1.1");
    let provider = Scripted::answering(&json!({"id": "1"})).await;
    assert!(channel_at(&provider.url).probe(FIRST).await.unwrap_err().contains("graph.url"));
    let expired = json!({"error": {"code": 190}}).to_string();
    let provider = Scripted::new(Script::Answer(401, "", expired)).await;
    assert!(channel_at(&provider.url).probe(FIRST).await.unwrap_err().contains("token"));
    assert!(channel().probe("999").await.unwrap_err().contains("not configured"));
}
