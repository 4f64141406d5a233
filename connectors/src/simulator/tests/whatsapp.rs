//! The Cloud API's rules over HTTP (`whatsapp` §6 to §14).

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::super::media::hex;
use super::{Bench, MILA_BSUID, NUMBER, PAGE_TOKEN, SANNE, SANNE_BSUID, SECRET, WA_TOKEN, WABA, code};

#[tokio::test]
async fn a_message_goes_from_accepted_to_read_and_every_status_carries_the_outbox_id() {
    let bench = Bench::start().await;
    let question = bench.say("sanne", json!({"type": "text", "text": "Dag!"})).await;
    let body = json!({
        "to": format!("+{SANNE}"),
        "type": "text",
        "text": {"body": "Hallo"},
        "context": {"message_id": question},
        "biz_opaque_callback_data": "out:1",
    });
    let (status, answer) = bench.whatsapp(body).await;
    assert_eq!(status, 200);
    let id = answer["messages"][0]["id"].as_str().unwrap();
    assert!(id.starts_with("wamid."));
    assert_eq!(answer["contacts"], json!([{"input": format!("+{SANNE}"), "wa_id": SANNE}]));
    let statuses = bench.statuses(id, &["sent", "delivered"]).await;
    assert!(statuses.iter().all(|status| status["biz_opaque_callback_data"] == "out:1"));
    assert!(statuses.iter().all(|status| status["recipient_id"] == SANNE));
    assert!(statuses.iter().all(|status| status["recipient_user_id"] == SANNE_BSUID));
    bench.own("POST", "/phones/sanne/open", Value::Null).await;
    let statuses = bench.statuses(id, &["sent", "delivered", "read"]).await;
    assert!(statuses.iter().all(|status| status.get("pricing").is_some() == (status["status"] != "read")));
    let bubbles = bench.bubbles("sanne").await;
    assert_eq!(bubbles[1]["progress"], "read");
    assert_eq!(bubbles[1]["reply_to"], question);
}

#[tokio::test]
async fn a_customers_message_is_worded_as_the_platform_words_it() {
    let bench = Bench::start().await;
    let first = bench.say("sanne", json!({"type": "text", "text": "Zoë zegt: €5 / 😀"})).await;
    let got = bench.eventually("the callback", |got| got.first().cloned()).await;
    assert_eq!(got.path, "/callbacks/whatsapp");
    assert!(got.body.is_ascii());
    assert!(std::str::from_utf8(&got.body).unwrap().contains(r"Zo\u00eb zegt: \u20ac5 \/ \ud83d\ude00"));
    let body = got.json();
    assert_eq!(body["object"], "whatsapp_business_account");
    assert_eq!(body["entry"][0]["id"], WABA);
    let value = &body["entry"][0]["changes"][0]["value"];
    assert_eq!(value["metadata"], json!({"display_phone_number": "31201234567", "phone_number_id": NUMBER}));
    assert_eq!(
        value["contacts"],
        json!([{"profile": {"name": "Sanne de Wit"}, "wa_id": SANNE, "user_id": SANNE_BSUID}])
    );
    let message = &value["messages"][0];
    assert_eq!(message["id"], first);
    assert_eq!((&message["from"], &message["from_user_id"]), (&json!(SANNE), &json!(SANNE_BSUID)));
    assert_eq!(message["text"], json!({"body": "Zoë zegt: €5 / 😀"}));
    assert!(message["timestamp"].as_str().unwrap().parse::<i64>().is_ok());
}

