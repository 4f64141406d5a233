//! The simulator's own API: the oracle, the page, and bad input.

use serde_json::{Value, json};

use super::super::{Rules, run};
use super::{Bench, NUMBER, SANNE, WA_TOKEN, settings};

#[tokio::test]
async fn the_oracle_tells_every_request_without_its_token() {
    let bench = Bench::start().await;
    bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
    let body = json!({"messaging_product": "whatsapp", "to": SANNE, "type": "text", "text": {"body": "x"},
        "biz_opaque_callback_data": "out:1"});
    let path = format!("/v26.0/{NUMBER}/messages?access_token={WA_TOKEN}");
    bench.call("POST", &path, None, Some(&body)).await.unwrap();
    bench.call("POST", &path, None, Some(&json!({}))).await.unwrap();
    let all = bench.own("GET", "/requests", Value::Null).await;
    let items = all["items"].as_array().unwrap();
    assert_eq!((items.len(), &all["forgotten"]), (2, &json!(0)));
    assert_eq!(
        (&items[0]["outbox_id"], &items[0]["is_accepted"], &items[0]["answered"]),
        (&json!("out:1"), &json!(true), &json!(200))
    );
    assert_eq!((&items[1]["is_accepted"], &items[1]["code"]), (&json!(false), &json!(100)));
    assert!(!all.to_string().contains(WA_TOKEN));
    let next = bench.own("GET", "/requests?after=1&is_accepted=false", Value::Null).await;
    assert_eq!(next["items"].as_array().unwrap().len(), 1);
    let none = bench.own("GET", "/requests?outbox_id=out:2", Value::Null).await;
    assert!(none["items"].as_array().unwrap().is_empty());
    let log = bench.own("GET", "/log", Value::Null).await;
    assert!(!log.to_string().contains("Dag"), "the log holds no texts");
}

#[tokio::test]
async fn a_customer_can_be_made_found_by_any_handle_and_not_twice() {
    let bench = Bench::start().await;
    let new = json!({"name": "Piet", "phone": "+31600000013", "bsuid": "NL.1"});
    let made = bench.own("POST", "/customers", new.clone()).await;
    for name in [made["id"].as_str().unwrap(), "31600000013", "NL.1"] {
        let phone = bench.own("GET", &format!("/phones/{name}"), Value::Null).await;
        assert_eq!(phone["customer"]["name"], "Piet");
    }
    let (status, again) = bench.call("POST", "/sim/v1/customers", None, Some(&new)).await.unwrap();
    assert_eq!((status, &again["code"]), (409, &json!("taken")));
    let invented = bench.own("POST", "/customers", json!({"platform": "messenger"})).await;
    assert_eq!(invented["psid"].as_str().unwrap().len(), 16);
    bench.own("POST", "/reset", Value::Null).await;
    assert_eq!(bench.own("GET", "/customers", Value::Null).await["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn bad_input_gets_a_problem_and_changes_nothing() {
    let bench = Bench::start().await;
    let cases = [
        ("POST", "/phones/nobody/messages", json!({"type": "text", "text": "x"}), 404, "unknown_customer"),
        ("POST", "/phones/sanne/messages", json!({"type": "dance"}), 422, "unknown_type"),
        ("POST", "/phones/sanne/messages", json!({"type": "text"}), 422, "no_text"),
        (
            "POST",
            "/phones/sanne/messages",
            json!({"type": "text", "text": "x", "colour": 1}),
            400,
            "bad_body",
        ),
        (
            "POST",
            "/phones/sanne/messages",
            json!({"type": "text", "text": "x", "count": 1001}),
            422,
            "bad_count",
        ),
        (
            "POST",
            "/phones/sanne/messages",
            json!({"type": "text", "text": "x", "account": "1"}),
            422,
            "unknown_account",
        ),
        ("POST", "/phones/sanne/messages", json!({"type": "reaction", "target": "x"}), 422, "unknown_target"),
        ("POST", "/phones/sanne/messages", json!({"type": "video"}), 422, "no_file"),
        (
            "POST",
            "/phones/sanne/messages",
            json!({"type": "location", "latitude": 99, "longitude": 0}),
            422,
            "no_place",
        ),
        ("POST", "/phones/lotte/messages", json!({"type": "contacts"}), 422, "unknown_type"),
        ("POST", "/customers", json!({"phone": "31-6"}), 422, "bad_phone"),
        ("POST", "/customers", json!({"platform": "telegram"}), 400, "bad_body"),
        ("PUT", "/faults", json!({"share": 2}), 422, "bad_faults"),
        ("PUT", "/faults", json!({"sloww": 2}), 400, "bad_body"),
        ("PUT", "/rules", json!({"batch_max": 0}), 422, "bad_rules"),
        ("POST", "/callbacks", json!({"platform": "whatsapp", "bodies": []}), 422, "bad_posting"),
        ("GET", "/requests?after=x", Value::Null, 400, "bad_query"),
        ("GET", "/nowhere", Value::Null, 404, "unknown_route"),
    ];
    for (method, path, body, status, wanted) in cases {
        let given = (!body.is_null()).then_some(&body);
        let answer = bench.call(method, &format!("/sim/v1{path}"), None, given).await.unwrap();
        assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(wanted)), "{method} {path} {body}");
    }
    assert!(bench.got().is_empty());
}

