//! Sends against a local server that writes down what was said and answers as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use loket_backbone::clock::Clock;
use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::SendClass;
use loket_protocol::message::{Attachment, Button, Content, List, ListRow, ListSection, Template};
use loket_protocol::outbound::{Dispatch, OUTBOUND_VERSION, OutboundMessage};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::receive_test::{INSTAGRAM, PAGE, settings};
use super::{KIND, build, codes};
use crate::channel::{Channel, SendError, Taken};
use crate::meta::{GraphError, GraphSettings};

const PSID: &str = "7300000000000042";
/// Of `token|of 110000000000501` under the tests' app secret, computed elsewhere.
const PROOF: &str = "afcb737509b416ee4795955d45609b84451b1da45ee88202293fe666e1966c72";

/// What the platform does with a request that it has read.
#[derive(Clone)]
enum Answer {
    Json(u16, Value),
    Raw(&'static str),
    HangUp,
}

#[derive(Clone, Debug)]
struct Request {
    line: String,
    body: Value,
}

struct Platform {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Platform {
    #[expect(clippy::disallowed_methods, reason = "the server ends with its test")]
    async fn answering(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &answer, &log).await;
            }
        });
        Self { url, seen }
    }

    async fn taking() -> Self {
        Self::answering(Answer::Json(200, json!({"recipient_id": PSID, "message_id": "m_new"}))).await
    }

    fn channel(&self, clock: &Clock) -> Box<dyn Channel> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let graph = GraphSettings { url: self.url.clone(), ..GraphSettings::default() };
        build(settings(), &graph, clock.clone()).unwrap()
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Taken, SendError> {
        self.channel(&Clock::system()).send(message).await
    }

    fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The body of the one request that came.
    fn said(&self) -> Value {
        let [request] = <[_; 1]>::try_from(self.requests()).unwrap();
        request.body
    }
}

