//! Every way a call can end, and the word for it.

use std::sync::Arc;

use loket_backbone::clock::Clock;
use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::SendClass;
use loket_protocol::message::Content;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::PAGE;
use super::platform::{Answer, PROOF, PSID, Platform, account, outbound};
use crate::channel::SendError;
use crate::channels::messenger::codes;
use crate::meta::GraphError;

fn graph_error(code: i64, subcode: Option<i64>) -> Value {
    json!({"error": {"message": "x", "type": "OAuthException", "code": code, "error_subcode": subcode, "fbtrace_id": "A"}})
}

#[tokio::test]
async fn every_outcome_has_its_word() {
    let not_sent = |class: SendClass, code: Option<i64>, subcode: Option<i64>, wait: Option<u64>| {
        Some((class, code, subcode, wait))
    };
    let (retry, last) = (SendClass::Retry, SendClass::Final);
    let cases = [
        (
            Answer::Json(400, graph_error(10, Some(2_018_278))),
            not_sent(last, Some(10), Some(2_018_278), None),
        ),
        (Answer::Json(500, graph_error(2, None)), not_sent(SendClass::RetryFew, Some(2), None, None)),
        (
            Answer::Json(200, graph_error(190, None)),
            not_sent(SendClass::Configuration, Some(190), None, None),
        ),
        (Answer::Json(400, graph_error(613, None)), not_sent(SendClass::PaceAccount, Some(613), None, None)),
        (Answer::Json(500, graph_error(987, None)), not_sent(retry, Some(987), None, None)),
        (Answer::Json(400, graph_error(987, None)), not_sent(last, Some(987), None, None)),
        (
            Answer::Json(400, graph_error(10, Some(1_893_063))),
            not_sent(SendClass::PaceAccount, Some(10), Some(1_893_063), Some(3_600_000)),
        ),
        (
            Answer::Raw("HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n"),
            not_sent(retry, None, None, Some(7000)),
        ),
        (Answer::Raw("HTTP/1.1 503 X\r\ncontent-length: 4\r\n\r\nbusy"), not_sent(retry, None, None, None)),
        (Answer::Json(400, graph_error(1, Some(1_357_046))), None),
        (Answer::Json(500, json!({})), None),
        (Answer::Json(502, json!("bad gateway")), None),
        (Answer::Json(504, json!({"error": "a proxy's"})), None),
        (Answer::Json(404, json!({})), None),
        (Answer::Json(200, json!({"recipient_id": PSID})), None),
        (Answer::Raw("HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\nhello"), None),
        (Answer::Raw("HTTP/1.1 200 X\r\ncontent-length: 500\r\n\r\n{\"message_id\":\"m_1\"}"), None),
        (Answer::HangUp, None),
    ];
    for (number, (answer, expected)) in cases.into_iter().enumerate() {
        let platform = Platform::answering(answer).await;
        let error = platform.send(&outbound(Content::text("x"))).await.unwrap_err();
        assert_eq!(platform.requests().len(), 1, "case {number}");
        let found = match error {
            SendError::NotSent { class, code, subcode, retry_after_ms, sentence } => {
                assert!(sentence.ends_with('.') && !sentence.contains(PSID), "case {number}: {sentence}");
                Some((class, code, subcode, retry_after_ms))
            }
            SendError::Unconfirmed(why) => {
                assert!(!why.is_empty());
                None
            }
        };
        assert_eq!(found, expected, "case {number}");
    }
}

#[tokio::test]
async fn nobody_listening_is_surely_not_sent() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let platform = Platform { url, seen: Arc::default() };
    let error = platform.send(&outbound(Content::text("x"))).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent { class: SendClass::Retry, code: None, .. }), "{error:?}");
}

