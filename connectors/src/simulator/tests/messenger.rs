//! The Messenger Platform's rules over HTTP (`messenger` §5 to §12).

use std::time::Duration;

use serde_json::{Value, json};

use super::{Bench, PAGE, PAGE_TOKEN, PSID, code};

fn response(message: &Value) -> Value {
    json!({"recipient": {"id": PSID}, "messaging_type": "RESPONSE", "message": message})
}

fn events(got: &[super::Got], key: &str) -> Vec<Value> {
    Bench::items(got, &format!("/entry/0/messaging/0/{key}"))
}

#[tokio::test]
async fn a_message_is_echoed_with_its_metadata_then_delivered_then_read() {
    let bench = Bench::start().await;
    let question = bench.say("lotte", json!({"type": "text", "text": "Hoi"})).await;
    let mut body = response(&json!({"text": "Dag Lotte", "metadata": "out:7"}));
    body["reply_to"] = json!({"mid": question});
    let (status, answer) = bench.messenger(body).await;
    assert_eq!((status, &answer["recipient_id"]), (200, &json!(PSID)));
    let id = answer["message_id"].as_str().unwrap().to_owned();
    let (echo, delivery) = bench
        .eventually("echo and delivery", |got| {
            let echo = events(got, "message").into_iter().find(|message| message["is_echo"] == true)?;
            Some((echo, events(got, "delivery").pop()?))
        })
        .await;
    assert_eq!((&echo["mid"], &echo["metadata"]), (&json!(id), &json!("out:7")));
    assert_eq!(echo["app_id"], 900_000_000_000_001_u64);
    assert_eq!(echo["reply_to"]["mid"], question);
    assert_eq!(delivery["mids"], json!([id]));
    bench.own("POST", "/phones/lotte/open", Value::Null).await;
    let read = bench.eventually("read", |got| events(got, "read").pop()).await;
    assert_eq!(read["watermark"], delivery["watermark"]);
    assert!(bench.got().iter().all(|got| got.path == "/callbacks/messenger"));
}

#[tokio::test]
async fn everything_that_a_person_does_comes_as_its_own_event() {
    let bench = Bench::start().await;
    let own = bench.say("lotte", json!({"type": "text", "text": "Hoi"})).await;
    let message =
        json!({"text": "Kies:", "quick_replies": [{"content_type": "text", "title": "Ja", "payload": "JA"}]});
    let (_, quick) = bench.messenger(response(&message)).await;
    let template = json!({"attachment": {"type": "template", "payload": {"template_type": "button", "text": "Wat?",
        "buttons": [{"type": "postback", "title": "Bel mij", "payload": "BEL"}]}}});
    let (_, buttons) = bench.messenger(response(&template)).await;
    let quick = &quick["message_id"];
    let cases = [
        (
            json!({"type": "choice", "target": quick, "choice": "Ja"}),
            "message",
            json!({"text": "Ja", "quick_reply": {"payload": "JA"}}),
        ),
        (
            json!({"type": "choice", "target": buttons["message_id"], "choice": "BEL"}),
            "postback",
            json!({"title": "Bel mij", "payload": "BEL"}),
        ),
        (
            json!({"type": "get_started"}),
            "postback",
            json!({"title": "Get Started", "payload": "GET_STARTED"}),
        ),
        (
            json!({"type": "reaction", "target": quick, "emoji": "❤️"}),
            "reaction",
            json!({"mid": quick, "action": "react", "reaction": "love", "emoji": "❤️"}),
        ),
        (
            json!({"type": "reaction", "target": quick}),
            "reaction",
            json!({"mid": quick, "action": "unreact"}),
        ),
        (
            json!({"type": "edit", "target": own, "text": "Hoi!"}),
            "message_edit",
            json!({"mid": own, "text": "Hoi!", "num_edit": 1}),
        ),
        (json!({"type": "revoke", "target": own}), "message", json!({"mid": own, "is_deleted": true})),
        (
            json!({"type": "text", "text": "zo", "reply_to": quick}),
            "message",
            json!({"text": "zo", "reply_to": {"mid": quick, "is_self_reply": false}}),
        ),
    ];
    for (say, key, wanted) in cases {
        bench.forget();
        bench.say("lotte", say.clone()).await;
        let event = bench
            .eventually(key, |got| events(got, key).into_iter().find(|event| event.get("is_echo").is_none()))
            .await;
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(&event[name], value, "{say}: {event}");
        }
    }
}

#[tokio::test]
async fn an_album_is_one_message_and_its_files_need_no_token() {
    let bench = Bench::start().await;
    bench.own("POST", "/phones/lotte/messages", json!({"type": "image", "count": 3})).await;
    let message = bench.eventually("album", |got| events(got, "message").pop()).await;
    let attachments = message["attachments"].as_array().unwrap();
    assert_eq!(attachments.len(), 3);
    let url =
        attachments[0]["payload"]["url"].as_str().unwrap().strip_prefix(&bench.base).unwrap().to_owned();
    assert_eq!(bench.call("GET", &url, None, None).await.unwrap().0, 200);
    bench.clock.advance(Duration::from_secs(301));
    assert_eq!(bench.call("GET", &url, None, None).await.unwrap().0, 403);
}