#[tokio::test]
async fn a_user_with_a_hidden_number_shows_only_the_bsuid() {
    let bench = Bench::start().await;
    bench.say("mila", json!({"type": "text", "text": "Hoi"})).await;
    let id = bench.send(json!({"recipient": MILA_BSUID, "type": "text", "text": {"body": "Dag"}})).await;
    bench.statuses(&id, &["sent", "delivered"]).await;
    for got in bench.got() {
        let body = got.json();
        let value = &body["entry"][0]["changes"][0]["value"];
        assert!(value["contacts"][0].get("wa_id").is_none());
        assert_eq!(value["contacts"][0]["user_id"], MILA_BSUID);
        assert!(value["messages"][0].get("from").is_none());
        assert!(value["statuses"][0].get("recipient_id").is_none());
        let is_sent = value["statuses"][0]["status"] == "sent";
        assert_eq!(value["contacts"][0]["profile"].get("username").is_none(), is_sent);
    }
    let (_, answer) =
        bench.whatsapp(json!({"recipient": MILA_BSUID, "type": "text", "text": {"body": "Nog iets"}})).await;
    assert_eq!(answer["contacts"], json!([{"input": MILA_BSUID, "user_id": MILA_BSUID}]));
}

#[tokio::test]
async fn everything_that_a_customer_does_comes_as_its_own_type() {
    let bench = Bench::start().await;
    let asked = bench
        .send_inside(json!({"type": "interactive", "interactive": {
            "type": "button", "body": {"text": "Wanneer?"},
            "action": {"buttons": [{"type": "reply", "reply": {"id": "b1", "title": "Vandaag"}}]}}}))
        .await;
    let listed = bench
        .send(json!({"type": "interactive", "interactive": {
            "type": "list", "body": {"text": "Kies"},
            "action": {"button": "Opties", "sections": [{"rows": [
                {"id": "r1", "title": "Ochtend", "description": "8 tot 12"}]}]}}}))
        .await;
    let reminder = bench
        .send(json!({"type": "template", "template": {"name": "appointment_reminder", "language": {"code": "nl"},
            "components": [
                {"type": "body", "parameters": [
                    {"type": "text", "parameter_name": "name", "text": "Sanne"},
                    {"type": "text", "parameter_name": "moment", "text": "vrijdag"}]},
                {"type": "button", "sub_type": "quick_reply", "index": "0",
                 "parameters": [{"type": "payload", "payload": "WIJZIG"}]}]}}))
        .await;
    bench.forget();
    let own = bench.say("sanne", json!({"type": "text", "text": "een"})).await;
    let cases = [
        (
            json!({"type": "choice", "target": asked, "choice": "b1"}),
            "interactive",
            json!({"type": "button_reply", "button_reply": {"id": "b1", "title": "Vandaag"}}),
        ),
        (
            json!({"type": "choice", "target": listed, "choice": "Ochtend"}),
            "interactive",
            json!({"type": "list_reply", "list_reply": {"id": "r1", "title": "Ochtend", "description": "8 tot 12"}}),
        ),
        (
            json!({"type": "choice", "target": reminder, "choice": "WIJZIG"}),
            "button",
            json!({"payload": "WIJZIG", "text": "Afspraak wijzigen"}),
        ),
        (
            json!({"type": "reaction", "target": asked, "emoji": "👍"}),
            "reaction",
            json!({"message_id": asked, "emoji": "👍"}),
        ),
        (json!({"type": "reaction", "target": asked}), "reaction", json!({"message_id": asked, "emoji": ""})),
        (
            json!({"type": "location", "latitude": 52.1, "longitude": 5.1, "name": "Winkel"}),
            "location",
            json!({"latitude": 52.1, "longitude": 5.1, "name": "Winkel"}),
        ),
        (
            json!({"type": "edit", "target": own, "text": "twee"}),
            "edit",
            json!({"original_message_id": own, "message": {"context": {"id": "M0"}, "type": "text", "text": {"body": "twee"}}}),
        ),
        (json!({"type": "revoke", "target": own}), "revoke", json!({"original_message_id": own})),
        (json!({"type": "unsupported"}), "unsupported", json!({"type": "poll"})),
    ];
    for (say, kind, content) in cases {
        let id = bench.say("sanne", say.clone()).await;
        let message = bench
            .eventually(kind, |got| {
                let mut own = Bench::items(got, "/entry/0/changes/0/value/messages/0");
                own.retain(|message| message["id"] == id);
                own.pop()
            })
            .await;
        assert_eq!((message["type"].as_str(), &message[kind]), (Some(kind), &content), "{say}");
        if say["type"] == "choice" {
            assert_eq!(message["context"]["id"], say["target"]);
        }
    }
    let bubbles = bench.bubbles("sanne").await;
    let edited = bubbles.iter().find(|bubble| bubble["id"] == own).unwrap();
    assert_eq!((&edited["text"], &edited["is_revoked"]), (&json!("twee"), &json!(true)));
    let (status, answer) = bench
        .call(
            "POST",
            "/sim/v1/phones/sanne/messages",
            None,
            Some(&json!({"type": "revoke", "target": asked})),
        )
        .await
        .unwrap();
    assert_eq!((status, answer["code"].as_str()), (422, Some("not_own")));
}

