//! The whole road: strangers write on all three channels, an agent sees it over the API and the live
//! socket, answers, and the answer goes out through the right channel.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::harness::{AgentClient, Kind, Options, Simulator, World, eventually, journeys};

journeys!(
    a_stranger_on_each_platform_is_answered_where_they_wrote,
    the_same_request_again_gives_the_first_answer_and_sends_nothing,
    a_lost_answer_is_unconfirmed_and_settled_by_its_status,
    a_visitor_of_the_web_site_is_answered_and_finds_it_again_after_a_reload
);

async fn thread_with(agent: &AgentClient, text: &str) -> Value {
    eventually(&format!("a thread with {text:?}"), || async {
        agent.threads().await.into_iter().find(|thread| thread["last_message"]["content"]["text"] == text)
    })
    .await
}

async fn answer(agent: &AgentClient, thread: &Value, key: &str, content: Value) -> Value {
    let path = format!("/v1/threads/{}/messages", thread["id"].as_str().expect("an id"));
    let (status, message) = agent.post(&path, key, &json!({"content": content, "to": "auto"})).await;
    assert_eq!(status, 201, "{message}");
    message
}

async fn message(agent: &AgentClient, thread: &Value, id: &str) -> Value {
    let messages = agent.messages(thread["id"].as_str().expect("an id")).await;
    messages.into_iter().find(|message| message["id"] == id).expect("it is in its thread")
}

async fn until_status(agent: &AgentClient, thread: &Value, id: &str, status: &str) -> Value {
    eventually(&format!("status {status}"), || async {
        let found = message(agent, thread, id).await;
        (found["status"] == status).then_some(found)
    })
    .await
}

async fn on_the_phone(simulator: &Simulator, customer: &str, text: &str) {
    eventually(&format!("{text:?} on the phone of {customer}"), || async {
        simulator.phone(customer).await.to_string().contains(text).then_some(())
    })
    .await;
}

async fn a_stranger_on_each_platform_is_answered_where_they_wrote(kind: Kind) {
    let world = World::start(kind, Options { simulator: true, ..Options::default() }).await;
    let (agent, simulator) = (world.agent("admin").await, world.simulator());
    let mut stream = agent.stream(0).await;
    for (customer, channel) in [("sanne", "whatsapp"), ("mila", "whatsapp"), ("lotte", "messenger")] {
        let question = format!("Is mijn bestelling er al? {customer}");
        simulator.types(customer, &question).await;
        let event = stream
            .event("the question", |event| {
                event["type"] == "message.received"
                    && event["data"]["message"]["content"]["text"] == question.as_str()
            })
            .await;
        assert_eq!(event["data"]["message"]["channel"]["kind"], channel);
        let thread = thread_with(&agent, &question).await;
        let reply = format!("Ja, kom maar langs, {customer}!");
        let sent =
            answer(&agent, &thread, &format!("key-{customer}"), json!({"type": "text", "text": reply})).await;
        assert_eq!(sent["status"], "queued");
        let id = sent["id"].as_str().expect("an id");
        on_the_phone(simulator, customer, &reply).await;
        until_status(&agent, &thread, id, "delivered").await;
        simulator.opens(customer).await;
        let read = until_status(&agent, &thread, id, "read").await;
        assert!(read["external_id"].is_string(), "{read}");
        let mut told = Vec::new();
        while told.last().map(String::as_str) != Some("message.read") {
            let event = stream.event("a status", |event| event["data"]["message"]["id"] == id).await;
            told.push(event["type"].as_str().expect("a type").to_owned());
        }
        let steps = ["message.queued", "message.sent", "message.delivered", "message.read"];
        let place = |kind: &String| steps.iter().position(|step| step == kind).expect("a step of a reply");
        assert!(told.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])), "forward only: {told:?}");
    }
    assert_eq!(agent.threads().await.len(), 3, "three strangers, three threads");
    world.finish().await;
}

async fn the_same_request_again_gives_the_first_answer_and_sends_nothing(kind: Kind) {
    let world = World::start(kind, Options { simulator: true, ..Options::default() }).await;
    let (agent, simulator) = (world.agent("admin").await, world.simulator());
    simulator.types("sanne", "hallo").await;
    let thread = thread_with(&agent, "hallo").await;
    let content = json!({"type": "text", "text": "eenmaal"});
    let first = answer(&agent, &thread, "once", content.clone()).await;
    let path = format!("/v1/threads/{}/messages", thread["id"].as_str().expect("an id"));
    let body = json!({"content": content, "to": "auto"});
    let (status, again) = agent.post(&path, "once", &body).await;
    assert_eq!((status, &again["id"]), (201, &first["id"]));
    let other = json!({"content": {"type": "text", "text": "iets anders"}, "to": "auto"});
    let (status, problem) = agent.post(&path, "once", &other).await;
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency.mismatch")));
    until_status(&agent, &thread, first["id"].as_str().expect("an id"), "delivered").await;
    let phone = simulator.phone("sanne").await.to_string();
    assert_eq!(phone.matches("eenmaal").count(), 1, "one copy on the phone");
    world.finish().await;
}