#[tokio::test]
async fn the_window_and_the_human_agent_tag() {
    let bench = Bench::start().await;
    let text = response(&json!({"text": "Dag"}));
    let mut tagged = text.clone();
    tagged["messaging_type"] = json!("MESSAGE_TAG");
    tagged["tag"] = json!("HUMAN_AGENT");
    let closed = (400, 10, Some(2_018_278));
    assert_eq!(code(&bench.messenger(text.clone()).await), closed);
    assert_eq!(code(&bench.messenger(tagged.clone()).await), closed);
    let question = bench.say("lotte", json!({"type": "text", "text": "Hoi"})).await;
    assert_eq!(bench.messenger(text.clone()).await.0, 200);
    bench.clock.advance(Duration::from_secs(86_401));
    assert_eq!(code(&bench.messenger(text.clone()).await), closed);
    assert_eq!(bench.messenger(tagged.clone()).await.0, 200);
    bench.clock.advance(Duration::from_hours(6 * 24));
    assert_eq!(code(&bench.messenger(tagged.clone()).await), closed);
    let mut utility = response(&json!({"template": {"name": "order", "language": {"code": "nl"}}}));
    utility["messaging_type"] = json!("UTILITY");
    assert_eq!(bench.messenger(utility).await.0, 200);
    bench.say("lotte", json!({"type": "reaction", "target": question, "emoji": "👍"})).await;
    assert_eq!(bench.messenger(text).await.0, 200, "a reaction opens the window");
}

#[tokio::test]
async fn who_calls_and_whom_is_checked() {
    let bench = Bench::start().await;
    let body = response(&json!({"text": "Dag"}));
    let send = |path: &'static str| {
        let (bench, body) = (&bench, &body);
        async move { code(&bench.call("POST", path, None, Some(body)).await.unwrap()) }
    };
    assert_eq!(send("/v26.0/110000000000501/messages").await, (401, 190, None));
    assert_eq!(send("/v26.0/110000000000501/messages?access_token=x").await, (401, 190, None));
    assert_eq!(send("/v26.0/110000000000502/messages?access_token=page-token").await, (400, 100, Some(33)));
    assert_eq!(send("/v26.0/me/messages?access_token=page-token&appsecret_proof=00").await, (400, 100, None));
    bench.say("lotte", json!({"type": "text", "text": "Hoi"})).await;
    let me = format!("/v26.0/me/messages?access_token={PAGE_TOKEN}");
    assert_eq!(bench.call("POST", &me, None, Some(&body)).await.unwrap().0, 200);
    let mut nobody = body.clone();
    nobody["recipient"]["id"] = json!("7399999999999999");
    assert_eq!(code(&bench.messenger(nobody).await), (400, 100, Some(2_018_001)));
    bench.own("PATCH", "/customers/lotte", json!({"is_blocking": true})).await;
    assert_eq!(code(&bench.messenger(body).await), (400, 551, Some(1_545_041)));
}

#[tokio::test]
async fn typing_shows_and_seeing_marks() {
    let bench = Bench::start().await;
    bench.say("lotte", json!({"type": "text", "text": "Hoi"})).await;
    let act = |action: &str| json!({"recipient": {"id": PSID}, "sender_action": action});
    let typing = || async {
        bench.own("GET", "/phones/lotte", Value::Null).await["conversations"][0]["is_typing"].clone()
    };
    assert_eq!(bench.messenger(act("typing_on")).await, (200, json!({"recipient_id": PSID})));
    assert_eq!(typing().await, true);
    bench.messenger(act("typing_off")).await;
    assert_eq!(typing().await, false);
    bench.messenger(act("mark_seen")).await;
    assert_eq!(bench.bubbles("lotte").await[0]["progress"], "read");
    let mut both = act("typing_on");
    both["message"] = json!({"text": "x"});
    assert_eq!(code(&bench.messenger(both).await), (400, 100, Some(2_018_014)));
    assert_eq!(code(&bench.messenger(act("dance")).await), (400, 100, None));
}

#[tokio::test]
async fn a_profile_is_given_to_the_persons_own_page_only() {
    let bench = Bench::start().await;
    let path = format!("/v26.0/{PSID}?fields=first_name,last_name,profile_pic&access_token={PAGE_TOKEN}");
    let (status, profile) = bench.call("GET", &path, None, None).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!((&profile["first_name"], &profile["last_name"]), (&json!("Lotte"), &json!("Visser")));
    assert!(profile.get("name").is_none());
    let picture = profile["profile_pic"].as_str().unwrap().strip_prefix(&bench.base).unwrap().to_owned();
    assert_eq!(bench.call("GET", &picture, None, None).await.unwrap().0, 200);
    let silent =
        bench.own("POST", "/customers", json!({"platform": "messenger", "hides_profile": true})).await;
    let path = format!("/v26.0/{}?access_token={PAGE_TOKEN}", silent["psid"].as_str().unwrap());
    assert_eq!(code(&bench.call("GET", &path, None, None).await.unwrap()), (400, 100, Some(2_018_218)));
    let unknown = format!("/v26.0/7399999999999999?access_token={PAGE_TOKEN}");
    assert_eq!(code(&bench.call("GET", &unknown, None, None).await.unwrap()), (400, 100, Some(33)));
}