impl Bench {
    /// A send after the customer has written.
    async fn send_inside(&self, body: Value) -> String {
        self.say("sanne", json!({"type": "text", "text": "Dag"})).await;
        self.send(body).await
    }
}

#[tokio::test]
async fn an_album_is_many_messages_and_each_file_can_be_fetched_for_five_minutes() {
    let bench = Bench::start().await;
    bench.own("POST", "/phones/sanne/messages", json!({"type": "image", "count": 12, "text": "kras"})).await;
    let messages = bench
        .eventually("12 pictures", |got| {
            let own = Bench::items(got, "/entry/0/changes/0/value/messages/0");
            (own.len() == 12).then_some(own)
        })
        .await;
    let sums: std::collections::BTreeSet<_> =
        messages.iter().map(|message| message["image"]["sha256"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sums.len(), 12);
    let image = &messages[0]["image"];
    assert_eq!(image["caption"], "kras");
    let path = format!("/v26.0/{}?phone_number_id={NUMBER}", image["id"].as_str().unwrap());
    let (status, meta) = bench.call("GET", &path, Some(WA_TOKEN), None).await.unwrap();
    assert_eq!((status, &meta["mime_type"]), (200, &json!("image/png")));
    let url = meta["url"].as_str().unwrap().strip_prefix(&bench.base).unwrap().to_owned();
    assert_eq!(bench.call("GET", &url, None, None).await.unwrap().0, 401);
    assert_eq!(bench.call("GET", &url, Some("other"), None).await.unwrap().0, 401);
    assert_eq!(bench.call("GET", &url, Some(WA_TOKEN), None).await.unwrap().0, 200);
    bench.clock.advance(Duration::from_secs(301));
    assert_eq!(bench.call("GET", &url, Some(WA_TOKEN), None).await.unwrap().0, 404);
    let (_, again) = bench.call("GET", &path, Some(WA_TOKEN), None).await.unwrap();
    let url = again["url"].as_str().unwrap().strip_prefix(&bench.base).unwrap().to_owned();
    assert_eq!(bench.call("GET", &url, Some(WA_TOKEN), None).await.unwrap().0, 200);
    assert_eq!(bench.call("DELETE", &path, Some(WA_TOKEN), None).await.unwrap().1, json!({"success": true}));
    assert_eq!(code(&bench.call("GET", &path, Some(WA_TOKEN), None).await.unwrap()), (400, 100, Some(33)));
}

#[tokio::test]
async fn an_uploaded_file_can_be_sent_by_its_id() {
    let bench = Bench::start().await;
    bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
    let url = format!("{}/v26.0/{NUMBER}/media", bench.base);
    let upload = |mime: &'static str| {
        let part = reqwest::multipart::Part::bytes(b"bytes".to_vec()).file_name("a").mime_str(mime).unwrap();
        let form = reqwest::multipart::Form::new().text("messaging_product", "whatsapp").part("file", part);
        bench.client.post(&url).bearer_auth(WA_TOKEN).multipart(form).send()
    };
    let answer: Value = upload("image/jpeg").await.unwrap().json().await.unwrap();
    let id = answer["id"].as_str().unwrap();
    bench.send(json!({"type": "image", "image": {"id": id, "caption": "zo"}})).await;
    let refused: Value = upload("image/gif").await.unwrap().json().await.unwrap();
    assert_eq!(refused["error"]["code"], 100);
    let wrong = bench.whatsapp(json!({"to": "+31600000042", "type": "video", "video": {"id": id}})).await;
    assert_eq!(code(&wrong), (400, 131_053, None));
    let unknown = bench.whatsapp(json!({"to": "+31600000042", "type": "image", "image": {"id": "1"}})).await;
    assert_eq!(code(&unknown), (400, 100, None));
}

