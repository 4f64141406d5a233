//! Callbacks: signed, repeated, batched, in order or not; and those that a test writes itself.

use std::collections::BTreeSet;

use loket_backbone::secret::Secret;
use serde_json::{Value, json};

use super::super::courier::signature;
use super::{Bench, NUMBER, PSID, SECRET, code};

#[tokio::test]
async fn every_callback_is_signed_over_the_bytes_that_arrive() {
    let bench = Bench::start().await;
    bench.say("sanne", json!({"type": "text", "text": "één / 😀"})).await;
    bench.say("lotte", json!({"type": "text", "text": "twee"})).await;
    let got = bench.eventually("both", |got| (got.len() == 2).then(|| got.to_vec())).await;
    for got in got {
        assert_eq!(got.signature, Some(signature(&Secret::new(SECRET), &got.body)));
    }
}

#[tokio::test]
async fn what_is_not_answered_200_is_repeated_byte_for_byte() {
    for refusals in [&[500][..], &[503, 401, 400, 204], &[302; 5]] {
        let bench = Bench::start().await;
        bench.will_answer(refusals);
        bench.say("sanne", json!({"type": "text", "text": "Dag"})).await;
        let wanted = refusals.len() + 1;
        let got = bench.eventually("repeats", |got| (got.len() == wanted).then(|| got.to_vec())).await;
        let bodies: BTreeSet<_> = got.iter().map(|got| (got.body.clone(), got.signature.clone())).collect();
        assert_eq!(bodies.len(), 1);
        let settled = || async {
            let standing = bench.own("GET", "/callbacks", Value::Null).await;
            let own =
                standing["items"].as_array().unwrap().iter().find(|item| item["account"] == NUMBER).cloned();
            own.unwrap()
        };
        let done = async {
            loop {
                let own = settled().await;
                if own["waiting"] == 0 {
                    return own;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let own = tokio::time::timeout(std::time::Duration::from_secs(5), done).await.unwrap();
        assert_eq!((&own["delivered"], &own["refused"]), (&json!(1), &json!(refusals.len())));
    }
}

#[tokio::test]
async fn one_that_is_refused_for_good_stops_nobody_else_and_is_given_up() {
    let bench = Bench::start().await;
    bench.rules(json!({"retry_for_ms": 20, "callbacks_at_once": 1})).await;
    bench.will_answer(&[500, 500, 500, 500, 500, 500]);
    bench.say("sanne", json!({"type": "text", "text": "een"})).await;
    bench.say("sanne", json!({"type": "text", "text": "twee"})).await;
    bench
        .eventually("the second", |got| {
            let texts = Bench::items(got, "/entry/0/changes/0/value/messages/0/text/body");
            texts.contains(&json!("twee")).then_some(())
        })
        .await;
    let dropped = async {
        loop {
            let standing = bench.own("GET", "/callbacks", Value::Null).await;
            let own =
                standing["items"].as_array().unwrap().iter().find(|item| item["account"] == NUMBER).cloned();
            if own.unwrap()["waiting"] == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), dropped).await.unwrap();
}

#[tokio::test]
async fn messengers_callbacks_come_in_order() {
    let bench = Bench::start().await;
    for number in 0..30 {
        bench.say("lotte", json!({"type": "text", "text": number.to_string()})).await;
    }
    let texts = bench
        .eventually("30", |got| {
            let texts = Bench::items(got, "/entry/0/messaging/0/message/text");
            (texts.len() == 30).then_some(texts)
        })
        .await;
    let wanted: Vec<_> = (0..30).map(|number| json!(number.to_string())).collect();
    assert_eq!(texts, wanted);
}

#[tokio::test]
async fn updates_can_be_batched() {
    let bench = Bench::start().await;
    bench.rules(json!({"batch_max": 10, "callbacks_at_once": 1})).await;
    bench.own("POST", "/phones/sanne/messages", json!({"type": "text", "text": "x", "count": 40})).await;
    let sizes = bench
        .eventually("40 entries", |got| {
            let sizes: Vec<_> = got.iter().map(|got| got.json()["entry"].as_array().unwrap().len()).collect();
            (sizes.iter().sum::<usize>() == 40).then_some(sizes)
        })
        .await;
    assert!(sizes.iter().all(|size| *size <= 10) && sizes.contains(&10), "{sizes:?}");
}

#[tokio::test]
async fn a_callback_of_ones_own_is_sent_as_it_is_signed_as_told_and_learnt() {
    let bench = Bench::start().await;
    let body = include_str!("../../channels/whatsapp/fixtures/text.json");
    let posting = json!({"platform": "whatsapp", "bodies": [body]});
    let answer = bench.own("POST", "/callbacks", posting.clone()).await;
    assert_eq!(
        (&answer["answers"][0]["status"], &answer["answers"][0]["attempts"]),
        (&json!(200), &json!(1))
    );
    let got = bench.got();
    assert_eq!(got[0].body, body);
    assert_eq!(got[0].signature, Some(signature(&Secret::new(SECRET), body.as_bytes())));
    for (how, check) in [
        (
            "wrong",
            Box::new(|own: Option<&str>| own.is_some_and(|own| own.len() == 71))
                as Box<dyn Fn(Option<&str>) -> bool>,
        ),
        ("short", Box::new(|own: Option<&str>| own.is_some_and(|own| own.len() == 39))),
        ("sha1", Box::new(|own: Option<&str>| own.is_some_and(|own| own.starts_with("sha1=")))),
        ("missing", Box::new(|own: Option<&str>| own.is_none())),
    ] {
        bench.forget();
        let mut posting = posting.clone();
        posting["signed"] = json!(how);
        bench.own("POST", "/callbacks", posting).await;
        let got = bench.got();
        assert!(check(got[0].signature.as_deref()), "{how}");
        assert_ne!(got[0].signature, Some(signature(&Secret::new(SECRET), body.as_bytes())), "{how}");
    }
}

#[tokio::test]
async fn a_customer_of_a_fixture_can_be_answered() {
    let bench = Bench::start_with(|settings| settings.customers.clear()).await;
    let body = include_str!("../../channels/whatsapp/fixtures/text.json");
    let old: i64 = 1_794_989_702_000;
    let age = bench.clock.now().as_millis() - old;
    bench.own("POST", "/callbacks", json!({"platform": "whatsapp", "bodies": [body]})).await;
    let id = bench.send(json!({"to": "+31600000042", "type": "text", "text": {"body": "Dag"}})).await;
    let wanted: &[&str] = if age < 24 * 3_600_000 { &["sent", "delivered"] } else { &["failed"] };
    bench.statuses(&id, wanted).await;
    let body = include_str!("../../channels/messenger/fixtures/text.json");
    bench.own("POST", "/callbacks", json!({"platform": "messenger", "bodies": [body]})).await;
    bench.own("PUT", &format!("/phones/{PSID}/window"), json!({"age_ms": 0})).await;
    let send = json!({"recipient": {"id": PSID}, "messaging_type": "RESPONSE", "message": {"text": "x"}});
    assert_eq!(code(&bench.messenger(send).await).0, 200);
}

#[tokio::test]
async fn callbacks_can_be_sent_many_times_at_once_and_shuffled() {
    let bench = Bench::start().await;
    let bodies: Vec<_> = (0..20).map(|number| json!({"number": number})).collect();
    let posting =
        json!({"platform": "whatsapp", "bodies": bodies, "times": 3, "at_once": 10, "is_shuffled": true});
    let answer = bench.own("POST", "/callbacks", posting).await;
    assert_eq!(answer["answers"].as_array().unwrap().len(), 60);
    let numbers: Vec<_> = bench.got().iter().map(|got| got.json()["number"].as_i64().unwrap()).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert!(
        sorted
            .chunks(3)
            .enumerate()
            .all(|(place, same)| same.iter().all(|own| *own == i64::try_from(place).unwrap()))
    );
    let in_turn: Vec<_> = (0..60).map(|place| place % 20).collect();
    assert_ne!(numbers, in_turn);
}

#[tokio::test]
async fn a_posting_may_wait_for_the_200() {
    let bench = Bench::start().await;
    bench.will_answer(&[503, 503]);
    let posting = json!({"platform": "whatsapp", "bodies": ["{}"], "retry_for_ms": 4_000});
    let answer = bench.own("POST", "/callbacks", posting).await;
    assert_eq!(
        (&answer["answers"][0]["status"], &answer["answers"][0]["attempts"]),
        (&json!(200), &json!(3))
    );
}

#[tokio::test]
async fn the_handshake_says_whether_the_address_is_ours() {
    let bench = Bench::start().await;
    let shake = |token: &'static str| {
        let bench = &bench;
        async move {
            bench.own("POST", "/handshakes", json!({"platform": "messenger", "verify_token": token})).await
        }
    };
    assert_eq!(shake("right").await, json!({"status": 200, "is_verified": true}));
    assert_eq!(shake("wrong").await, json!({"status": 403, "is_verified": false}));
}
