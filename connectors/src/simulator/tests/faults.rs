//! The switchboard, each switch: what the caller sees, and how many copies the platform has.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Bench, NUMBER, PAGE, PSID, SANNE, WA_TOKEN, code};

impl Bench {
    /// A send whose connection may break.
    async fn try_send(&self, outbox_id: &str) -> Result<(u16, Value), reqwest::Error> {
        let body = json!({
            "messaging_product": "whatsapp",
            "to": format!("+{SANNE}"),
            "type": "text",
            "text": {"body": "Hallo"},
            "biz_opaque_callback_data": outbox_id,
        });
        self.call("POST", &format!("/v26.0/{NUMBER}/messages"), Some(WA_TOKEN), Some(&body)).await
    }

    async fn copies(&self, outbox_id: &str) -> u64 {
        self.own("GET", "/copies", Value::Null).await["copies"][outbox_id].as_u64().unwrap_or(0)
    }

    async fn open_window(&self) {
        self.own("PUT", "/phones/sanne/window", json!({"age_ms": 0})).await;
    }
}

#[tokio::test]
async fn a_status_instead_of_doing_it() {
    let bench = Bench::start().await;
    bench.open_window().await;
    bench.faults(json!({"status": 503, "retry_after_s": 7, "times": 1})).await;
    let raw = bench.client.post(format!("{}/v26.0/{NUMBER}/messages", bench.base)).bearer_auth(WA_TOKEN);
    let answer = raw.json(&json!({"to": SANNE})).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "7"));
    assert!(answer.json::<Value>().await.is_err(), "no Graph error in it");
    bench.faults(json!({"status": 400, "code": 130_429, "times": 1})).await;
    assert_eq!(code(&bench.try_send("out:1").await.unwrap()), (400, 130_429, None));
    assert_eq!(bench.copies("out:1").await, 0);
    assert_eq!(bench.try_send("out:1").await.unwrap().0, 200, "the fault was for one request only");
    assert_eq!(bench.copies("out:1").await, 1);
}

#[tokio::test]
async fn a_connection_that_is_dropped_before_leaves_nothing_and_after_leaves_a_copy() {
    let bench = Bench::start().await;
    bench.open_window().await;
    bench.faults(json!({"drop_connection_before": true})).await;
    assert!(bench.try_send("out:before").await.is_err());
    bench.faults(json!({"drop_connection_after": true})).await;
    assert!(bench.try_send("out:after").await.is_err());
    bench.faults(json!({})).await;
    assert_eq!(bench.copies("out:before").await, 0);
    assert_eq!(bench.copies("out:after").await, 1);
    bench
        .eventually("the status of the copy", |got| {
            let mut own = Bench::items(got, "/entry/0/changes/0/value/statuses/0");
            own.retain(|status| status["biz_opaque_callback_data"] == "out:after");
            own.pop()
        })
        .await;
}

#[tokio::test]
async fn silence_after_acceptance_ends_in_a_dropped_connection() {
    let bench = Bench::start().await;
    bench.open_window().await;
    bench.faults(json!({"timeout_after_acceptance": true, "timeout_ms": 60})).await;
    let begun = bench.clock.instant();
    assert!(bench.try_send("out:1").await.is_err());
    assert!(begun.elapsed() >= Duration::from_millis(60));
    assert_eq!(bench.copies("out:1").await, 1);
}

#[tokio::test]
async fn other_ways_to_lose_an_answer() {
    let bench = Bench::start().await;
    bench.open_window().await;
    bench.faults(json!({"status_after_acceptance": true})).await;
    assert_eq!(bench.try_send("out:1").await.unwrap().0, 502);
    bench.faults(json!({"garble_answer": true})).await;
    let (status, answer) = bench.try_send("out:2").await.unwrap();
    assert!(status == 200 && answer.is_string());
    bench.faults(json!({"answer_without_id": true})).await;
    assert_eq!(bench.try_send("out:3").await.unwrap(), (200, json!({})));
    for outbox_id in ["out:1", "out:2", "out:3"] {
        assert_eq!(bench.copies(outbox_id).await, 1, "{outbox_id}");
    }
}