#[tokio::test]
async fn who_calls_with_the_wrong_token_or_about_the_wrong_object_is_refused() {
    let bench = Bench::start().await;
    let body = json!({"messaging_product": "whatsapp", "to": SANNE, "text": {"body": "x"}});
    let send = |path: String, token: Option<&'static str>| {
        let (bench, body) = (&bench, &body);
        async move { code(&bench.call("POST", &path, token, Some(body)).await.unwrap()) }
    };
    let path = format!("/v26.0/{NUMBER}/messages");
    assert_eq!(send(path.clone(), None).await, (401, 190, None));
    assert_eq!(send(path.clone(), Some("stale")).await, (401, 190, None));
    assert_eq!(send(path.clone(), Some(PAGE_TOKEN)).await, (400, 100, Some(33)));
    assert_eq!(send("/v26.0/999/messages".to_owned(), Some(WA_TOKEN)).await, (400, 100, Some(33)));
    assert_eq!(send("/v26.0/a/b/c".to_owned(), Some(WA_TOKEN)).await, (404, 2500, None));
    assert_eq!(send(format!("/latest/{NUMBER}/messages"), Some(WA_TOKEN)).await.1, 2500);
    let answer = bench.call("POST", &path, Some("stale"), Some(&body)).await.unwrap().1;
    assert_eq!(answer["error"]["type"], "OAuthException");
    assert!(answer["error"]["fbtrace_id"].is_string());
    let raw = bench.client.post(format!("{}{path}", bench.base)).bearer_auth(WA_TOKEN);
    let broken = raw.header("content-type", "application/json").body("{").send().await.unwrap();
    assert_eq!(broken.status().as_u16(), 400);
}

#[tokio::test]
async fn the_proof_of_the_secret_is_checked_and_can_be_required() {
    let bench = Bench::start().await;
    let get = |query: String| {
        let bench = &bench;
        let path = format!("/v26.0/{NUMBER}{query}");
        async move { bench.call("GET", &path, Some(WA_TOKEN), None).await.unwrap() }
    };
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(WA_TOKEN);
    let proof = format!("?appsecret_proof={}", hex(&mac.finalize().into_bytes()));
    assert_eq!(get(String::new()).await.0, 200);
    assert_eq!(get(proof.clone()).await.0, 200);
    assert_eq!(code(&get("?appsecret_proof=00".to_owned()).await), (400, 100, None));
    bench.rules(json!({"requires_appsecret_proof": true})).await;
    assert_eq!(code(&get(String::new()).await), (400, 100, None));
    assert_eq!(get(proof).await.0, 200);
}

#[tokio::test]
async fn outside_the_window_only_a_template_arrives() {
    let bench = Bench::start().await;
    let text = json!({"type": "text", "text": {"body": "Hallo"}, "biz_opaque_callback_data": "out:9"});
    let never = bench.send(text.clone()).await;
    let failed = &bench.statuses(&never, &["failed"]).await[0];
    assert_eq!(failed["errors"][0]["code"], 131_047);
    assert_eq!((&failed["recipient_id"], failed.get("recipient_user_id")), (&json!(SANNE), None));
    assert_eq!(failed["biz_opaque_callback_data"], "out:9");
    bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
    let inside = bench.send(text.clone()).await;
    bench.statuses(&inside, &["sent", "delivered"]).await;
    bench.clock.advance(Duration::from_secs(86_401));
    let late = bench.send(text.clone()).await;
    bench.statuses(&late, &["failed"]).await;
    let template =
        json!({"type": "template", "template": {"name": "hello_world", "language": {"code": "en_US"}}});
    let template = bench.send(template).await;
    bench.statuses(&template, &["sent", "delivered"]).await;
    bench.rules(json!({"window": "http"})).await;
    let mut body = text;
    body["to"] = json!("+31600000042");
    assert_eq!(code(&bench.whatsapp(body.clone()).await), (400, 131_047, None));
    bench.rules(json!({"window": "off"})).await;
    assert_eq!(bench.whatsapp(body).await.0, 200);
}