#[test]
fn every_row_of_the_code_table_has_its_class() {
    use SendClass::{Configuration, Final, PaceAccount, Retry, RetryFew};
    let table: [(i64, Option<i64>, SendClass); 62] = [
        (1, Some(99), RetryFew),
        (1, None, RetryFew),
        (2, None, RetryFew),
        (2, Some(5), RetryFew),
        (2, Some(2_018_344), Configuration),
        (4, None, PaceAccount),
        (4, Some(2_018_354), PaceAccount),
        (9, Some(2_018_352), PaceAccount),
        (10, None, Configuration),
        (10, Some(77), Final),
        (10, Some(2_018_278), Final),
        (10, Some(2_534_022), Final),
        (10, Some(2_018_065), Final),
        (10, Some(2_018_108), Final),
        (10, Some(1_893_063), PaceAccount),
        (10, Some(1_893_015), Final),
        (10, Some(1_404_170), Final),
        (10, Some(2_018_336), Final),
        (32, None, PaceAccount),
        (32, Some(1), PaceAccount),
        (100, None, Final),
        (100, Some(77), Final),
        (100, Some(33), Configuration),
        (100, Some(2_018_001), Final),
        (100, Some(2_534_014), Final),
        (100, Some(2_018_008), RetryFew),
        (100, Some(2_018_294), RetryFew),
        (100, Some(2_018_047), Final),
        (100, Some(2_018_109), Final),
        (100, Some(2_018_074), Final),
        (100, Some(2_018_014), Final),
        (100, Some(2_018_164), Configuration),
        (190, None, Configuration),
        (190, Some(463), Configuration),
        (200, Some(2_018_028), Configuration),
        (200, None, Configuration),
        (200, Some(77), Final),
        (200, Some(1_545_041), Final),
        (551, Some(1_545_041), Final),
        (551, None, Final),
        (200, Some(2_534_041), Configuration),
        (368, None, Configuration),
        (613, None, PaceAccount),
        (613, Some(2_534_040), PaceAccount),
        (613, Some(2_018_338), Final),
        (613, Some(1_893_016), Final),
        (1200, None, Retry),
        (2022, None, Configuration),
        (2_018_171, None, Final),
        (2_018_300, None, Final),
        (2_018_321, None, Final),
        (10, Some(2_018_300), Final),
        (200, Some(2_018_171), Final),
        (100, Some(2_018_321), Final),
        (2_018_218, None, Final),
        (2_018_247, None, Final),
        (100, Some(2_018_218), Final),
        (10, Some(2_018_247), Final),
        (9_000_001, None, Final),
        (9_000_001, Some(1), Final),
        (424_242, None, Final),
        (424_242, Some(2), Final),
    ];
    for (code, subcode, expected) in table {
        let error = GraphError { status: 400, code, subcode, is_transient: false, retry_after_ms: None };
        match codes::send_error(&error) {
            SendError::NotSent { class, code: told, subcode: told_sub, sentence, .. } => {
                assert_eq!(class, expected, "{code}/{subcode:?}");
                assert_eq!((told, told_sub), (Some(code), subcode));
                assert!(sentence.ends_with('.'), "{sentence}");
            }
            SendError::Unconfirmed(why) => panic!("{code}/{subcode:?}: {why}"),
        }
    }
    let maybe = GraphError {
        status: 400,
        code: 1,
        subcode: Some(1_357_046),
        is_transient: true,
        retry_after_ms: None,
    };
    assert!(matches!(codes::send_error(&maybe), SendError::Unconfirmed(_)));
    let passing =
        GraphError { status: 400, code: 424_242, subcode: None, is_transient: true, retry_after_ms: Some(5) };
    assert!(matches!(
        codes::send_error(&passing),
        SendError::NotSent { class: Retry, retry_after_ms: Some(5), .. }
    ));
}

#[tokio::test]
async fn signs_go_alone_with_their_recipient() {
    let to = vec![Handle::new(HandleKind::Psid, PSID)];
    let typing = |on: bool| Signal::Typing { channel: account(PAGE), to: to.clone(), on, external_id: None };
    let seen = Signal::MarkRead { channel: account(PAGE), to: to.clone(), external_id: "m_1".to_owned() };
    for (signal, action) in [(typing(true), "typing_on"), (typing(false), "typing_off"), (seen, "mark_seen")]
    {
        let platform = Platform::answering(Answer::Json(200, json!({"recipient_id": PSID}))).await;
        assert_eq!(platform.channel(&Clock::system()).signal(&signal).await, SignalReply::Done);
        assert_eq!(platform.said(), json!({"recipient": {"id": PSID}, "sender_action": action}));
    }
    let platform = Platform::answering(Answer::Json(400, graph_error(551, None))).await;
    let channel = platform.channel(&Clock::system());
    assert_eq!(channel.signal(&typing(true)).await, SignalReply::NotDone);
    let stranger = Signal::Typing { channel: account("99"), to, on: true, external_id: None };
    assert_eq!(channel.signal(&stranger).await, SignalReply::NotDone);
    let nobody = Signal::Typing { channel: account(PAGE), to: vec![], on: true, external_id: None };
    assert_eq!(channel.signal(&nobody).await, SignalReply::NotDone);
    assert_eq!(platform.requests().len(), 1);
}

#[tokio::test]
async fn a_probe_says_what_is_wrong_and_how_to_mend_it() {
    let fields = ["messages", "messaging_postbacks", "message_echoes", "message_deliveries", "message_reads"];
    let app =
        |id: &str, fields: &[&str]| json!({"data": [{"id": "1"}, {"id": id, "subscribed_fields": fields}]});
    let cases = [
        (Answer::Json(200, app("900000000000001", &fields)), None),
        (Answer::Json(200, app("900000000000001", &fields[..3])), Some("message_deliveries, message_reads")),
        (
            Answer::Json(200, app("900000000000777", &fields)),
            Some("subscribed_apps?subscribed_fields=messages,"),
        ),
        (Answer::Json(200, json!({})), Some("subscribed_apps")),
        (Answer::Json(400, graph_error(190, None)), Some("access_token")),
        (Answer::HangUp, Some("try again later")),
    ];
    for (answer, expected) in cases {
        let platform = Platform::answering(answer).await;
        let verdict = platform.channel(&Clock::system()).probe(PAGE).await;
        match expected {
            None => assert_eq!(verdict, Ok(())),
            Some(words) => {
                let sentence = verdict.unwrap_err();
                assert!(sentence.contains(words), "{sentence}");
                assert!(!sentence.contains("token|of"), "{sentence}");
            }
        }
        let line = platform.requests()[0].line.clone();
        assert!(line.starts_with(&format!("GET /v26.0/{PAGE}/subscribed_apps?access_token=")), "{line}");
        assert!(line.contains(&format!("appsecret_proof={PROOF}")));
    }
    let platform = Platform::taking().await;
    assert!(platform.channel(&Clock::system()).probe("99").await.is_err());
}