async fn serve(mut stream: TcpStream, answer: &Answer, log: &Mutex<Vec<Request>>) {
    let mut bytes = Vec::new();
    let head = loop {
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return;
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while bytes.len() < head + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let line = String::from_utf8_lossy(&bytes[..head]).lines().next().unwrap().to_owned();
    let body = serde_json::from_slice(&bytes[head..]).unwrap_or(Value::Null);
    log.lock().unwrap().push(Request { line, body });
    let answer = match answer {
        Answer::Json(status, value) => {
            let body = value.to_string();
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
        }
        Answer::Raw(raw) => (*raw).to_owned(),
        Answer::HangUp => String::new(),
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn outbound(content: Content) -> OutboundMessage {
    let clock = Clock::system();
    OutboundMessage {
        v: OUTBOUND_VERSION,
        dispatch: Dispatch { message_id: clock.id(), part: 0, number: 1 },
        channel: account(PAGE),
        to: vec![Handle::new(HandleKind::Psid, PSID)],
        content,
        attachment: None,
        reply_to: None,
        written_by_person: true,
        window_closes_at: Some(clock.now().plus_millis(60_000)),
    }
}

fn account(id: &str) -> ChannelAccount {
    ChannelAccount { kind: ChannelKind::new(KIND).unwrap(), account: id.to_owned() }
}

fn content(kind: &str, text: &str) -> Content {
    Content { kind: kind.to_owned(), text: (!text.is_empty()).then(|| text.to_owned()), ..Content::default() }
}

fn button(id: Option<&str>, title: &str) -> Button {
    Button { id: id.map(str::to_owned), title: title.to_owned(), ..Button::default() }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where a message has one or none")]
fn attachment(kind: &str, media_id: Option<&str>, url: Option<&str>) -> Option<Attachment> {
    Some(Attachment {
        kind: kind.to_owned(),
        media_id: media_id.map(str::to_owned),
        url: url.map(str::to_owned),
        ..Attachment::default()
    })
}

/// The `message` that content and attachment come to, without its metadata.
async fn message(content: Content, attachment: Option<Attachment>) -> Value {
    let platform = Platform::taking().await;
    platform.send(&OutboundMessage { attachment, ..outbound(content) }).await.unwrap();
    let mut said = platform.said();
    said["message"].as_object_mut().unwrap().remove("metadata").unwrap();
    said["message"].take()
}

/// The sentence with which something is refused, before anything reached the platform.
async fn refusal(message: OutboundMessage) -> String {
    let platform = Platform::taking().await;
    let error = platform.send(&message).await.unwrap_err();
    assert!(platform.requests().is_empty());
    match error {
        SendError::NotSent { class: SendClass::Final, code: None, sentence, .. } => sentence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_text_is_one_call_with_token_proof_and_our_outbox_id() {
    let platform = Platform::taking().await;
    let message =
        OutboundMessage { reply_to: Some("m_asked".to_owned()), ..outbound(Content::text("Dag! 🧇")) };
    let taken = platform.send(&message).await;
    assert_eq!(taken, Ok(Taken { external_id: "m_new".to_owned(), learnt: Vec::new() }));
    let expected = json!({
        "recipient": {"id": PSID},
        "messaging_type": "RESPONSE",
        "message": {"text": "Dag! 🧇", "metadata": message.dispatch.outbox_id()},
        "reply_to": {"mid": "m_asked"},
    });
    assert_eq!(platform.said(), expected);
    let path = format!("/v26.0/{PAGE}/messages?access_token=token%7Cof%20{PAGE}&appsecret_proof={PROOF}");
    assert_eq!(platform.requests()[0].line, format!("POST {path} HTTP/1.1"));
}

#[tokio::test]
async fn the_window_and_the_author_choose_the_messaging_type() {
    let clock = Clock::movable();
    let platform = Platform::taking().await;
    let channel = platform.channel(&clock);
    let closes_at = Some(clock.now().plus_millis(60_000));
    let template = Content {
        template: Some(Template { name: "afspraak".to_owned(), language: "nl".to_owned(), components: None }),
        ..content("template", "")
    };
    for (content, written_by_person, window_closes_at) in [
        (Content::text("a"), true, closes_at),
        (Content::text("b"), false, closes_at),
        (Content::text("c"), true, None),
        (Content::text("d"), false, None),
        (template, true, None),
    ] {
        let message = OutboundMessage { written_by_person, window_closes_at, ..outbound(content) };
        channel.send(&message).await.unwrap();
    }
    clock.advance(Duration::from_secs(61));
    channel
        .send(&OutboundMessage { window_closes_at: closes_at, ..outbound(Content::text("e")) })
        .await
        .unwrap();
    let chosen: Vec<(Value, Value)> = platform
        .requests()
        .iter()
        .map(|r| (r.body["messaging_type"].clone(), r.body["tag"].clone()))
        .collect();
    let human = (json!("MESSAGE_TAG"), json!("HUMAN_AGENT"));
    let response = (json!("RESPONSE"), Value::Null);
    assert_eq!(
        chosen,
        [response.clone(), response.clone(), human.clone(), response, (json!("UTILITY"), Value::Null), human,]
    );
}

#[tokio::test]
async fn the_recipient_is_the_id_of_that_side_or_its_stand_in() {
    let user_ref = Handle::new(HandleKind::UserRef, "ref-1");
    let platform = Platform::taking().await;
    let taken =
        platform.send(&OutboundMessage { to: vec![user_ref.clone()], ..outbound(Content::text("x")) }).await;
    assert_eq!(platform.said()["recipient"], json!({"user_ref": "ref-1"}));
    assert_eq!(taken.unwrap().learnt, [Handle::new(HandleKind::Psid, PSID)]);

    let platform = Platform::taking().await;
    let to = vec![user_ref, Handle::new(HandleKind::Psid, PSID)];
    platform.send(&OutboundMessage { to, ..outbound(Content::text("x")) }).await.unwrap();
    assert_eq!(platform.said()["recipient"], json!({"id": PSID}));

    let platform = Platform::taking().await;
    let to = vec![Handle::new(HandleKind::Igsid, "8800000000000042")];
    platform
        .send(&OutboundMessage { to, channel: account(INSTAGRAM), ..outbound(Content::text("x")) })
        .await
        .unwrap();
    assert_eq!(platform.said()["recipient"], json!({"id": "8800000000000042"}));
    assert!(platform.requests()[0].line.starts_with(&format!("POST /v26.0/{PAGE}/messages?")));

    let phone = vec![Handle::new(HandleKind::Phone, "31600000077")];
    refusal(OutboundMessage { to: phone, ..outbound(Content::text("x")) }).await;
    refusal(OutboundMessage { channel: account("99"), ..outbound(Content::text("x")) }).await;
}

#[tokio::test]
async fn media_go_by_address_or_by_id() {
    let url = "https://shop.example/a.jpg";
    for (kind, sent) in [("image", "image"), ("video", "video"), ("audio", "audio"), ("document", "file")] {
        let said = message(content(kind, ""), attachment(kind, None, Some(url))).await;
        assert_eq!(
            said,
            json!({"attachment": {"type": sent, "payload": {"url": url, "is_reusable": false}}})
        );
    }
    let said = message(content("document", ""), attachment("file", Some("245"), Some(url))).await;
    assert_eq!(said, json!({"attachment": {"type": "file", "payload": {"attachment_id": "245"}}}));
}

#[tokio::test]
async fn quick_replies_stand_beside_a_text_or_a_picture() {
    let mut choices = content("quick_replies", "Kies:");
    choices.buttons = vec![
        button(Some("JA:88"), "Ja"),
        button(None, "Nee"),
        Button { asks: Some("phone".to_owned()), ..Button::default() },
        Button { asks: Some("email".to_owned()), ..Button::default() },
        Button { asks: Some("text".to_owned()), ..button(Some("M"), "Misschien") },
    ];
    let replies = json!([
        {"content_type": "text", "title": "Ja", "payload": "JA:88"},
        {"content_type": "text", "title": "Nee", "payload": "Nee"},
        {"content_type": "user_phone_number"},
        {"content_type": "user_email"},
        {"content_type": "text", "title": "Misschien", "payload": "M"},
    ]);
    assert_eq!(message(choices.clone(), None).await, json!({"text": "Kies:", "quick_replies": replies}));
    choices.text = None;
    let said = message(choices, attachment("image", Some("245"), None)).await;
    let picture = json!({"type": "image", "payload": {"attachment_id": "245"}});
    assert_eq!(said, json!({"attachment": picture, "quick_replies": replies}));
}

#[tokio::test]
async fn buttons_are_a_button_template() {
    let mut offer = content("buttons", "Wat wilt u doen?");
    offer.header = Some("Proefrit".to_owned());
    offer.footer = Some("Tot 18:00".to_owned());
    offer.buttons = vec![
        Button { url: Some("https://fietsen.example/".to_owned()), ..button(None, "Naar de site") },
        button(Some("BEL"), "Bel mij"),
    ];
    let expected = json!({"attachment": {"type": "template", "payload": {
    "template_type": "button",
    "text": "Proefrit\n\nWat wilt u doen?\n\nTot 18:00",
    "buttons": [
        {"type": "web_url", "title": "Naar de site", "url": "https://fietsen.example/"},
        {"type": "postback", "title": "Bel mij", "payload": "BEL"},
    ]}}});
    assert_eq!(message(offer, None).await, expected);
}

#[tokio::test]
async fn a_list_is_a_text_with_a_quick_reply_per_row() {
    let row = |id: &str, title: &str, description: Option<&str>| ListRow {
        id: id.to_owned(),
        title: title.to_owned(),
        description: description.map(str::to_owned),
    };
    let mut plain = content("list", "Welke winkel?");
    plain.list = Some(List {
        button: "Kies".to_owned(),
        sections: vec![ListSection {
            title: None,
            rows: vec![row("u", "Utrecht", None), row("a", "Almere", None)],
        }],
    });
    let replies = json!([
        {"content_type": "text", "title": "Utrecht", "payload": "u"},
        {"content_type": "text", "title": "Almere", "payload": "a"},
    ]);
    assert_eq!(
        message(plain.clone(), None).await,
        json!({"text": "Welke winkel?", "quick_replies": replies})
    );
    let mut rich = plain;
    rich.footer = Some("Tot ziens".to_owned());
    rich.list = Some(List {
        button: "Kies".to_owned(),
        sections: vec![
            ListSection { title: Some("Midden".to_owned()), rows: vec![row("u", "Utrecht", Some("Balie"))] },
            ListSection { title: None, rows: vec![row("a", "Almere", None)] },
        ],
    });
    let text = "Welke winkel?\n\nMidden\n• Utrecht: Balie\n• Almere\n\nTot ziens";
    assert_eq!(message(rich, None).await, json!({"text": text, "quick_replies": replies}));
}

#[tokio::test]
async fn a_template_is_passed_on_as_it_is() {
    let components = json!([{"type": "body", "parameters": [{"type": "text", "text": "vrijdag"}]}]);
    let mut reminder = content("template", "");
    reminder.template = Some(Template {
        name: "afspraak".to_owned(),
        language: "nl".to_owned(),
        components: Some(components.clone()),
    });
    let expected =
        json!({"template": {"name": "afspraak", "language": {"code": "nl"}, "components": components}});
    assert_eq!(message(reminder, None).await, expected);
}

#[tokio::test]
async fn what_messenger_cannot_say_is_refused_before_it_leaves() {
    let buttons = |kind: &str, text: &str, buttons: Vec<Button>| Content { buttons, ..content(kind, text) };
    let link = |url: &str| Button { url: Some(url.to_owned()), ..button(None, "Site") };
    let asks = Button { asks: Some("shoe size".to_owned()), ..Button::default() };
    let cases = vec![
        (content("text", &"é".repeat(2001)), None, "2001 characters"),
        (content("text", ""), None, "empty"),
        (content("text", "Zie foto"), attachment("image", Some("1"), None), "no captions"),
        (content("image", "Zie foto"), attachment("image", Some("1"), None), "no captions"),
        (content("image", ""), None, "empty"),
        (content("image", "Zie foto"), None, "attachment is missing"),
        (content("image", ""), attachment("image", None, None), "neither an id nor"),
        (content("image", ""), attachment("image", None, Some("file:///etc/passwd")), "neither an id nor"),
        (content("image", ""), attachment("hologram", Some("1"), None), "hologram"),
        (content("location", ""), None, "location"),
        (content("reaction", ""), None, "reaction"),
        (buttons("quick_replies", "Kies", vec![]), None, "1 to 13"),
        (buttons("quick_replies", "Kies", vec![button(None, "x"); 14]), None, "1 to 13"),
        (buttons("quick_replies", "Kies", vec![button(None, &"x".repeat(21))]), None, "21 characters"),
        (
            buttons("quick_replies", "Kies", vec![button(Some(&"x".repeat(1001)), "x")]),
            None,
            "1001 characters",
        ),
        (buttons("quick_replies", "Kies", vec![button(None, "")]), None, "no title"),
        (buttons("quick_replies", "Kies", vec![asks]), None, "shoe size"),
        (buttons("quick_replies", "", vec![button(None, "x")]), None, "empty"),
        (buttons("buttons", "", vec![button(None, "x")]), None, "need a text"),
        (buttons("buttons", &"x".repeat(641), vec![button(None, "x")]), None, "641 characters"),
        (buttons("buttons", "Kies", vec![button(None, "x"); 4]), None, "1 to 3"),
        (buttons("buttons", "Kies", vec![button(None, &"x".repeat(21))]), None, "21 characters"),
        (buttons("buttons", "Kies", vec![button(None, "")]), None, "no title"),
        (buttons("buttons", "Kies", vec![link("javascript:alert(1)")]), None, "https://"),
        (
            buttons("buttons", "Kies", vec![button(None, "x")]),
            attachment("image", Some("1"), None),
            "no attachment",
        ),
        (content("list", "Kies"), None, "1 to 13"),
        (content("list", ""), None, "needs a text"),
        (content("template", ""), None, "its name"),
    ];
    for (content, attachment, words) in cases {
        let sentence = refusal(OutboundMessage { attachment, ..outbound(content.clone()) }).await;
        assert!(sentence.contains(words), "{sentence} for {}", content.kind);
    }
    assert_eq!(
        message(content("text", &"é".repeat(2000)), None).await["text"].as_str().unwrap().chars().count(),
        2000
    );
}

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