#[tokio::test]
async fn reactions_edits_and_revokes_open_no_window() {
    let bench = Bench::start().await;
    let id = bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
    bench.clock.advance(Duration::from_secs(86_401));
    bench.say("sanne", json!({"type": "reaction", "target": id, "emoji": "👍"})).await;
    bench.say("sanne", json!({"type": "edit", "target": id, "text": "Dag!"})).await;
    bench.say("sanne", json!({"type": "revoke", "target": id})).await;
    let late = bench.send(json!({"type": "text", "text": {"body": "Hallo"}})).await;
    bench.statuses(&late, &["failed"]).await;
}

#[tokio::test]
async fn pairs_and_numbers_have_their_limits() {
    let bench = Bench::start().await;
    bench.rules(json!({"pair_burst": 2, "window": "off"})).await;
    let to = |to: &str| json!({"to": to, "type": "text", "text": {"body": "x"}});
    assert_eq!(bench.whatsapp(to("+31600000042")).await.0, 200);
    assert_eq!(bench.whatsapp(to("+31600000042")).await.0, 200);
    assert_eq!(code(&bench.whatsapp(to("+31600000042")).await), (400, 131_056, None));
    let other = json!({"recipient": MILA_BSUID, "type": "text", "text": {"body": "x"}});
    assert_eq!(bench.whatsapp(other).await.0, 200);
    bench.own("POST", "/reset", Value::Null).await;
    bench.rules(json!({"number_per_second": 1, "pair_burst": 0, "window": "off"})).await;
    assert_eq!(bench.whatsapp(to("+31600000042")).await.0, 200);
    assert_eq!(code(&bench.whatsapp(to("+31600000042")).await), (400, 130_429, None));
}

#[tokio::test]
async fn a_message_to_nobody_or_to_one_who_blocks_fails() {
    let bench = Bench::start().await;
    let nobody = bench.send(json!({"to": "+31699999999", "type": "text", "text": {"body": "x"}})).await;
    let failed = &bench.statuses(&nobody, &["failed"]).await[0];
    assert_eq!(
        (&failed["errors"][0]["code"], &failed["recipient_id"]),
        (&json!(131_026), &json!("31699999999"))
    );
    bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
    bench.own("PATCH", "/customers/sanne", json!({"is_blocking": true})).await;
    let blocked = bench.send(json!({"type": "text", "text": {"body": "x"}})).await;
    assert_eq!(bench.statuses(&blocked, &["failed"]).await[0]["errors"][0]["code"], 131_026);
    let own = bench.whatsapp(json!({"to": "+31201234567", "type": "text", "text": {"body": "x"}})).await;
    assert_eq!(code(&own), (400, 131_021, None));
    bench.rules(json!({"recipients": "anyone", "window": "off"})).await;
    let stranger = bench.send(json!({"to": "+31688888888", "type": "text", "text": {"body": "x"}})).await;
    bench.statuses(&stranger, &["sent", "delivered"]).await;
}

#[tokio::test]
async fn a_phone_that_is_off_gets_it_later_and_one_without_receipts_never_says_read() {
    let bench = Bench::start().await;
    bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
    bench.own("PATCH", "/customers/sanne", json!({"is_online": false, "reads_at_once": true})).await;
    let id = bench.send(json!({"type": "text", "text": {"body": "x"}})).await;
    bench.statuses(&id, &["sent"]).await;
    bench.own("POST", "/phones/sanne/open", Value::Null).await;
    assert_eq!(bench.bubbles("sanne").await[1]["progress"], "sent");
    bench.own("PATCH", "/customers/sanne", json!({"is_online": true})).await;
    bench.statuses(&id, &["sent", "delivered", "read"]).await;
    bench.own("PATCH", "/customers/sanne", json!({"shows_receipts": false})).await;
    let second = bench.send(json!({"type": "text", "text": {"body": "y"}})).await;
    bench.statuses(&second, &["sent", "delivered"]).await;
    bench.own("POST", "/phones/sanne/open", Value::Null).await;
    assert_eq!(bench.bubbles("sanne").await[2]["progress"], "delivered");
}

