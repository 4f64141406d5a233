//! One customer on two channels: an anonymous visitor carries a code to WhatsApp, and is one person with
//! one thread from then on, until somebody takes it back.

use serde_json::{Value, json};

use crate::conversation::Visitor;
use crate::harness::{AgentClient, Kind, Options, World, eventually, journeys};

journeys!(a_visitor_goes_on_on_whatsapp_in_one_thread_and_undoing_it_loses_nothing);

/// Web chat over REST, as the visitor of this token.
async fn of_visitor(world: &World, token: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = world.url(path);
    let request = match &body {
        Some(body) => world.http().post(url).json(body),
        None => world.http().get(url),
    };
    let answer = request.bearer_auth(token).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

fn texts(messages: &[Value]) -> Vec<String> {
    let mut messages = messages.to_vec();
    messages.sort_by_key(|message| message["created_at"].as_str().expect("a time").to_owned());
    let text = |message: &Value| message["content"]["text"].as_str().unwrap_or_default().to_owned();
    messages.iter().map(text).collect()
}

async fn thread_with(agent: &AgentClient, text: &str) -> Value {
    eventually(&format!("a thread with {text:?}"), || async {
        agent.threads().await.into_iter().find(|thread| thread["last_message"]["content"]["text"] == text)
    })
    .await
}

async fn answer(agent: &AgentClient, thread: &str, key: &str, text: &str) -> Value {
    let body = json!({"content": {"type": "text", "text": text}, "to": "auto"});
    let (status, message) = agent.post(&format!("/v1/threads/{thread}/messages"), key, &body).await;
    assert_eq!(status, 201, "{message}");
    message
}

/// The text that a `wa.me` address puts into the customer's hand.
fn words_of(address: &str) -> String {
    let (place, text) = address.split_once("?text=").expect("words");
    assert_eq!(place, "https://wa.me/31201234567");
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
            let digits = std::str::from_utf8(&digits).expect("ASCII").to_owned();
            bytes.push(u8::from_str_radix(&digits, 16).expect("a byte"));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("Unicode")
}

async fn a_visitor_goes_on_on_whatsapp_in_one_thread_and_undoing_it_loses_nothing(kind: Kind) {
    let world = World::start(kind, Options { simulator: true, ..Options::default() }).await;
    let agent = world.agent("admin").await;
    // She wrote on WhatsApp before; nobody on the web may see that.
    world.simulator().meets("anna").await;
    world.simulator().types("anna", "oude vraag van anna").await;
    let phone = thread_with(&agent, "oude vraag van anna").await;
    let phone_thread = phone["id"].as_str().expect("an id").to_owned();

    let (mut visitor, _) = Visitor::arrive(&world, None, 0).await;
    let nothing =
        of_visitor(&world, &visitor.token, "/webchat/v1/links", Some(json!({"channel": "whatsapp"}))).await;
    assert_eq!((nothing.0, &nothing.1["code"]), (422, &json!("link.none")), "nothing was said yet");
    let said = json!({"type": "message", "client_message_id": "0b6f2c1e-8d5a-4a53-9a3e-0a4b8f6f2d11", "text": "vraag op het web"});
    visitor.say(&said).await;
    let web = thread_with(&agent, "vraag op het web").await;
    let web_thread = web["id"].as_str().expect("an id").to_owned();

    let (status, link) =
        of_visitor(&world, &visitor.token, "/webchat/v1/links", Some(json!({"channel": "whatsapp"}))).await;
    assert_eq!(status, 201, "{link}");
    assert!(link["qr_svg"].as_str().expect("a picture").contains("<svg"));
    let words = words_of(link["address"].as_str().expect("an address"));
    world.simulator().types("anna", &words).await;
    let merge = eventually("one thread", || async {
        let contact = web["contact"]["id"].as_str().expect("an id");
        let merges = agent.get(&format!("/v1/contacts/{contact}/merges")).await;
        merges["items"].as_array().expect("items").first().cloned()
    })
    .await;
    assert_eq!((&merge["proof"], &merge["by"]["type"]), (&json!("link_code"), &json!("system")));
    assert_eq!(merge["thread_id"], phone["id"], "the older contact survives");
    let threads = agent.threads().await;
    assert_eq!(threads.len(), 1, "{threads:?}");
    assert_eq!(threads[0]["contact"]["identities"].as_array().expect("identities").len(), 2);
    let history = ["oude vraag van anna", "vraag op het web", words.as_str()];
    for id in [&web_thread, &phone_thread] {
        assert_eq!(texts(&agent.messages(id).await), history, "both sides of the code, by either id");
    }

    // The answer goes where she wrote last, and she sees it on the web as well.
    let sent = answer(&agent, &web_thread, "auto", "antwoord voor anna").await;
    assert_eq!(sent["channel"]["kind"], "whatsapp");
    eventually("it is on her phone", || async {
        world.simulator().phone("anna").await.to_string().contains("antwoord voor anna").then_some(())
    })
    .await;
    visitor.hears("the answer", |frame| frame["message"]["text"] == "antwoord voor anna").await;
    let token = visitor.token.clone();
    drop(visitor);
    let (_, visit) = Visitor::arrive(&world, Some(&token), 0).await;
    let seen = visit["messages"].to_string();
    assert!(seen.contains("vraag op het web") && seen.contains("antwoord voor anna"), "{seen}");
    assert!(!seen.contains("oude vraag") && !seen.contains("loket-"), "no word from WhatsApp: {seen}");

    // A used code joins nobody.
    world.simulator().meets("bert").await;
    world.simulator().types("bert", &words).await;
    world.simulator().types("bert", "ik ben bert").await;
    let bert = thread_with(&agent, "ik ben bert").await;
    world.settled(&agent).await;
    assert_eq!(agent.threads().await.len(), 2);
    assert_eq!(bert["contact"]["identities"].as_array().expect("identities").len(), 1);

    let path = format!("/v1/merges/{}/undo", merge["id"].as_str().expect("an id"));
    let (status, undone) = agent.post(&path, "undo", &json!({"why": "twee mensen"})).await;
    assert_eq!((status, &undone["undone_why"]), (200, &json!("twee mensen")), "{undone}");
    assert_eq!(texts(&agent.messages(&web_thread).await), ["vraag op het web"]);
    let of_phone = texts(&agent.messages(&phone_thread).await);
    assert_eq!(of_phone, ["oude vraag van anna", words.as_str(), "antwoord voor anna"]);
    let (_, visit) = Visitor::arrive(&world, Some(&token), 0).await;
    assert!(!visit["messages"].to_string().contains("antwoord voor anna"), "{visit}");
    let kinds: Vec<Value> = agent.events().await.iter().map(|event| event["type"].clone()).collect();
    for kind in ["contact.merged", "message.copied", "contact.split", "identity.linked", "identity.unlinked"]
    {
        assert!(kinds.contains(&json!(kind)), "{kind}");
    }
    world.settled(&agent).await;
    world.finish().await;
}
