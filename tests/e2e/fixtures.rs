//! Every callback body that the platforms are known to send, signed and posted to the running
//! program: each fact must be found again through the API, and a repeat must change nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{AgentClient, Kind, Options, World, journeys};

journeys!(
    every_fact_of_every_fixture_is_found_through_the_api_and_a_repeat_changes_nothing,
    a_wrong_signature_is_401_and_stores_nothing
);

/// A fixture: channel, name, body, expected status and facts.
pub(crate) struct Fixture {
    pub channel: &'static str,
    pub name: String,
    pub body: Vec<u8>,
    answer: u16,
    facts: Vec<Value>,
}

/// All of them, in the order of their names.
pub(crate) fn all() -> Vec<Fixture> {
    let mut found = Vec::new();
    for channel in ["whatsapp", "messenger"] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("connectors/src/channels/{channel}/fixtures"));
        for entry in std::fs::read_dir(&folder).expect("fixtures") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let expected = std::fs::read(folder.join("expected").join(&name)).expect("an expectation");
            let expected: Value = serde_json::from_slice(&expected).expect("JSON");
            found.push(Fixture {
                channel,
                name,
                body: std::fs::read(&path).expect("a body"),
                answer: u16::try_from(expected["answer"].as_u64().expect("a status")).expect("a status"),
                facts: expected["facts"].as_array().expect("facts").clone(),
            });
        }
    }
    found.sort_by(|a, b| (a.channel, &a.name).cmp(&(b.channel, &b.name)));
    assert_eq!(found.len(), 131);
    found
}

/// All scalars in a JSON value as texts, times in one spelling.
fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::String(text) => into.push(plain(text)),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, into)),
        other => into.push(other.to_string()),
    }
}

/// A time without its decimals of zero; a hash as hexadecimal; anything else as it is.
fn plain(text: &str) -> String {
    use base64::Engine as _;
    if let Some(whole) = text.strip_suffix(".000Z") {
        return format!("{whole}Z");
    }
    if text.len() == 44
        && text.ends_with('=')
        && let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text)
    {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return hex.concat();
    }
    text.to_owned()
}

/// What a fact says, without explanation and without what is no value of its own.
fn wanted(fact: &Value) -> Vec<String> {
    let mut fact = fact.clone();
    let fields = fact.as_object_mut().expect("a fact");
    for explanation in ["kind", "note", "opens_window", "thread_only", "direction"] {
        fields.remove(explanation);
    }
    if let Some(preference) = fields.get("preference").and_then(Value::as_str).map(str::to_owned)
        && let Some((category, value)) = preference.split_once('=')
    {
        fields.insert("preference".to_owned(), serde_json::json!([category, value]));
    }
    if let Some(story) =
        fields.get("reply_to").and_then(Value::as_str).and_then(|text| text.strip_prefix("story "))
    {
        let story = story.to_owned();
        fields.insert("reply_to".to_owned(), story.into());
    }
    for attachment in fields.get_mut("attachments").and_then(Value::as_array_mut).into_iter().flatten() {
        if attachment["url"] == "present" {
            attachment.as_object_mut().expect("an attachment").remove("url");
        }
    }
    let mut found = Vec::new();
    leaves(&fact, &mut found);
    found
}

/// Everything that the API shows, as objects in which a fact may be found: messages with their
/// contact, events, channels.
async fn shown(agent: &AgentClient) -> Vec<Vec<String>> {
    let mut objects = Vec::new();
    let mut contacts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for thread in agent.threads().await {
        let id = thread["id"].as_str().expect("an id").to_owned();
        let mut contact = Vec::new();
        leaves(&thread["contact"], &mut contact);
        for message in agent.messages(&id).await {
            let mut object = contact.clone();
            leaves(&message, &mut object);
            objects.push(object);
        }
        contacts.insert(id, contact);
    }
    for event in agent.events().await {
        let of = event["thread"]["id"].as_str().or(event["data"]["thread_id"].as_str());
        let mut object = of.and_then(|id| contacts.get(id)).cloned().unwrap_or_default();
        leaves(&event, &mut object);
        objects.push(object);
    }
    objects
}

fn missing(fixtures: &[Fixture], objects: &[Vec<String>]) -> Vec<String> {
    let mut lost = Vec::new();
    for fixture in fixtures {
        for fact in &fixture.facts {
            let wanted = wanted(fact);
            let whole = objects.iter().any(|object| wanted.iter().all(|leaf| object.contains(leaf)));
            if !whole {
                let best = objects
                    .iter()
                    .map(|object| wanted.iter().filter(|leaf| !object.contains(leaf)).collect::<Vec<_>>())
                    .min_by_key(Vec::len)
                    .unwrap_or_default();
                lost.push(format!("{}/{}: {} lacks {best:?}", fixture.channel, fixture.name, fact["kind"]));
            }
        }
    }
    lost
}

async fn every_fact_of_every_fixture_is_found_through_the_api_and_a_repeat_changes_nothing(kind: Kind) {
    let world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    let (meta, fixtures) = (world.meta(), all());
    // A message that is edited or taken back before it comes shows its first words nowhere, as it
    // should be: so those come last here. What any order ends in is the matter of another journey.
    let takes_back =
        |fixture: &&Fixture| ["edit", "revoke", "delete"].iter().any(|kind| fixture.name.contains(kind));
    let (later, first): (Vec<_>, Vec<_>) = fixtures.iter().partition(takes_back);
    for fixture in first.into_iter().chain(later) {
        let status = meta.post(fixture.channel, fixture.body.clone()).await;
        assert_eq!(status, Some(fixture.answer), "{}/{}", fixture.channel, fixture.name);
        // One after the other, as the places of a story: what is in flight together has no order.
        world.settled_for_now(&agent).await;
    }
    world.settled(&agent).await;
    let lost = missing(&fixtures, &shown(&agent).await);
    assert!(lost.is_empty(), "{} facts cannot be found:\n{}", lost.len(), lost.join("\n"));

    let before = agent.events().await;
    for fixture in fixtures.iter().rev() {
        assert_eq!(meta.post(fixture.channel, fixture.body.clone()).await, Some(fixture.answer));
    }
    world.settled(&agent).await;
    let after = agent.events().await;
    let new: Vec<&Value> = after.iter().skip(before.len()).collect();
    assert!(new.is_empty(), "a repeat wrote {} entries, the first is {}", new.len(), new[0]);
    world.finish().await;
}

async fn a_wrong_signature_is_401_and_stores_nothing(kind: Kind) {
    let world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    let before = agent.events().await.len();
    let meta = world.meta();
    for fixture in all().iter().step_by(7) {
        let right = crate::harness::Meta::signature(&fixture.body);
        let mut flipped = right.clone().into_bytes();
        flipped[70] = if flipped[70] == b'0' { b'1' } else { b'0' };
        let flipped = String::from_utf8(flipped).expect("ASCII");
        let short = right[..right.len() - 1].to_owned();
        let sha1 = right.replace("sha256=", "sha1=");
        let upper = format!("sha256={}", right["sha256=".len()..].to_uppercase());
        for bad in [None, Some(""), Some(flipped.as_str()), Some(&short), Some(&sha1), Some(&upper)] {
            let status = meta.post_signed(fixture.channel, fixture.body.clone(), bad).await;
            assert_eq!(status, Some(401), "{} with {bad:?}", fixture.name);
        }
    }
    world.settled(&agent).await;
    assert_eq!(agent.events().await.len(), before);
    assert!(agent.threads().await.is_empty());
    world.finish().await;
}