#[tokio::test]
async fn reading_marks_all_before_and_typing_shows_until_the_answer() {
    let bench = Bench::start().await;
    let first = bench.say("sanne", json!({"type": "text", "text": "een"})).await;
    let second = bench.say("sanne", json!({"type": "text", "text": "twee"})).await;
    let third = bench.say("sanne", json!({"type": "text", "text": "drie"})).await;
    let mark = json!({"status": "read", "message_id": second, "typing_indicator": {"type": "text"}});
    assert_eq!(bench.whatsapp(mark).await, (200, json!({"success": true})));
    let bubbles = bench.bubbles("sanne").await;
    let progress: Vec<_> = bubbles.iter().map(|bubble| bubble["progress"].as_str().unwrap()).collect();
    assert_eq!(progress, ["read", "read", "sent"], "{first} {second} {third}");
    let typing = |phone: &Value| phone["conversations"][0]["is_typing"].as_bool().unwrap();
    assert!(typing(&bench.own("GET", "/phones/sanne", Value::Null).await));
    bench.send(json!({"type": "text", "text": {"body": "x"}})).await;
    assert!(!typing(&bench.own("GET", "/phones/sanne", Value::Null).await));
    let unknown = bench.whatsapp(json!({"status": "read", "message_id": "wamid.unknown"})).await;
    assert_eq!(code(&unknown), (400, 131_009, None));
}

#[tokio::test]
async fn templates_are_listed_by_page_and_by_name() {
    let bench = Bench::start().await;
    let get = |query: &str| {
        let path = format!("/v26.0/{WABA}/message_templates{query}");
        let bench = &bench;
        async move { bench.call("GET", &path, Some(WA_TOKEN), None).await.unwrap().1 }
    };
    let all = get("").await;
    assert_eq!(all["data"].as_array().unwrap().len(), 8);
    assert!(all["paging"].get("next").is_none());
    let page = get("?limit=5").await;
    assert!(page["paging"]["next"].is_string());
    let after = page["paging"]["cursors"]["after"].as_str().unwrap();
    assert_eq!(get(&format!("?limit=5&after={after}")).await["data"].as_array().unwrap().len(), 3);
    assert_eq!(get("?name=order_update&language=nl").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_owner_may_answer_from_the_phone_app_and_a_customer_may_change_number() {
    let bench = Bench::start().await;
    bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
    let echo = bench.own("POST", "/phones/sanne/echoes", json!({"type": "text", "text": "Met Karin"})).await;
    let told = bench
        .eventually("the echo", |got| Bench::items(got, "/entry/0/changes/0/value/message_echoes/0").pop())
        .await;
    assert_eq!((&told["id"], &told["to"]), (&echo["message_ids"][0], &json!(SANNE)));
    assert_eq!(told["text"]["body"], "Met Karin");
    bench.forget();
    let after = bench.own("POST", "/customers/sanne/number", json!({"phone": "+31611111111"})).await;
    let (system, update) = bench
        .eventually("both notices", |got| {
            let system = Bench::items(got, "/entry/0/changes/0/value/messages/0/system").pop()?;
            let update = Bench::items(got, "/entry/0/changes/0/value/user_id_update/0").pop()?;
            Some((system, update))
        })
        .await;
    assert_eq!((&system["type"], &system["user_id"]), (&json!("user_changed_user_id"), &after["bsuid"]));
    assert_eq!(update["user_id"], json!({"previous": SANNE_BSUID, "current": after["bsuid"]}));
    assert_eq!(bench.send_to("+31611111111").await, 200);
}

impl Bench {
    async fn send_to(&self, to: &str) -> u16 {
        self.whatsapp(json!({"to": to, "type": "text", "text": {"body": "x"}})).await.0
    }
}