#[tokio::test]
async fn another_sites_page_may_not_work_the_switchboard() {
    let bench = Bench::start().await;
    let own = bench.base.clone();
    for (origin, wanted) in [("https://evil.example", 403), ("null", 403), (own.as_str(), 204)] {
        let request = bench.client.post(format!("{}/sim/v1/reset", bench.base)).header("origin", origin);
        assert_eq!(request.send().await.unwrap().status().as_u16(), wanted, "{origin}");
    }
}

#[tokio::test]
async fn the_page_asks_nothing_from_outside_and_has_nothing_inline() {
    let bench = Bench::start().await;
    for path in ["/", "/page.css", "/page.js", "/words.js"] {
        let answer = bench.client.get(format!("{}{path}", bench.base)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        let text = answer.text().await.unwrap();
        for foreign in ["http://", "https://", "<style", "style=\"", "onclick=", "javascript:"] {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(foreign), "{path} holds {foreign}");
        }
    }
}

#[tokio::test]
async fn the_state_waits_for_a_change() {
    let bench = Bench::start().await;
    let first = bench.own("GET", "/state", Value::Null).await;
    let path = format!("/state?wait_ms=5000&since={}", first["version"]);
    let waiting = bench.own("GET", &path, Value::Null);
    let (next, _) = tokio::join!(waiting, bench.say("sanne", json!({"type": "text", "text": "Dag"})));
    assert_ne!(next["version"], first["version"]);
    let phones = next["phones"].as_array().unwrap();
    let sanne = phones.iter().find(|phone| phone["customer"]["id"] == "sanne").unwrap();
    assert_eq!(sanne["conversations"][0]["messages"][0]["text"], "Dag");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_in_one_sentence() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = loket_backbone::clock::Clock::system();
    let mut twice = settings("http://127.0.0.1:1");
    twice.numbers.push(twice.numbers[0].clone());
    let mut rules = settings("http://127.0.0.1:1");
    rules.rules = Rules { batch_max: 0, ..Rules::default() };
    let mut nowhere = settings("http://127.0.0.1:1");
    nowhere.listen = "256.0.0.1:1".to_owned();
    for bad in [twice, rules, nowhere] {
        let tasks = loket_backbone::tasks::Tasks::new();
        assert!(run(bad, clock.clone(), &tasks).await.is_err());
    }
}

#[tokio::test]
async fn who_waits_for_changes_sees_the_last_callback_arrive() {
    let bench = Bench::start().await;
    bench.will_answer(&[500]);
    bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
    let waiting = |state: &Value| {
        let callbacks = state["callbacks"].as_array().unwrap();
        callbacks.iter().map(|own| own["waiting"].as_u64().unwrap()).sum::<u64>()
    };
    let seen = async {
        let mut state = bench.own("GET", "/state", Value::Null).await;
        while waiting(&state) > 0 {
            let path = format!("/state?wait_ms=20000&since={}", state["version"]);
            state = bench.own("GET", &path, Value::Null).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), seen).await.unwrap();
    assert_eq!(bench.got().len(), 2);
}