#[tokio::test]
async fn slowness_and_an_expired_token() {
    let bench = Bench::start().await;
    bench.open_window().await;
    bench.faults(json!({"slow_ms": 50})).await;
    let begun = bench.clock.instant();
    assert_eq!(bench.try_send("out:1").await.unwrap().0, 200);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    bench.faults(json!({"token_expired": true})).await;
    assert_eq!(code(&bench.try_send("out:2").await.unwrap()), (401, 190, Some(463)));
    assert_eq!(bench.copies("out:2").await, 0);
}

#[tokio::test]
async fn a_fault_of_one_account_leaves_the_other_alone() {
    let bench = Bench::start().await;
    bench.open_window().await;
    bench.own("PUT", "/phones/lotte/window", json!({"age_ms": 0})).await;
    bench.faults(json!({"status": 500, "account": PAGE})).await;
    assert_eq!(bench.try_send("out:1").await.unwrap().0, 200);
    let send = json!({"recipient": {"id": PSID}, "messaging_type": "RESPONSE", "message": {"text": "x"}});
    assert_eq!(bench.messenger(send).await.0, 500);
}

#[tokio::test]
async fn callbacks_are_doubled_disordered_and_swallowed() {
    let bench = Bench::start().await;
    bench.faults(json!({"duplicates": 2})).await;
    bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
    let got = bench.eventually("three copies", |got| (got.len() == 3).then(|| got.to_vec())).await;
    assert_eq!(got.iter().map(|got| got.body.clone()).collect::<BTreeSet<_>>().len(), 1);

    bench.forget();
    bench.faults(json!({"disorder": true, "seed": 3})).await;
    for number in 0..12 {
        bench.say("lotte", json!({"type": "text", "text": number.to_string()})).await;
    }
    let texts = bench
        .eventually("12", |got| {
            let texts = Bench::items(got, "/entry/0/messaging/0/message/text");
            (texts.len() == 12).then_some(texts)
        })
        .await;
    let in_order: Vec<_> = (0..12).map(|number| json!(number.to_string())).collect();
    assert_ne!(texts, in_order);

    bench.forget();
    bench.faults(json!({"swallow_statuses": true})).await;
    let id = bench.send(json!({"type": "text", "text": {"body": "x"}})).await;
    bench.say("sanne", json!({"type": "text", "text": "nog iets"})).await;
    bench.eventually("the message", |got| got.first().cloned()).await;
    let arrived = async {
        while bench.bubbles("sanne").await.iter().find(|own| own["id"] == id).unwrap()["progress"]
            != "delivered"
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), arrived).await.unwrap();
    assert!(Bench::items(&bench.got(), "/entry/0/changes/0/value/statuses/0").is_empty());
}

#[tokio::test]
async fn a_share_of_the_sends_is_hit_and_the_oracle_still_counts_right() {
    let bench = Bench::start().await;
    bench.rules(json!({"window": "off", "pair_burst": 0, "number_per_second": 0})).await;
    bench.faults(json!({"share": 0.5, "seed": 11, "drop_connection_after": true})).await;
    let mut lost = 0;
    for number in 0..60 {
        lost += usize::from(bench.try_send(&format!("out:{number}")).await.is_err());
    }
    assert!((15..45).contains(&lost), "{lost}");
    let copies = bench.own("GET", "/copies", Value::Null).await;
    assert_eq!(copies["copies"].as_object().unwrap().len(), 60);
    let faulted = bench.own("GET", "/requests?kind=send", Value::Null).await;
    let hit =
        faulted["items"].as_array().unwrap().iter().filter(|own| own["fault"] == "drop_connection_after");
    assert_eq!(hit.count(), lost);
}