async fn a_lost_answer_is_unconfirmed_and_settled_by_its_status(kind: Kind) {
    let world = World::start(kind, Options { simulator: true, ..Options::default() }).await;
    let (agent, simulator) = (world.agent("admin").await, world.simulator());
    simulator.types("sanne", "hallo").await;
    let thread = thread_with(&agent, "hallo").await;
    // Accepted, and then the connection breaks; the statuses come late, so that both states are seen.
    simulator.put("/sim/v1/rules", &json!({"sent_ms": 3000, "delivered_ms": 100})).await;
    simulator.put("/sim/v1/faults", &json!({"drop_connection_after": true})).await;
    let sent = answer(&agent, &thread, "lost", json!({"type": "text", "text": "verloren antwoord"})).await;
    let id = sent["id"].as_str().expect("an id");
    until_status(&agent, &thread, id, "unconfirmed").await;
    simulator.put("/sim/v1/faults", &json!({})).await;
    until_status(&agent, &thread, id, "delivered").await;
    let phone = simulator.phone("sanne").await.to_string();
    assert_eq!(phone.matches("verloren antwoord").count(), 1, "one copy on the phone");
    world.finish().await;
}

/// A visitor of the web shop: their token, and their socket.
pub(crate) struct Visitor {
    pub(crate) token: String,
    socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Visitor {
    pub(crate) async fn arrive(world: &World, token: Option<&str>, after_seq: i64) -> (Self, Value) {
        let mut request = world
            .http()
            .post(world.url("/webchat/v1/visits"))
            .header("Origin", world.url(""))
            .json(&json!({"site": "shop"}));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        let visit: Value = answer.json().await.expect("JSON");
        let token =
            token.map_or_else(|| visit["visitor_token"].as_str().expect("a token").to_owned(), str::to_owned);
        let url = world.url(visit["socket"].as_str().expect("a path")).replacen("http", "ws", 1);
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("Origin", world.url("").parse().expect("a header"));
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("the socket opens");
        let hello = json!({"type": "hello", "ticket": visit["ticket"], "after_seq": after_seq});
        socket.send(Message::text(hello.to_string())).await.expect("it is open");
        (Self { token, socket }, visit)
    }

    pub(crate) async fn say(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.expect("it is open");
    }

    pub(crate) async fn hears(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let next = tokio::time::timeout(crate::harness::DEADLINE, self.socket.next()).await;
            let frame =
                next.unwrap_or_else(|_| panic!("{what} did not come")).expect("it is open").expect("a frame");
            if let Ok(text) = frame.to_text()
                && let Ok(frame) = serde_json::from_str::<Value>(text)
                && fits(&frame)
            {
                return frame;
            }
        }
    }
}

async fn a_visitor_of_the_web_site_is_answered_and_finds_it_again_after_a_reload(kind: Kind) {
    let world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    let (mut visitor, _) = Visitor::arrive(&world, None, 0).await;
    let client_id = "0b6f2c1e-8d5a-4a53-9a3e-0a4b8f6f2d11";
    let question =
        json!({"type": "message", "client_message_id": client_id, "text": "Hebben jullie deze in blauw?"});
    visitor.say(&question).await;
    visitor.hears("an acknowledgement", |frame| frame["client_message_id"] == client_id).await;
    // The browser did not see the acknowledgement and says it again.
    visitor.say(&question).await;
    let thread = thread_with(&agent, "Hebben jullie deze in blauw?").await;
    assert_eq!(thread["last_message"]["channel"], json!({"kind": "webchat", "account": "shop"}));
    let sent = answer(&agent, &thread, "web", json!({"type": "text", "text": "Ja, in drie maten."})).await;
    let id = sent["id"].as_str().expect("an id").to_owned();
    assert_eq!(message(&agent, &thread, &id).await["status"], "sent");
    let heard = visitor.hears("the answer", |frame| frame["message"]["text"] == "Ja, in drie maten.").await;
    let seq = heard["message"]["seq"].as_i64().expect("a seq");
    visitor.say(&json!({"type": "delivered", "seq": seq})).await;
    until_status(&agent, &thread, &id, "delivered").await;
    visitor.say(&json!({"type": "read", "seq": seq})).await;
    until_status(&agent, &thread, &id, "read").await;
    let note = json!({"text": "let op: vaste klant"});
    let path = format!("/v1/threads/{}/notes", thread["id"].as_str().expect("an id"));
    assert_eq!(agent.post(&path, "note", &note).await.0, 201);

    let token = visitor.token.clone();
    drop(visitor);
    let (mut visitor, visit) = Visitor::arrive(&world, Some(&token), 0).await;
    let history = visit.to_string();
    assert!(
        history.contains("Hebben jullie deze in blauw?") && history.contains("Ja, in drie maten."),
        "{history}"
    );
    assert_eq!(history.matches("Hebben jullie deze in blauw?").count(), 1, "said twice, there once");
    assert!(!history.contains("vaste klant"), "a note is never the visitor's");
    // A passing sign reaches whoever is there by then.
    visitor.hears("the socket's readiness", |frame| frame["type"] == "ready").await;
    let path = format!("/v1/threads/{}/typing", thread["id"].as_str().expect("an id"));
    let (status, _) = agent.post(&path, "typing", &json!({"on": true})).await;
    assert!((200..300).contains(&status), "{status}");
    visitor.hears("typing", |frame| frame["type"] == "typing" && frame["on"] == true).await;
    let (mut stranger, visit) = Visitor::arrive(&world, None, 0).await;
    assert!(!visit.to_string().contains("blauw"), "another visitor sees nothing of it");
    stranger.say(&json!({"type": "ping"})).await;
    world.settled(&agent).await;
    assert_eq!(agent.threads().await.len(), 1, "a visit without a word makes no thread");
    world.finish().await;
}