#[tokio::test]
async fn a_page_inbox_answer_and_another_apps_answer_come_as_echoes() {
    let bench = Bench::start().await;
    bench.own("POST", "/phones/lotte/echoes", json!({"type": "text", "text": "Karin hier"})).await;
    let echo = bench.eventually("echo", |got| events(got, "message").pop()).await;
    assert_eq!((&echo["is_echo"], &echo["app_id"]), (&json!(true), &json!(263_902_037_430_900_u64)));
    bench.forget();
    let other = json!({"type": "text", "text": "Bot hier", "author": "other_app"});
    bench.own("POST", "/phones/lotte/echoes", other).await;
    let echo = bench.eventually("echo", |got| events(got, "message").pop()).await;
    assert_eq!(echo["app_id"], "900000000000777");
}

#[tokio::test]
async fn without_control_of_the_thread_nothing_is_sent() {
    let bench = Bench::start().await;
    bench.say("lotte", json!({"type": "text", "text": "Hoi"})).await;
    let control = |verb: &str, body: Value| {
        let path = format!("/v26.0/{PAGE}/{verb}?access_token={PAGE_TOKEN}");
        let bench = &bench;
        async move { bench.call("POST", &path, None, Some(&body)).await.unwrap().0 }
    };
    let pass = json!({"recipient": {"id": PSID}, "target_app_id": 263_902_037_430_900_u64});
    assert_eq!(control("pass_thread_control", pass).await, 200);
    assert_eq!(code(&bench.messenger(response(&json!({"text": "x"}))).await), (400, 10, Some(2_018_300)));
    let owner = format!("/v26.0/{PAGE}/thread_owner?recipient={PSID}&access_token={PAGE_TOKEN}");
    let (_, answer) = bench.call("GET", &owner, None, None).await.unwrap();
    assert_eq!(answer["data"][0]["thread_owner"]["app_id"], "263902037430900");
    assert_eq!(control("take_thread_control", json!({"recipient": {"id": PSID}})).await, 200);
    assert_eq!(bench.messenger(response(&json!({"text": "x"}))).await.0, 200);
}

#[tokio::test]
async fn an_hour_of_refusals_ends_the_subscription_until_it_is_renewed() {
    let bench = Bench::start().await;
    bench.rules(json!({"unsubscribe_after_ms": 30})).await;
    bench.will_answer(&[500; 40]);
    bench.say("lotte", json!({"type": "text", "text": "een"})).await;
    let path = format!("/v26.0/{PAGE}/subscribed_apps?access_token={PAGE_TOKEN}");
    let apps =
        || async { bench.call("GET", &path, None, None).await.unwrap().1["data"].as_array().unwrap().len() };
    let gone = async {
        while apps().await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    bench.receiver.answers.lock().unwrap().clear();
    bench.forget();
    bench.say("lotte", json!({"type": "text", "text": "twee"})).await;
    let fields = format!("{path}&subscribed_fields=messages,message_echoes");
    assert_eq!(bench.call("POST", &fields, None, None).await.unwrap().0, 200);
    bench.say("lotte", json!({"type": "text", "text": "drie"})).await;
    let message = bench.eventually("the next message", |got| events(got, "message").pop()).await;
    assert_eq!(message["text"], "drie");
    assert_eq!(bench.got().len(), 1, "what came in between is lost, but can be read back");
    let talks = format!("/v26.0/{PAGE}/conversations?user_id={PSID}&access_token={PAGE_TOKEN}");
    let (_, answer) = bench.call("GET", &talks, None, None).await.unwrap();
    let messages = answer["data"][0]["messages"]["data"].as_array().unwrap();
    let words: Vec<_> = messages.iter().map(|message| message["message"].as_str().unwrap()).collect();
    assert_eq!(words, ["drie", "twee", "een"]);
}

#[tokio::test]
async fn an_attachment_can_be_saved_and_sent_again() {
    let bench = Bench::start().await;
    bench.say("lotte", json!({"type": "text", "text": "Hoi"})).await;
    let by_url = json!({"attachment": {"type": "image", "payload": {"url": "https://example.org/a.png", "is_reusable": true}}});
    let (_, answer) = bench.messenger(response(&by_url)).await;
    let id = answer["attachment_id"].as_str().unwrap();
    let again = json!({"attachment": {"type": "image", "payload": {"attachment_id": id}}});
    assert_eq!(bench.messenger(response(&again)).await.0, 200);
    let wrong = json!({"attachment": {"type": "image", "payload": {"attachment_id": "1"}}});
    assert_eq!(code(&bench.messenger(response(&wrong)).await), (400, 100, Some(2_018_074)));
    let path = format!("/v26.0/{PAGE}/message_attachments?access_token={PAGE_TOKEN}");
    let saved = json!({"message": by_url});
    assert!(bench.call("POST", &path, None, Some(&saved)).await.unwrap().1["attachment_id"].is_string());
}
